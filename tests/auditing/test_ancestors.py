"""How a run's data are divided for an audit where it started from the weights of others."""

from types import SimpleNamespace

import numpy as np
import pytest

from kgan.auditing.ancestors import divide
from kgan.config import TrainConfig
from kgan.data.sources import ImageSet

DATA = ImageSet(SimpleNamespace(name="x"), np.zeros((100, 2, 2, 1), np.uint8), None, (), known_sha256="ab" * 32)
CONFIG = TrainConfig(dataset="folder", num_heldout=40)


def ancestor(run_id="a", sha256=DATA.sha256, **counts) -> dict:
    return {"run_id": run_id, "dataset": {"name": "x", "sha256": sha256, **counts}}


def test_without_ancestors_it_is_the_division_of_training():
    found, parts = divide(DATA, CONFIG, []), DATA.split(40)
    assert (found.trained == parts.training).all() and (found.unseen == parts.heldout).all()
    assert found.seen == found.elsewhere == ""


@pytest.mark.parametrize(("theirs", "left"), [([40], 40), ([60], 40), ([15], 15), ([0], 0), ([60, 15, 30], 15)])
def test_images_that_all_ancestors_kept_back_are_left(theirs, left):
    found = divide(DATA, CONFIG, [ancestor(num_heldout=n, num_train=100 - n) for n in theirs])
    assert (found.unseen == DATA.split(min(40, *theirs, 40)).heldout).all() and len(found.unseen) == left
    assert (found.trained == DATA.split(40).training).all()
    assert (f"{40 - left} cannot calibrate" in found.seen) == (left < 40)


def test_an_ancestor_on_a_part_of_the_data_saw_that_part_only():
    found = divide(DATA, CONFIG, [ancestor(num_heldout=0, num_train=30)])
    seen = DATA.split(0, 30).training
    assert not np.isin(found.unseen, seen).any() and len(found.unseen) > 0
    assert np.isin(DATA.split(40).heldout, [*found.unseen, *seen]).all()


def test_an_ancestor_that_does_not_say_what_it_kept_back_saw_everything():
    assert (
        len(divide(DATA, CONFIG, [ancestor()]).unseen) == len(divide(DATA, CONFIG, [ancestor(num_train=5)]).unseen) == 0
    )


def test_images_of_an_ancestor_that_are_not_searched_are_named():
    assert "run b, on x" in divide(DATA, CONFIG, [ancestor(), ancestor("b", "cd" * 32)]).elsewhere
    assert divide(DATA, CONFIG, [ancestor(num_heldout=50, num_train=50)]).elsewhere == ""
    few = CONFIG.replace(num_train=10)  # of an ancestor on all others
    assert "run a, on x" in divide(DATA, few, [ancestor(num_heldout=40, num_train=60)]).elsewhere
