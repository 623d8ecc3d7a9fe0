"""One picture of anyone as pixels: what it may be, how large, and how it becomes grey or colour of 8 bits."""

import contextlib
import io
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from kgan.errors import UserError
from kgan.files import open_regular
from kgan.text import one_line

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_535
# Pillow takes its memory in blocks of 16 MB, which glibc keeps for the thread that had them: four gigabytes in eight
# threads that each decoded one large picture. Blocks of more than 32 MB go back to the system.
Image.core.set_block_size(64 << 20)
PngImagePlugin.MAX_TEXT_CHUNK = 4 << 20  # bytes unpacked: colour profiles of printers have more than its 1 MiB
_MAX_SCANS = 1_000_000_000  # pixels times scans of a JPEG, each of which goes over all pixels
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # of a JPEG, less those that nothing belongs to
_MAX_SEGMENTS = 100_000
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}


@dataclass(frozen=True)
class Encoded:
    """A file's content in memory: what to call it in messages, its bytes, the formats that it may have, and the (width,
    height) that it must have, or None."""

    name: str
    content: bytes
    formats: tuple[str, ...] = FORMATS
    size: tuple[int, int] | None = None

    def __str__(self) -> str:
        return self.name


Picture = Path | Encoded | np.ndarray
"""A file in one of FORMATS, the content of one, or pixels: uint8 (h, w, 1 or 3)."""


def read_image(picture: Picture, size: int, channels: int) -> np.ndarray:
    """Decodes a picture to (size, size, channels) uint8: centre crop, then Lanczos resampling; transparency over white.

    Raises UserError as `decoded` does.
    """
    if isinstance(picture, np.ndarray) and picture.shape == (size, size, channels):
        return picture
    with decoded(picture, channels, draft=2 * size) as image:
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        resized = image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return np.asarray(resized, np.uint8).reshape(size, size, channels)


def image_shape(picture: Picture) -> tuple[int, int, int]:
    """The (h, w, c) of a picture as its header has it: c is 1 for grey, else 3. Raises UserError as `decoded` does."""
    with _opened(picture) as image, _as_user_error(picture):
        width, height = reversed(image.size) if _turn(image) in _ON_ITS_SIDE else image.size
        return height, width, 1 if image.mode in ("1", "L", "I", "I;16") else 3


@contextlib.contextmanager
def decoded(picture: Picture, channels: int, draft: int | None = None) -> Iterator[Image.Image]:
    """A picture as a Pillow image of mode L or RGB in its own size; with `draft`, a JPEG may come smaller than that,
    but not below `draft` pixels a side. Of an animation, the first frame.

    All threads together hold at most 50 million pixels at a time, and wait for each other. Raises UserError naming the
    picture when it is damaged, of another format than FORMATS whatever its name, of another size than it must have, or
    of more than 50 million pixels, or 65,535 a side (it is not decoded then).
    """
    with _opened(picture) as source:
        if draft:
            source.draft("RGB" if channels == 3 else "L", (draft, draft))
        with _PIXELS.reserved(source.width * source.height), contextlib.closing(source):
            with _as_user_error(picture):
                turn = _turn(source)
                upright = source if turn is None else source.transpose(turn)
                image = _flatten(upright).convert("L" if channels == 1 else "RGB")
            with contextlib.closing(image):
                yield image


@contextlib.contextmanager
def open_bytes(picture: Path | Encoded) -> Iterator[BinaryIO]:
    """A picture's bytes, as they are. Raises UserError if it is a file that is not regular or cannot be opened."""
    with io.BytesIO(picture.content) if isinstance(picture, Encoded) else open_regular(picture) as stream:
        yield stream


@contextlib.contextmanager
def _opened(picture: Picture) -> Iterator[Image.Image]:
    """The image with its header read and nothing decoded yet."""
    if isinstance(picture, np.ndarray):
        yield Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
        return
    with open_bytes(picture) as stream:
        with _as_user_error(picture):
            image = Image.open(stream, formats=picture.formats if isinstance(picture, Encoded) else FORMATS)
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
                size = f"{image.width} x {image.height}"
                raise UserError(f"{picture}: {size} pixels; at most {MAX_PIXELS:,}, and {MAX_SIDE:,} a side, are read")
            if isinstance(picture, Encoded) and picture.size and picture.size != image.size:
                width, height = picture.size
                raise UserError(f"{picture}: {image.width} x {image.height} pixels, not {width} x {height}")
            if image.format in ("JPEG", "MPO"):
                _check_scans(picture, stream, image.width * image.height)
        with contextlib.closing(image):
            yield image


@contextlib.contextmanager
def _as_user_error(picture: Picture) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{picture}: not a readable image (cannot identify image file)") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise UserError(f"{picture}: not a readable image ({one_line(error) or type(error).__name__})") from None


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What sets a picture upright, by its EXIF orientation. Pillow's own `exif_transpose` also writes the EXIF data
    anew, and fails where they are odd."""
    return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))


def _check_scans(picture: Picture, stream: BinaryIO, num_pixels: int) -> None:
    """A progressive JPEG of few bytes can ask for thousands of passes over millions of pixels."""
    place = stream.tell()
    scans = _num_scans(picture, stream)
    stream.seek(place)
    if scans * num_pixels > _MAX_SCANS:
        raise UserError(f"{picture}: a JPEG of {scans:,} scans over {num_pixels:,} pixels is not decoded")


def _num_scans(picture: Picture, stream: BinaryIO) -> int:
    """The scans of a JPEG up to its end (ISO/IEC 10918-1, B.1): phones append videos. Raises UserError for more
    segments than any JPEG has."""
    stream.seek(2)
    scans = 0
    for _ in range(_MAX_SEGMENTS):
        marker = _next_marker(stream)
        if marker in (0, _END_OF_IMAGE):
            return scans
        scans += marker == _START_OF_SCAN
        stream.seek(max(0, int.from_bytes(stream.read(2), "big") - 2), os.SEEK_CUR)
    raise UserError(f"{picture}: a JPEG of more than {_MAX_SEGMENTS:,} segments is not decoded")


def _next_marker(stream: BinaryIO) -> int:
    """The next marker with a segment, or that of the end, behind which the stream is left; 0 if there is none."""
    last, size = b"", 1 << 6  # most follow at once
    while piece := stream.read(size):
        if found := _MARKER.search(last + piece):
            stream.seek(found.end() - len(last + piece), os.SEEK_CUR)
            return found[0][1]
        last, size = piece[-1:], 1 << 16
    return 0


class _Budget:
    """At most `total` units are in use at a time, or one user's alone if they want more."""

    def __init__(self, total: int):
        self._total, self._used, self._changed = total, 0, threading.Condition()

    @contextlib.contextmanager
    def reserved(self, amount: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + amount <= self._total)
            self._used += amount
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()


_PIXELS = _Budget(MAX_PIXELS)


def _flatten(image: Image.Image) -> Image.Image:
    """Deep greys to 8 bits, and transparency onto white."""
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        grey = np.empty(levels.shape, np.uint8)
        for top in range(0, len(levels), 16):  # a few rows at a time: float64 takes eight times the space
            rows = slice(top, top + 16)
            grey[rows] = np.clip(levels[rows] / 257.0, 0, 255).round()
        if "transparency" in image.info:
            grey[levels == image.info["transparency"]] = 255
        return Image.fromarray(grey)
    if "A" in image.getbands() or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white
    return image
