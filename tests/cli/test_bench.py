"""`kgan bench`: every case runs, and ratios are taken within a round."""

import json

import numpy as np
import pytest

from kgan.bench import cases as benchmark
from kgan.commands.bench import summarise
from tests.conftest import kgan, refused


def test_ratios_are_taken_within_a_round():
    first, second = summarise(["a", "b"], np.array([[10.0, 20.0], [1.0, 4.0], [10.0, 30.0]]))
    assert first == {"name": "a", "images_per_second": 10, "ratio": 1, "ratio_low": 1, "ratio_high": 1, "rounds": 3}
    assert (second["images_per_second"], second["ratio"]) == (20, 3)
    assert (second["ratio_low"], second["ratio_high"]) == (2, 4)


def test_cases_take_turns():
    log = []

    def case(name: str) -> benchmark.Case:
        return benchmark.Case(name, lambda: lambda: log.append(name) or 1)

    rates = list(benchmark.measure([case("a"), case("b")], rounds=2, seconds=0))
    assert log == ["a", "b"] * 3  # the first of each is not measured
    assert np.shape(rates) == (2, 2) and np.min(rates) > 0


@pytest.mark.parametrize("name", ["train", "train, mlp", "input alone", "draw", "neighbour search"])
def test_cases_handle_images(name):
    handle = next(case for case in benchmark.cases(8) if case.name == name).start()
    assert handle() > 0


def test_the_command_prints_one_list():
    done = kgan("bench", "--rounds=1", "--seconds=0", "--only=draw", "--batch_size=8", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["name"] for row in json.loads(done.stdout)] == ["train", "draw"]
    assert "bench takes flags only" in refused("bench", "fast")
