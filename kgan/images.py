"""Images as arrays: [-1, 1] float <-> uint8, grids, and PNG files.

Everything in kgan that is called `images` is NHWC with 1 or 3 channels; this is the only place where
floats become the bytes that are saved.
"""

import contextlib
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Rounds floats in [-1, 1] to the nearest of 256 levels; values outside are clipped."""
    return np.clip(np.rint((np.asarray(images, np.float32) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def to_float(images: np.ndarray) -> np.ndarray:
    """Maps uint8 levels to float32 in [-1, 1], so that `to_uint8(to_float(x)) == x`."""
    return np.asarray(images, np.float32) / np.float32(127.5) - np.float32(1.0)


def grid(images: np.ndarray, columns: int | None = None, padding: int = 2, background: int = 255) -> np.ndarray:
    """Lays (n, h, w, c) uint8 images out row by row, nearly square unless `columns` is given.

    Returns one (H, W, c) uint8 image; cells without an image keep the background.
    """
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full(
        (rows * (height + padding) + padding, columns * (width + padding) + padding, channels), background, np.uint8
    )
    for index, image in enumerate(images):
        top = padding + (index // columns) * (height + padding)
        left = padding + (index % columns) * (width + padding)
        sheet[top : top + height, left : left + width] = image
    return sheet


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Repeats every pixel of an (h, w, c) image `factor` times each way, so that small pictures can be looked at."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def to_pillow(image: np.ndarray) -> Image.Image:
    """A Pillow image (mode L or RGB) from an (h, w, 1) or (h, w, 3) uint8 array."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A stream to a file that appears under its name, replacing what was there, once the block has ended well.

    A reader, or a crash, sees the old content or the new, never a part. Raises OSError (disk full, no permission)
    with the old file untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file whole or not at all, as `written_whole` does."""
    with written_whole(path) as stream:
        stream.write(content)


def png_bytes(image: np.ndarray, pnginfo=None) -> bytes:
    """An (h, w, c) uint8 image as PNG. `pnginfo` is Pillow's PngInfo with the marks to embed."""
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, "PNG", pnginfo=pnginfo)
    return buffer.getvalue()


def write_png(path: str | os.PathLike, image: np.ndarray, pnginfo=None) -> None:
    """Writes an (h, w, c) uint8 image as PNG, atomically; `pnginfo` as in `png_bytes`."""
    write_atomically(path, png_bytes(image, pnginfo))
