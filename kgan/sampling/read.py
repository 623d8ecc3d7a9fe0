"""Reading the images of any generator: a folder of image files, or an .npz with the array `samples`."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kgan.arrays import Array, read_npz
from kgan.data import picture
from kgan.data.folder import list_images
from kgan.errors import UserError
from kgan.provenance import png
from kgan.provenance.marks import read_marks
from kgan.provenance.sidecars import sidecar_path


@dataclass(frozen=True)
class Samples:
    """`images` is uint8 (n, h, w, c), `skipped` a line for each grid among them."""

    images: np.ndarray
    skipped: tuple[str, ...] = ()


def image_shape(path: str | os.PathLike) -> tuple[int, int, int]:
    """The (h, w, c) of the first image in a folder, or of all in an .npz. Raises UserError as `read_samples` does."""
    path = Path(path)
    if not path.is_dir():
        return _read_npz(path).shape[1:]
    return picture.image_shape(_list(path)[0])


def read_samples(path: str | os.PathLike, shape: tuple[int, int, int], limit: int | None = None) -> Samples:
    """The first `limit` images of the folder or .npz at `path`, as they are, without resampling.

    An .npz is read in its order; a folder by file name, its subfolders in turn, so that a class a folder does not put
    one class first. Grids that `kgan sample` left beside the single images are skipped, which their marks tell.
    Raises UserError, naming the file, for what cannot be read and for images of another shape (h, w, c).
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, shape, limit)
    images = _read_npz(path)
    if images.shape[1:] != tuple(shape):
        raise UserError(f"{path}: its images are {_size(images.shape[1:])}, and the data set's are {_size(shape)}")
    return Samples(images[:limit])


def _read_npz(path: Path) -> np.ndarray:
    if not path.exists():
        raise UserError(f"--samples={path}: there is no such file or folder")
    try:
        images = read_npz(path, {"samples": Array(np.uint8, (None,) * 4)})["samples"]
    except UserError as error:
        raise UserError(f"{error}: the images must be a folder, or an .npz with an array called samples") from None
    if images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise UserError(f"{path}: samples is {images.dtype} {images.shape}; it must be uint8 (n, h, w, 1 or 3)")
    return images


def _list(path: Path) -> list[Path]:
    found = list_images(path)
    if not found:
        raise UserError(f"--samples={path}: there are no images in this folder")
    seen: Counter[Path] = Counter()
    turns = []
    for file in found:
        turns.append((seen[file.parent], file))
        seen[file.parent] += 1
    return [file for _, file in sorted(turns, key=lambda turn: turn[0])]


def _read_folder(path: Path, shape: tuple[int, int, int], limit: int | None) -> Samples:
    height, width, channels = shape
    images, skipped = [], []
    for file in _list(path):
        if limit is not None and len(images) == limit:
            break
        with picture.decoded(file, channels) as image:
            pixels = np.asarray(image, np.uint8)
        if pixels.shape[:2] == (height, width):
            images.append(pixels.reshape(shape))
        elif _is_grid(file):
            skipped.append(f"{file.name}: a grid of several images")
        else:
            raise UserError(
                f"{file}: {pixels.shape[0]}x{pixels.shape[1]} pixels, and the data set's images are {height}x{width}: "
                "samples are compared as they are, not resized"
            )
    if not images:
        raise UserError(f"--samples={path}: there are only grids in this folder, no single images")
    return Samples(np.stack(images), tuple(skipped))


def _is_grid(file: Path) -> bool:
    """Whether the file's kgan marks say that it holds several images; an animation's lie beside it."""
    if sidecar_path(file).exists():
        return True
    try:
        marks = read_marks(png.read(file))[0]
    except UserError:
        return False
    return marks is not None and marks.index is None


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
