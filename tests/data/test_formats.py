"""Every on-disk form reads to the same images; damaged and hostile files are refused by name."""

import gzip
import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

from kgan.data import formats, sources
from kgan.errors import UserError


def digits(count=20, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 28, 28), np.uint8), random.integers(0, 10, count).astype(np.uint8)


def objects(count=4, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 32, 32, 3), np.uint8), random.integers(0, 10, count).tolist()


def write_idx(root, split, images, labels, compress):
    image_name, label_name = formats.IDX_FILES[split]
    suffix, pack = (".gz", gzip.compress) if compress else ("", bytes)
    (root / (image_name + suffix)).write_bytes(pack(struct.pack(">4I", 0x803, *images.shape) + images.tobytes()))
    (root / (label_name + suffix)).write_bytes(pack(struct.pack(">2I", 0x801, len(labels)) + labels.tobytes()))


def cifar_pickle(images, labels, protocol=2):
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), 3072)
    return pickle.dumps({b"data": rows, b"labels": labels, b"batch_label": b"one"}, protocol)


def write_cifar(root, form):
    """Six batches of four images in `form`; returns the training images and labels in order."""
    batches = [objects(seed=seed) for seed in range(6)]
    names = formats.CIFAR_FILES["train"] + formats.CIFAR_FILES["test"]
    if form == "bin":
        (root / "cifar-10-batches-bin").mkdir()
        for name, (images, labels) in zip(names, batches, strict=True):
            rows = images.transpose(0, 3, 1, 2).reshape(len(images), 3072)
            records = np.concatenate([np.array(labels, np.uint8)[:, None], rows], axis=1)
            (root / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records.tobytes())
    elif form == "py":
        (root / "cifar-10-batches-py").mkdir()
        for name, batch in zip(names, batches, strict=True):
            (root / "cifar-10-batches-py" / name).write_bytes(cifar_pickle(*batch))
    else:
        with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
            for name, batch in zip(names, batches, strict=True):
                content = cifar_pickle(*batch)
                member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return np.concatenate([images for images, _ in batches[:5]]), np.concatenate([labels for _, labels in batches[:5]])


@pytest.fixture(autouse=True)
def only_this_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("KGAN_DATA_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "no keras"))


@pytest.mark.parametrize("form", ["plain", "gz", "npz"])
@pytest.mark.parametrize("nested", [False, True])
def test_mnist_in_each_form(tmp_path, form, nested):
    images, labels = digits()
    root = tmp_path / "mnist" if nested else tmp_path
    root.mkdir(exist_ok=True)
    if form == "npz":
        np.savez(root / "mnist.npz", x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    else:
        write_idx(root, "train", images, labels, form == "gz")
        write_idx(root, "test", images[:3], labels[:3], form == "gz")
    data = sources.load("mnist", str(tmp_path))
    assert np.array_equal(data.images, images[..., None])
    assert np.array_equal(data.labels, labels)
    assert len(sources.load("mnist", str(tmp_path), split="test").images) == 3


@pytest.mark.parametrize("form", ["py", "bin", "tar"])
def test_cifar10_in_each_form(tmp_path, form):
    images, labels = write_cifar(tmp_path, form)
    data = sources.load("cifar10", str(tmp_path))
    assert np.array_equal(data.images, images)
    assert np.array_equal(data.labels, labels)
    assert len(sources.load("cifar10", str(tmp_path), split="test").images) == 4


def test_all_forms_of_one_data_set_have_one_hash(tmp_path):
    hashes = set()
    for form in ("py", "bin", "tar"):
        (tmp_path / form).mkdir()
        write_cifar(tmp_path / form, form)
        hashes.add(sources.load("cifar10", str(tmp_path / form)).sha256)
    assert len(hashes) == 1


def test_pickles_of_older_and_newer_pythons_are_read(tmp_path):
    images, labels = objects()
    for protocol in range(2, 6):
        (tmp_path / "batch").write_bytes(cifar_pickle(images, labels, protocol))
        read, _ = formats._read_cifar_pickle(tmp_path / "batch", (tmp_path / "batch").read_bytes(), (32, 32, 3))
        assert np.array_equal(read, images)


class _Touch:
    """Unpickled by an ordinary unpickler, it would run a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["py", "tar"])
def test_a_malicious_pickle_does_not_run_and_is_named(tmp_path, form):
    content = pickle.dumps({b"data": _Touch(tmp_path / "pwned"), b"labels": []})
    if form == "py":
        (tmp_path / "cifar-10-batches-py").mkdir()
        (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(content)
    else:
        with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
            for name in formats.CIFAR_FILES["train"]:
                member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    with pytest.raises(UserError, match=r"data_batch_1: it asks for posix.system, .* refused"):
        sources.load("cifar10", str(tmp_path))
    assert not (tmp_path / "pwned").exists()


def test_object_arrays_in_an_npz_are_refused(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=np.array([_Touch(tmp_path / "pwned")]), y_train=np.arange(1))
    with pytest.raises(UserError, match=r"mnist.npz: x_train is of type object: only plain numbers"):
        sources.load("mnist", str(tmp_path))
    assert not (tmp_path / "pwned").exists()


def _idx_with(change):
    def damage(root):
        images, labels = digits()
        write_idx(root, "train", images, labels, compress=True)
        path = root / "train-images-idx3-ubyte.gz"
        path.write_bytes(change(path.read_bytes()))

    return damage


def _npz_with(**arrays):
    return lambda root: np.savez(root / "mnist.npz", **arrays)


@pytest.mark.parametrize(
    "damage, words",
    [
        (_idx_with(lambda content: content[: len(content) // 2]), "train-images-idx3-ubyte.gz: truncated or damaged"),
        (_idx_with(lambda content: b"\0" + content), "truncated or damaged"),
        (_idx_with(lambda _: gzip.compress(struct.pack(">4I", 0x802, 1, 28, 28))), "magic number 0x00000802"),
        (_idx_with(lambda _: gzip.compress(struct.pack(">4I", 0x803, 1, 32, 32))), r"of shape \(32, 32\), not"),
        (_idx_with(lambda _: gzip.compress(struct.pack(">4I", 0x803, 9, 28, 28))), "it ends after 0 of 7,056 bytes"),
        (_idx_with(lambda _: gzip.compress(struct.pack(">4I", 0x803, 2**32 - 1, 28, 28))), "4294967295 items"),
        (_idx_with(lambda _: gzip.compress(struct.pack(">4I", 0x803, 1, 28, 28) + bytes(784))), "1 images, and labels"),
        (_npz_with(x_train=np.zeros((2, 28, 28), np.uint8)), "mnist.npz: it has no array called y_train"),
        (
            _npz_with(x_train=np.zeros((2, 28, 27), np.uint8), y_train=np.zeros(2, int)),
            r"uint8 \(2, 28, 27\); it must",
        ),
        (_npz_with(x_train=np.zeros((2, 28, 28)), y_train=np.zeros(2, int)), "x_train is float64 .* must be uint8"),
        (_npz_with(x_train=np.zeros((2, 28, 28), np.uint8), y_train=np.array([1, 10])), "outside 0..9"),
        (lambda root: (root / "mnist.npz").write_bytes(b"PK no zip"), "not a readable .npz"),
        (lambda root: write_idx(root, "test", *digits(), True), "no mnist in it; it may lie there as"),
    ],
)
def test_damaged_mnist_is_refused_by_name(tmp_path, damage, words):
    damage(tmp_path)
    with pytest.raises(UserError, match=words):
        sources.load("mnist", str(tmp_path))


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "data_batch_1: not a CIFAR-10 batch"),
        (b"\x80\x02}q\x00.", "data_batch_1: not a CIFAR-10 batch"),
        (cifar_pickle(*objects())[:500], "data_batch_1: not a CIFAR-10 batch"),
        (pickle.dumps({b"data": np.zeros((2, 100), np.uint8), b"labels": [0, 1]}), r"shape \(2, 100\)"),
        (pickle.dumps({b"data": np.zeros((2, 3072)), b"labels": [0, 1]}), "of type f8, not u1"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}), "2 images, and labels"),
    ],
)
def test_damaged_cifar_pickles_are_refused_by_name(tmp_path, content, words):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(content)
    with pytest.raises(UserError, match=words):
        sources.load("cifar10", str(tmp_path))


def test_a_truncated_cifar_binary_is_refused_by_name(tmp_path):
    write_cifar(tmp_path, "bin")
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"data_batch_3.bin: 12287 bytes are not records"):
        sources.load("cifar10", str(tmp_path))


def test_a_truncated_tar_is_refused_by_name(tmp_path):
    write_cifar(tmp_path, "tar")
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UserError, match=r"cifar-10-python.tar.gz: "):
        sources.load("cifar10", str(tmp_path))
