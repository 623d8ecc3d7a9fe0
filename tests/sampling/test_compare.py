"""What equal, nearly equal and other pixels mean."""

import numpy as np
import pytest
from hypothesis import strategies as st

from kgan.images import gif
from kgan.latents import slerp_recipe
from kgan.provenance.check import Verdict
from kgan.provenance.marks import describe
from kgan.runs import environment
from kgan.sampling import compare
from kgan.sampling.compare import MAX_ROUNDED_FEW, MAX_ROUNDED_SHARE
from tests.fuzzing import damaged, fuzz
from tests.provenance.marked_pngs import ORIGIN

IMAGE = np.random.default_rng(0).integers(1, 255, (100, 100, 3), np.uint8)
LIMIT = MAX_ROUNDED_FEW + int(MAX_ROUNDED_SHARE * IMAGE.size)
HERE = {"tensorflow": "2", "keras": "3", "numpy": "2", "kgan": "1", "python": "3", "device": "a processor"}


def moved(count: int, levels: int = 1) -> np.ndarray:
    """The image with the first values moved."""
    image = IMAGE.copy()
    image.reshape(-1)[:count] += np.uint8(levels)
    return image


@pytest.mark.parametrize(
    "image, other, verdict",
    [
        (IMAGE, "", Verdict.VERIFIED),
        (IMAGE, "device x", Verdict.VERIFIED),
        (moved(1), "", Verdict.INCONSISTENT),
        (moved(1), "device x", Verdict.CLOSE),
        (moved(LIMIT), "device x", Verdict.CLOSE),
        (moved(LIMIT + 1), "device x", Verdict.INCONSISTENT),
        (moved(1, 2), "device x", Verdict.INCONSISTENT),
        (IMAGE[:50], "device x", Verdict.INCONSISTENT),
    ],
)
def test_only_equal_pixels_are_verified(image, other, verdict):
    assert compare.compare(IMAGE, image, other).verdict == verdict


def test_what_is_close_is_counted():
    reason = compare.compare(IMAGE, moved(7), "device x").reason
    assert reason.startswith("differs by at most one level in 7 of 30,000 pixel values")
    assert "device x" in reason and "7 hidden bits" in reason


@pytest.mark.parametrize(
    "marked, recorded, words",
    [
        ({}, {}, ""),
        ({"python": "2"}, {"processor": "another"}, ""),
        ({"device": "another"}, {"processor": "a processor"}, "device another"),
        ({"numpy": "1"}, {}, "numpy 1"),
        ({"device": None}, {"processor": "a processor"}, ""),
        ({"device": None}, {"names": ["/physical_device:CPU:0"]}, "device not recorded"),
    ],
)
def test_marks_name_where_an_image_was_made_and_the_run_where_they_do_not(monkeypatch, marked, recorded, words):
    monkeypatch.setattr(environment, "versions", lambda: {key: HERE[key] for key in HERE if key != "device"})
    monkeypatch.setattr(environment, "device", lambda: HERE["device"])
    versions = {key: value for key, value in (HERE | marked).items() if value}
    assert compare.elsewhere(versions, {"device": recorded}) == words


def test_a_gpu_is_never_quite_the_same(monkeypatch):
    monkeypatch.setattr(environment, "versions", lambda: {key: HERE[key] for key in HERE if key != "device"})
    monkeypatch.setattr(environment, "device", lambda: "GPU A")
    assert "GPU" in compare.elsewhere(HERE | {"device": "GPU A"}, {})


def test_the_device_is_named_for_marks():
    environment.import_tensorflow()
    name = environment.device()
    assert name.isascii() and name.isprintable() and 3 < len(name) <= 200
    assert name == environment.device()


FRAMES = np.random.default_rng(1).integers(0, 256, (4, 12, 12, 3), np.uint8)
GIFS = {channels: gif(FRAMES[..., :channels]) for channels in (1, 3)}


@pytest.mark.parametrize("channels", GIFS)
@fuzz(st.data())
def test_a_damaged_animation_is_judged_and_never_verified(channels, data):
    content = data.draw(damaged(GIFS[channels]))
    frames = FRAMES[..., :channels]
    marks = describe(ORIGIN, frames, seed=1, z=slerp_recipe([0, 1], 4))
    judgement = compare.judge_animation(content, frames, marks, {})
    assert judgement.reason.isprintable()
    assert (judgement.verdict == Verdict.VERIFIED) == (content == GIFS[channels])
