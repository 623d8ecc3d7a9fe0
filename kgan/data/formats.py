"""Readers of the files that MNIST, Fashion-MNIST and CIFAR-10 are published in.

Each returns uint8 images (n, h, w, c) and int64 labels (n,), or raises UserError naming the file. Nothing in
a file is ever executed: of pickles, `cifar_pickle` interprets what CIFAR's batches consist of.
"""

import gzip
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from kgan.data.cifar_pickle import read_batch
from kgan.errors import UserError

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR_FILES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
_MAX_IMAGES = 1_000_000
_MAX_BYTES = 1 << 30


def read_idx_pair(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the image and label file of `split` ("train" or "test"), plain or .gz."""
    image_file, label_file = (_plain_or_gz(folder, name) for name in IDX_FILES[split])
    images, labels = _read_idx(image_file, (28, 28)), _read_idx(label_file, ())
    return _checked(image_file, images[..., np.newaxis], labels)


def read_mnist_npz(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads x_train and y_train, or x_test and y_test, from the archive that Keras publishes."""
    try:
        with zipfile.ZipFile(path) as members:
            if any(member.file_size > _MAX_BYTES for member in members.infolist()):
                raise UserError(f"{path}: an array of more than 1 GiB is not MNIST's")
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    except KeyError as error:
        raise UserError(f"{path}: has no array {error}") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable .npz of plain arrays ({error})") from None
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise UserError(f"{path}: images of shape {images.shape}, not (n, 28, 28)")
    return _checked(path, images[..., np.newaxis], labels)


def read_cifar_pickles(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads `cifar-10-batches-py/`."""
    return _join([_read_cifar_pickle(folder / name, _read_file(folder / name)) for name in CIFAR_FILES[split]])


def read_cifar_tar(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads `cifar-10-python.tar.gz` in memory, without unpacking it onto the disk."""
    wanted, parts = set(CIFAR_FILES[split]), {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in wanted and member.isfile() and member.size < _MAX_BYTES:
                    parts[name] = archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}: not a readable .tar.gz ({error})") from None
    if missing := sorted(wanted - set(parts)):
        raise UserError(f"{path}: has no {', '.join(missing)}")
    return _join([_read_cifar_pickle(path / name, parts[name]) for name in CIFAR_FILES[split]])


def read_cifar_bin(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads `cifar-10-batches-bin/`: records of one label byte and 3,072 pixel bytes."""
    parts = []
    for name in CIFAR_FILES[split]:
        path = folder / f"{name}.bin"
        content = _read_file(path)
        if not content or len(content) % 3073:
            raise UserError(f"{path}: {len(content)} bytes are not records of 3,073: it is truncated or not CIFAR-10")
        records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
        parts.append(_checked(path, _planes_to_nhwc(records[:, 1:]), records[:, 0]))
    return _join(parts)


def _plain_or_gz(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(f"{folder}: has no {name} or {name}.gz")


def _read_idx(path: Path, item_shape: tuple[int, ...]) -> np.ndarray:
    header = struct.Struct(f">{2 + len(item_shape)}I")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            fields = stream.read(header.size)
            if len(fields) < header.size:
                raise EOFError("it ends within its header")
            magic, count, *shape = header.unpack(fields)
            if magic != 0x801 + len(item_shape):
                raise UserError(f"{path}: magic number {magic:#010x}, not {0x801 + len(item_shape):#010x}")
            if tuple(shape) != item_shape or count > _MAX_IMAGES:
                raise UserError(f"{path}: {count} items of shape {tuple(shape)}, not of shape {item_shape}")
            size = count * int(np.prod(item_shape))
            content = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: truncated or damaged ({error})") from None
    if len(content) != size:
        raise UserError(f"{path}: {'more' if len(content) > size else 'fewer'} bytes than its header announces")
    return np.frombuffer(content, np.uint8).reshape(count, *item_shape)


def _read_cifar_pickle(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = read_batch(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    pixels, labels = batch.get("data"), batch.get("labels")
    if not isinstance(pixels, np.ndarray):
        raise UserError(f"{path}: not a CIFAR-10 batch (it has no array called data)")
    if pixels.shape[1] != 3072:
        raise UserError(f"{path}: pixels of shape {pixels.shape}, not (n, 3072)")
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise UserError(f"{path}: its labels are not a list of whole numbers")
    return _checked(path, _planes_to_nhwc(pixels), np.array(labels, np.int64))


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def _planes_to_nhwc(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _checked(path: Path, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if images.dtype != np.uint8:
        raise UserError(f"{path}: pixels of type {images.dtype}, not uint8")
    if labels.ndim != 1 or len(labels) != len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{path}: {len(images)} images, and labels of type {labels.dtype} and shape {labels.shape}")
    if len(images) == 0 or labels.min() < 0 or labels.max() > 9:
        raise UserError(f"{path}: no images, or labels outside 0..9")
    return np.ascontiguousarray(images), labels.astype(np.int64)


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)
