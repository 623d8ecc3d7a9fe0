"""Reading the images of any generator: an array, a folder of image files, an .npz or an .npy."""

import contextlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kgan.arrays import Array, read_npy, read_npz
from kgan.data.sources import source_of
from kgan.data.view import Images
from kgan.errors import UserError
from kgan.pictures import cache, picture
from kgan.pictures.array_file import NAMES
from kgan.pictures.folder import Folder
from kgan.provenance.claimed import marks_in
from kgan.text import one_line

Source = np.ndarray | str | os.PathLike


@dataclass(frozen=True)
class Samples:
    """`images` is uint8 (n, h, w, c), `skipped` a line for each file that was passed over. `which` says in words which
    of the images of their source they are; `places` (n,) where in an array they stood, None if in this order; `files`
    has the name of each in a folder."""

    images: Images
    skipped: tuple[str, ...] = ()
    which: str = ""
    places: np.ndarray | None = None
    files: tuple[str, ...] = ()


def name_of(source: Source) -> str:
    """What to call these images in a record."""
    return "an array" if isinstance(source, np.ndarray) else os.path.basename(os.path.abspath(source))


def check_exists(source: Source | None, flag: str) -> None:
    """Raises UserError, naming the flag, for a path at which there is nothing."""
    if source is not None and not isinstance(source, np.ndarray) and not Path(source).exists():
        raise UserError(f"--{flag}={source}: there is no such file or folder")


def image_shape(source: Source) -> tuple[int, int, int]:
    """The (h, w, c) of all images in an array, .npz or .npy; in a folder (h, w) is that of the first single one, and c
    is 3 if any has colour.

    Raises UserError as `read_samples` does.
    """
    if isinstance(source, np.ndarray) or not Path(source).is_dir():
        height, width, channels = _read_array(source).shape[1:]
        return height, width, channels
    files = iter(Folder(Path(source)))
    if (first := next((file for file in files if not _is_grid(file)), None)) is None:
        raise _only_grids(source)
    height, width, channels = picture.image_shape(first)
    in_colour = channels == 3 or any(_has_colour(file) and not _is_grid(file) for file in files)
    return height, width, 3 if in_colour else 1


def size_settings(samples: Source, dataset: str) -> dict[str, int]:
    """What `data.sources.load` needs to give the images of a named data set the size of these samples: nothing if they
    have a size of their own. Raises UserError, naming --samples, for samples that are not square."""
    if source_of(dataset).image_shape:
        return {}
    height, width, channels = image_shape(samples)
    if height != width:
        raise UserError(
            f"--samples={name_of(samples)}: images of {height}x{width}; --dataset={dataset} has square ones"
        )
    return {"image_size": height, "channels": channels}


def read_samples(
    source: Source, shape: tuple[int, int, int], limit: int | None = None, flag: str = "samples"
) -> Samples:
    """Up to `limit` of the images, as they are, without resampling.

    Arrays are uint8 (n, h, w, c) or, of grey images, (n, h, w); in an .npz the array is called samples, images or
    arr_0. A folder is read by file name; grids that `kgan sample` left beside the single images are skipped, as their
    marks tell. Of more images `limit` are taken at random, always the same, for they may be sorted by class. Raises
    UserError, naming the file or, of an array, the flag, for what cannot be read and for images of another shape (h,
    w, c).
    """
    if not isinstance(source, np.ndarray) and Path(source).is_dir():
        return _read_folder(Path(source), shape, limit)
    images, name = _read_array(source), name_of(source)
    if images.shape[1:] != tuple(shape):
        called = flag if isinstance(source, np.ndarray) else source
        raise UserError(f"{called}: its images are {_size(images.shape[1:])}, and {_size(shape)} are needed")
    total = len(images)
    if limit is None or total <= limit:
        return Samples(images, which=f"all {total} images in {name}")
    places = np.sort(_some(total)[:limit])
    return Samples(images[places], which=f"{limit} of the {total} images in {name}, at random", places=places)


def read_images(source: Source, shape: tuple[int, int, int], flag: str) -> Samples:
    """Real images of that shape: like samples, but those in a folder are cropped and resized, as for training.

    Raises UserError, naming the flag.
    """
    if isinstance(source, np.ndarray) or not Path(source).is_dir():
        return read_samples(source, shape, flag=flag)
    if shape[0] != shape[1]:
        raise UserError(
            f"--{flag}={source}: samples of {shape[0]}x{shape[1]} are not square; bring an .npz of that size"
        )
    read = cache.read(Folder(Path(source)), shape[0], shape[2])
    return Samples(read.images, read.unreadable)


def _has_colour(file: Path) -> bool:
    """False also for what cannot be read, which is passed over later."""
    with contextlib.suppress(UserError):
        return picture.image_shape(file)[2] == 3
    return False


def _read_array(source: Source) -> np.ndarray:
    """The images of an array or an array file, (n, h, w, c) uint8."""
    name, images = ("samples", source) if isinstance(source, np.ndarray) else _read_file(Path(source))
    grey = images[..., np.newaxis] if images.ndim == 3 else images
    if grey.dtype != np.uint8 or grey.ndim != 4 or grey.shape[-1] not in (1, 3) or 0 in grey.shape:
        raise UserError(
            f"{name} is {images.dtype} {images.shape}; it must be uint8 (n, h, w, 1 or 3), or (n, h, w) if grey "
            "(kgan.images.to_uint8 converts floats in [-1, 1])"
        )
    return grey


def _read_file(path: Path) -> tuple[str, np.ndarray]:
    """The array of images in a file, and what to call it."""
    check_exists(path, "samples")
    try:
        if path.suffix.lower() == ".npy":
            return f"{path}: the array", read_npy(path)
        for name in NAMES:
            if found := read_npz(path, {name: Array(optional=True)}):
                return f"{path}: {name}", found[name]
        return f"{path}: samples", read_npz(path, {"samples": Array()})["samples"]  # says what is in it
    except UserError as error:
        raise UserError(
            f"{error}: the images must be a folder, an .npz with {' or '.join(NAMES)}, or an .npy"
        ) from None


def _some(total: int) -> np.ndarray:
    """The numbers 0 .. total - 1 in an order that is random, and always the same."""
    return np.random.default_rng(0).permutation(total)


def _read_folder(path: Path, shape: tuple[int, int, int], limit: int | None) -> Samples:
    files = list(Folder(path))
    order = _some(len(files)) if limit is not None and limit < len(files) else np.arange(len(files))
    chosen, others = np.sort(order[:limit]), order[len(order) if limit is None else limit :]
    images = np.empty((len(chosen), *shape), np.uint8)
    numbers: list[int] = []
    skipped = []
    for number in itertools.chain(chosen, others):
        if len(numbers) == len(images):
            break
        image = _read_single(files[number], shape)
        if image is None:
            skipped.append(f"{one_line(files[number].name)}: a grid of several images")
        else:
            images[len(numbers)] = image
            numbers.append(number)
    if not numbers:
        raise _only_grids(path)
    images = images[: len(numbers)]
    if skipped and len(others):  # others came in the places of grids
        images, numbers = images[np.argsort(numbers)], sorted(numbers)
    return Samples(
        images,
        tuple(skipped),
        f"all {len(numbers)} images in {name_of(path)}"
        if len(numbers) + len(skipped) == len(files)
        else f"{len(numbers)} of the {len(files)} image files in {name_of(path)}, at random",
        files=tuple(files[number].relative_to(path).as_posix() for number in numbers),
    )


def _read_single(file: Path, shape: tuple[int, int, int]) -> np.ndarray | None:
    """The image in a file, or None if that is a grid of several. Raises UserError for one of another shape."""
    if _is_grid(file):
        return None
    with picture.decoded(file, shape[2]) as image:
        pixels = np.asarray(image, np.uint8)
    if pixels.shape[:2] == shape[:2]:
        return pixels.reshape(shape)
    raise UserError(
        f"{file}: {pixels.shape[0]}x{pixels.shape[1]} pixels, and {shape[0]}x{shape[1]} are needed: samples are "
        "compared as they are, not resized"
    )


def _only_grids(path: str | os.PathLike) -> UserError:
    return UserError(f"{path}: there are only grids in this folder, no single images")


def _is_grid(file: Path) -> bool:
    """Whether the file's kgan marks say that it holds several images."""
    marks = marks_in(file)
    return marks is not None and marks.index is None


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
