"""`kgan.evaluate` on arrays and files of anyone: the record it returns and saves."""

import json

import numpy as np
import pytest

import kgan
from kgan.errors import UserError
from tests.making import smooth_images

REAL, SAMPLES = np.split(smooth_images(320), [240])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / "cache"))


def test_arrays_against_arrays(tmp_path):
    calls = []
    result = kgan.evaluate(samples=SAMPLES[..., 0], train=REAL, progress=lambda *done: calls.append(done))
    names = {"frechet_distance", "kernel_distance", "kernel_distance_std", "precision", "recall", "density", "coverage"}
    assert set(result.scores) == set(result.floor) == names
    assert result.scores["frechet_distance"] == pytest.approx(result.floor["frechet_distance"], rel=0.5)
    assert (result.protocol["num_samples"], result.protocol["reference_images"]) == (80, 240)
    assert calls[-1] == (240, 240) and calls == sorted(calls)
    result.save(tmp_path / "evaluation.json")
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record == {"scores": result.scores, "floor": result.floor, "protocol": result.protocol}
    assert kgan.evaluate(SAMPLES, train=REAL).scores == result.scores
    np.savez(tmp_path / "samples.npz", SAMPLES)
    again = kgan.evaluate(samples=tmp_path / "samples.npz", train=REAL)
    assert again.scores == result.scores and again.protocol["samples_sha256"] == result.protocol["samples_sha256"]


def test_printed_each_score_stands_beside_that_of_real_images():
    result = kgan.evaluate(samples=SAMPLES, train=REAL)
    row = next(line.split("  ") for line in str(result).splitlines() if line.startswith("recall"))
    words = [word.strip() for word in row if word.strip()]
    assert words[1:] == [
        f"{result.scores['recall']:.4g}",
        f"{result.floor['recall']:.4g}",
        "higher, up to the baseline",
    ]


def test_worse_samples_have_worse_scores():
    noise = np.random.default_rng(0).integers(0, 256, SAMPLES.shape, np.uint8)
    result = kgan.evaluate(samples=noise, train=REAL)
    assert result.scores["frechet_distance"] > 2 * result.floor["frechet_distance"]
    assert result.scores["recall"] < result.floor["recall"]
    assert set(result.protocol.get("unreliable_scores", ())) <= {"precision", "density", "coverage"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": None}, "name one run folder, or give --samples"),
        ({"train": None}, "--samples needs --dataset or --train"),
        ({"dataset": "mnist5k"}, "--samples needs --dataset or --train"),
        ({"samples": "nowhere"}, "--samples=nowhere: there is no such file or folder"),
        ({"samples": SAMPLES[:64]}, "64 images are too few for pca features"),
        ({"samples": SAMPLES[:, :8]}, "12x12x1"),
        ({"train": REAL[:1]}, "--train=an array: there are 1 images"),
        ({"num_samples": 1}, "--num_samples=1: must be 2 to"),
        ({"features": "classifier"}, "needs a labelled data set"),
        ({"reference": "heldout"}, "divide --dataset; they do not go with --train"),
        ({"num_heldout": 10}, "divide --dataset; they do not go with --train"),
        ({"train": None, "dataset": "mnist5k", "num_heldout": -30}, "--num_heldout=-30: must be at least 0"),
        ({"repeats": 2}, "--repeats is for a run"),
        ({"repeats": 0}, "--repeats=0: must be 1 to 1,000"),
        ({"seed": -1}, "--seed=-1"),
    ],
)
def test_misuse_is_a_user_error(change, message):
    with pytest.raises(UserError, match=message):
        kgan.evaluate(**{"samples": SAMPLES, "train": REAL, **change})


def test_of_more_images_than_are_compared_some_are_drawn_from_all_of_an_array():
    black_first = np.concatenate([np.zeros_like(SAMPLES), SAMPLES])
    result = kgan.evaluate(samples=black_first, train=REAL, num_samples=80)
    assert result.protocol["samples"] == "80 of the 160 images in an array, at random"
    assert result.scores["recall"] > 0
    assert kgan.evaluate(samples=black_first, train=REAL, num_samples=80).scores == result.scores
