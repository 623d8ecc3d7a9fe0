"""Damaged and hostile files of every form a data set comes in: read, or refused in one line."""

import gzip
import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest
from hypothesis import strategies as st

from kgan.data import formats
from kgan.data.cifar_pickle import read_batch
from kgan.data.licensing.card import DatasetCard, read_card
from kgan.data.licensing.inspection import inspect
from kgan.errors import UserError
from kgan.pictures import cache
from kgan.pictures.opening import open_pictures
from tests.data.test_formats import cifar_pickle, digits, objects
from tests.fuzzing import damaged, fuzz, only_user_errors

MNIST, CIFAR = (28, 28, 1), (32, 32, 3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


def _tar(content: bytes, **options) -> bytes:
    """A tar with this content as each of the five batches, in the format of `options`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as archive:
        for name in formats.CIFAR_FILES["train"]:
            member = tarfile.TarInfo("cifar-10-batches-py/" + name)
            member.size = len(content)
            if options.get("format") == tarfile.PAX_FORMAT:
                member.pax_headers = {"comment": "é" * 20, "mtime": "1.5"}
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


BATCHES = [cifar_pickle(*objects(1), protocol) for protocol in range(2, 6)]
SMALL = [pickle.dumps({"data": np.zeros((2, 3), np.uint8), "labels": [1, 300, 70_000]}, n) for n in range(6)]
TARS = [_tar(BATCHES[0], format=kind) for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@fuzz(damaged(*BATCHES, *SMALL))
def test_damaged_pickles(content):
    with only_user_errors():
        read_batch(content)


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@fuzz(damaged(*BATCHES))
def test_damaged_batches(root, content):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(exist_ok=True)
    for name in formats.CIFAR_FILES["train"]:
        (folder / name).write_bytes(content)
    with only_user_errors():
        images, labels = formats.read_cifar_pickles(folder, "train", CIFAR)
        assert images.shape == (len(labels), 32, 32, 3) and images.dtype == np.uint8


@fuzz(damaged(*TARS))
def test_damaged_tars(root, content):
    path = root / "cifar-10-python.tar.gz"
    for packed in (content, gzip.compress(content, 1)):
        path.write_bytes(packed)
        with only_user_errors():
            formats.read_cifar_tar(path, "train", CIFAR)


@fuzz(damaged(gzip.compress(TARS[0]), gzip.compress(TARS[2])))
def test_damaged_compression(root, content):
    path = root / "cifar-10-python.tar.gz"
    path.write_bytes(content)
    with only_user_errors():
        formats.read_cifar_tar(path, "train", CIFAR)


@fuzz(damaged(bytes([7]) + objects(1)[0].tobytes()))
def test_damaged_binaries(root, content):
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(exist_ok=True)
    for name in formats.CIFAR_FILES["train"]:
        (folder / f"{name}.bin").write_bytes(content)
    with only_user_errors():
        formats.read_cifar_bin(folder, "train", CIFAR)


IMAGES, LABELS = digits(3)
IDX = {
    formats.IDX_FILES["train"][0]: struct.pack(">4I", 0x803, *IMAGES.shape) + IMAGES.tobytes(),
    formats.IDX_FILES["train"][1]: struct.pack(">2I", 0x801, len(LABELS)) + LABELS.tobytes(),
}


@pytest.mark.parametrize("name", IDX)
@fuzz(st.data())
def test_damaged_idx_files(root, name, data):
    content = data.draw(damaged(IDX[name], gzip.compress(IDX[name])))
    folder = root / "idx"
    folder.mkdir(exist_ok=True)
    for whole in IDX:
        (folder / whole).write_bytes(IDX[whole])
    for suffix, pack in (("", bytes), (".gz", bytes), (".gz", lambda plain: gzip.compress(plain, 1))):
        (folder / name).unlink(missing_ok=True)
        (folder / (name + suffix)).write_bytes(pack(content))
        with only_user_errors():
            formats.read_idx_pair(folder, "train", MNIST)
        (folder / (name + suffix)).unlink()


CARD = DatasetCard("dogs", license="MIT", sizes={"8x8": 3}, classes={"a": 3}, image_shape=(8, 8, 1)).to_json().encode()


@fuzz(damaged(CARD, b'{"name": ' + b"[" * 5000, b'{"name": "x", "num_images": ' + b"9" * 5000 + b"}"))
def test_damaged_cards(root, content):
    (root / "dataset.json").write_bytes(content)
    with only_user_errors():
        read_card(root).to_json()


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    with gzip.open(path, "wb", 1) as stream:
        header = tarfile.TarInfo("notes")
        header.size = 600 << 20
        stream.write(header.tobuf())
        for _ in range(520):
            stream.write(bytes(1 << 20))
    with pytest.raises(UserError, match=r"cifar-10-python.tar.gz: unpacks to more than 512 MiB"):
        formats.read_cifar_tar(path, "train", CIFAR)


def test_a_sparse_member_takes_no_memory(tmp_path):
    """GNU's sparse files announce a size that the archive does not hold."""
    header = bytearray(tarfile.TarInfo("cifar-10-batches-py/data_batch_1").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"00000000000\0" * 2
    header[483:495] = b"00700000000\0"  # the real size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    with pytest.raises(UserError, match="has no data_batch_1"):
        formats.read_cifar_tar(tmp_path / "cifar-10-python.tar.gz", "train", CIFAR)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_only_regular_files_are_read(tmp_path, make):
    for name, read in (
        ("mnist.npz", lambda: formats.read_mnist_npz(tmp_path / "mnist.npz", "train", MNIST)),
        ("x.tar.gz", lambda: formats.read_cifar_tar(tmp_path / "x.tar.gz", "train", CIFAR)),
        ("data_batch_1", lambda: formats.read_cifar_pickles(tmp_path, "train", CIFAR)),
        ("data_batch_1.bin", lambda: formats.read_cifar_bin(tmp_path, "train", CIFAR)),
        ("train-images-idx3-ubyte", lambda: formats.read_idx_pair(tmp_path, "train", MNIST)),
        ("dataset.json", lambda: read_card(tmp_path)),
        ("picture.png", lambda: inspect(tmp_path)),
        ("picture.png", lambda: cache.read(open_pictures(tmp_path), 28, 1)),
    ):
        make(tmp_path / name)
        refusal = "no images in it" if name == "picture.png" else "not a regular file|has no train-images"
        with pytest.raises(UserError, match=refusal):
            read()
        (tmp_path / name).unlink()
