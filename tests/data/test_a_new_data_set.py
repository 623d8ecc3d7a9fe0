"""A data set is one record: a made-up one of 100 classes is listed, trained on, evaluated and audited."""

import re
from collections import Counter

import numpy as np
import pytest

import kgan
from kgan import TrainConfig  # which names the data sets in its help when it is imported: before one is added
from kgan.data import sources
from kgan.data.formats import read_mnist_npz
from kgan.data.source import Source
from kgan.evaluation import classifier
from tests.conftest import kgan as kgan_command

READS = Counter()
NAMES = tuple(f"kind {number}" for number in range(100))


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """1,200 training images and 200 test images of noise around a pattern of their class."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 200, (100, 7, 7), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    labels = {"train": np.arange(1200) % 100, "test": np.arange(200) % 100}
    arrays = {}
    for split, numbers in labels.items():
        noise = random.integers(0, 50, (len(numbers), 28, 28), np.uint8)
        arrays |= {f"x_{split}": patterns[numbers] + noise, f"y_{split}": numbers}
    np.savez(tmp_path / "shapes.npz", **arrays)

    def read(place, split, shape):
        READS[split] += 1
        return read_mnist_npz(place, split, shape)

    READS.clear()
    record = Source(
        name="shapes",
        license="CC0-1.0",
        origin="made up",
        holder="the tests",
        image_shape=(28, 28, 1),
        splits={"train": 1200, "test": 200},
        class_names=NAMES,
        forms={"shapes.npz": read},
        hub_id="tests/shapes",
    )
    monkeypatch.setitem(sources.SOURCES, "shapes", record)
    return tmp_path


def test_it_is_read_and_listed(shapes):
    images = sources.load("shapes", str(shapes))
    assert images.images.shape == (1200, 28, 28, 1) and images.num_classes == 100
    assert np.bincount(images.labels).tolist() == [12] * 100 and images.class_names[99] == "kind 99"
    assert re.search(r"shapes +CC0-1.0 +1,200 \+ 200 of 28x28x1 +made up", kgan_command("data", "list").stdout)


def test_it_is_trained_on_evaluated_and_audited(shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / "cache"))
    config = TrainConfig(
        dataset="shapes", data_dir=str(shapes), arch="mlp", conditional=True, batch_size=16, steps=4, num_heldout=100
    )
    run = kgan.train(config, run_dir=tmp_path / "run")
    assert kgan.load(run).generate(3, labels=[0, 50, 99]).shape == (3, 28, 28, 1)
    scored = kgan.evaluate(run, features="pca", num_samples=400)
    assert scored.protocol["dataset"] == "shapes" and scored.protocol["reference_images"] == 1100
    result = kgan.audit(run, num_samples=100)
    assert result.protocol["num_heldout"] == 100
    assert READS == {"train": 1}  # by the three of them together


def test_its_classifier_scores_and_its_test_images_are_a_reference(shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(classifier, "_STEPS", 5)
    noise = np.random.default_rng(1).integers(0, 256, (150, 28, 28, 1), np.uint8)
    anyones = {"samples": noise, "dataset": "shapes", "data_dir": str(shapes)}
    found = kgan.evaluate(**anyones, num_samples=150)
    assert found.protocol["distance_name"] == "classifier FD" and found.protocol["reference"] == "train"
    assert "inception_score_unsplit" in found.scores and set(found.scores) == set(found.floor)
    assert found.scores["frechet_distance"] > found.floor["frechet_distance"] > 0
    test = kgan.evaluate(**anyones, features="pca", reference="test", num_samples=80)
    assert (test.protocol["reference"], test.protocol["reference_images"]) == ("test", 200)
