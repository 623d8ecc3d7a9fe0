"""What marks claim, against the record of a run that was trained without labels."""

import numpy as np
import pytest

from kgan.config import TrainConfig
from kgan.latents import draws_recipe
from kgan.provenance.check import CheckResult, Verdict
from kgan.provenance.marks import GENERATED, Origin, describe
from kgan.sampling.claims import Refused, read_claim

CONFIG = TrainConfig(image_size=28, channels=1, conditional=False, ema_decay=0.9)
RECORD = {"id": "a-run", "dataset": {"sha256": "1" * 64, "license": "MIT", "classes": {"cat": 3, "dog": 4}}}
CHECKPOINT = "2" * 64


def claim(label, labels):
    """The claim of an .npz of two images with this label in its marks and these in its array."""
    origin = Origin(RECORD["id"], CHECKPOINT, RECORD["dataset"]["sha256"], "MIT", True, {"kgan": "1"})
    samples = np.zeros((2, 28, 28, 1), np.uint8)
    marks = describe(origin, samples, seed=0, label=label, z=draws_recipe(2))
    result = CheckResult(Verdict.CONSISTENT, (), marks, GENERATED, samples, labels=np.array(labels, np.int64))
    return read_claim(result, CONFIG, RECORD, {CHECKPOINT})


def test_arrays_of_a_run_without_labels_have_none_in_their_marks():
    assert claim(None, [0, 0]).labels.tolist() == [0, 0]
    for label, labels in ((0, [0, 0]), ([0, 0], [0, 0]), ([5, 9], [0, 0]), (None, [0, 1]), (5, [5, 5])):
        with pytest.raises(Refused, match="its labels are not those"):
            claim(label, labels)
