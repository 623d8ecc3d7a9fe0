"""Data sets of TensorFlow Datasets; one that is made here from nothing, without a network, stands for all."""

import importlib.util
import json
import shutil
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kgan import TrainConfig
from kgan.data import sources
from kgan.data.licensing import permission
from kgan.data.tfds import TfdsPictures
from kgan.errors import UserError
from kgan.exporting.modelcard import data_facts
from kgan.runs.rundir import RunDir
from kgan.training import plan
from tests.conftest import refused

installed = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_datasets") is None, reason="TensorFlow Datasets is not installed (kgan[tfds])"
)
CITATION = "@misc{dots,\n  title={Dots}\n}"


def level(number: int) -> np.ndarray:
    """Picture `number`, of a size of its own."""
    return np.full((40, 30 + number % 3, 3), 3 * number, np.uint8)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> str:
    """A folder with the data sets dots (30 and 6 pictures of two classes) and words (no pictures)."""
    import tensorflow_datasets as tfds

    class Dots(tfds.core.GeneratorBasedBuilder):
        """Pictures of one grey level each."""

        VERSION = tfds.core.Version("1.0.0")
        __module__ = "a_program"  # as if typed; TensorFlow Datasets looks for files beside a module of a package

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["light", "dark"]),
                "name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                homepage="https://example.org/dots",
                citation=CITATION,
                supervised_keys=("image", "label"),
                redistribution_info={"license": "CC BY 4.0"},
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(30), "test": self._generate_examples(6)}

        def _generate_examples(self, count):
            for number in range(count):
                yield number, {"image": level(number), "label": number % 2, "name": "x"}

    class Words(Dots):
        """No pictures."""

        __module__ = "a_program"

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"a": tfds.features.Text()}))

        def _generate_examples(self, count):
            yield 0, {"a": "b"}

    folder = str(tmp_path_factory.mktemp("prepared"))
    for kind in (Dots, Words):
        kind(data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / "cache"))


@installed
@pytest.mark.slow
def test_its_pictures_labels_licence_and_citation_are_taken_over(prepared, tmp_path, monkeypatch):
    config = TrainConfig(
        dataset="tfds:dots:train", data_dir=prepared, image_size=28, arch="mlp", batch_size=4, conditional=True
    )
    planned = plan.make_plan(config)
    assert planned.data.images.shape == (30, 28, 28, 3)
    assert planned.data.images[:, 0, 0, 0].tolist() == [3 * number for number in range(30)]
    assert planned.data.labels.tolist() == [number % 2 for number in range(30)]
    card = planned.card
    assert (card["name"], card["license"]) == ("tfds:dots:train", "LicenseRef-CC-BY-4.0")
    assert card["origin"] == "https://example.org/dots" and card["citation"] == "@misc{dots, title={Dots} }"
    assert card["classes"] == {"light": 15, "dark": 15} and card["overrides"] == []
    assert data_facts(card)["Citation"] == card["citation"]
    assert not [line for line in permission.warnings(card) if "licence" in line]
    monkeypatch.chdir(tmp_path)
    run = RunDir.create(None, planned.config)
    run.unlock()
    assert run.path.name == "00000-tfds-dots-train-mlp-rpgan"
    assert json.loads((run.path / "config.json").read_text())["dataset"] == "tfds:dots:train"


@installed
@pytest.mark.slow
def test_it_is_decoded_once_and_splits_are_told_apart(prepared, monkeypatch):
    test = sources.load("tfds:dots:test", prepared, image_size=32, channels=1)
    assert test.images.shape == (6, 32, 32, 1)
    assert len(sources.load("tfds:dots:train[:5]", prepared, image_size=32, channels=1).images) == 5
    monkeypatch.setattr(sources, "_KEPT", type(sources._KEPT)())
    monkeypatch.setattr(sys, "executable", "/nothing")  # no other process can start
    again = sources.load("tfds:dots:test", prepared, image_size=32, channels=1)
    assert again.sha256 == test.sha256 and again.labels.tolist() == [0, 1] * 3


@installed
@pytest.mark.slow
def test_what_it_cannot_give_is_one_line(prepared, tmp_path):
    for name, words in {
        "tfds:dots:val": "tfds:dots:val: Unknown split 'val'. Should be one of",
        "tfds:words": r"tfds:words: no single one of its features \(a\) is the picture",
        "tfds:no_such_set": "tfds:no_such_set: Dataset no_such_set not found",
    }.items():
        with pytest.raises(UserError, match=words) as refusal:
            sources.load(name, prepared)
        assert str(refusal.value).isprintable()
    damaged = Path(shutil.copytree(prepared, tmp_path / "damaged"))
    for path in damaged.rglob("dots-test.tfrecord*"):
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="tfds:dots:test: .*(DataLoss|truncated|pictures came)"):
        sources.load("tfds:dots:test", str(damaged), image_size=64)


@pytest.mark.parametrize("sent", [5, 16, 20])  # bytes: a part of a head, a head alone, and a part of a picture
def test_a_loader_that_is_killed_is_said_in_its_last_words(sent, tmp_path, monkeypatch):
    program, pipe = tmp_path / "python", tmp_path / "pipe"
    pipe.write_bytes((struct.pack("<qQ", 1, 9) + b"a picture")[:sent])
    program.write_text(f"#!/bin/sh\ncat {pipe}\necho out of memory >&2\nexit 137\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    pictures = object.__new__(TfdsPictures)
    pictures._title, pictures._name, pictures._split, pictures._data_dir = "tfds:dots", "dots", "train", None
    pictures._image, pictures._label, pictures._count = "image", "label", 30
    with pytest.raises(UserError, match="tfds:dots: out of memory"):
        list(pictures)


@pytest.mark.parametrize(
    "stored, shape",
    [
        ((8, 9, 1), (8, 9, 1)),
        ((8, 9, 2), (8, 9, 1)),
        ((8, 9, 3), (8, 9, 3)),
        ((8, 9, 4), (8, 9, 3)),
        ((None, None, 3), None),
    ],
)
def test_an_alpha_channel_is_not_counted(stored, shape):
    pictures = object.__new__(TfdsPictures)
    pictures._image = "image"
    pictures._info = SimpleNamespace(features={"image": SimpleNamespace(shape=stored)})
    assert pictures.own_shape() == shape


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"tfds:mnist needs TensorFlow Datasets: pip install 'kgan\[tfds\]'"):
        sources.load("tfds:mnist")


def test_names_have_one_form():
    for name in ("tfds", "tfds:", "folder:x", "mnist:train", "mnist:", "tfdsx:mnist"):
        with pytest.raises(UserError, match=f"--dataset={name}: must be one of .*folder, tfds:NAME"):
            TrainConfig(dataset=name)
    assert TrainConfig(dataset="tfds:mnist").dataset == "tfds:mnist"
    assert "--dataset=tfds:a b: must be tfds:NAME[:SPLIT]" in refused("train", "--dataset=tfds:a b", "--dry_run")
    assert "--dataset=nothing: must be one of mnist" in refused("audit", "--samples=.", "--dataset=nothing")
