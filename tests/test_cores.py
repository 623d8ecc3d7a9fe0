"""The cores that this process may use, and systems that do not say which they are."""

import os
import subprocess
import sys

import pytest

import kgan
from kgan import cores
from tests.conftest import draw_folder

TELL = [sys.executable, "-c", "from kgan import cores; print(*cores.usable())"]


def test_a_new_process_has_the_cores_of_the_block_it_is_started_in():
    first, *_ = mine = cores.usable()
    with cores.limited_to([first]):
        assert subprocess.run(TELL, capture_output=True, text=True, check=True).stdout.split() == [str(first)]
    assert cores.usable() == mine


@pytest.fixture
def no_affinity(monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)


@pytest.mark.usefixtures("no_affinity")
def test_all_are_taken_where_the_system_does_not_say(tmp_path):
    assert cores.usable() == list(range(os.cpu_count() or 1))
    with cores.limited_to([0]):
        assert cores.usable() == list(range(os.cpu_count() or 1))
    data = draw_folder(tmp_path / "images", 20)
    settings = {
        "dataset": "folder",
        "data_dir": str(data),
        "image_size": 28,
        "channels": 1,
        "arch": "mlp",
        "steps": 2,
        "batch_size": 8,
    }
    sweep = kgan.sweep(settings, {"seed": [0]}, sweep_dir=tmp_path / "sweep")
    assert [row.status for row in sweep.rows] == ["finished"]
