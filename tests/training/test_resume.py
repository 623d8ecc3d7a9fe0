"""Promise 1: a run killed anywhere and resumed is the run that was never killed, bit for bit."""

import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from kgan.runs import checkpoint
from tests.conftest import draw_folder, kgan

STEPS = 40


def flags(data, run_dir):
    return [
        "--dataset=folder",
        f"--data_dir={data}",
        "--image_size=28",
        "--channels=1",
        "--augment=diffaug",
        "--batch_size=8",
        "--eval_every=1",
        f"--steps={STEPS}",
        "--log_every=6",
        "--sample_every=20",
        "--save_every=5",
        "--steps_per_call=2",
        "--deterministic",
        f"--run_dir={run_dir}",
    ]


def results(run_dir):
    """The final checkpoint, the best one and its score, and the log less what the clock decides."""
    path, arrays = checkpoint.read_last(run_dir / "checkpoints")
    assert checkpoint.step_of(path) == STEPS
    best = checkpoint.best(run_dir / "checkpoints")
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["images_per_second"], line["data_wait"]
    return arrays, best, lines


def assert_same(run_dir, expected):
    (arrays, best, lines), (expected_arrays, expected_best, expected_lines) = results(run_dir), expected
    assert set(arrays) == set(expected_arrays)
    for name, value in expected_arrays.items():
        assert np.array_equal(arrays[name], value), name
    assert lines == expected_lines
    assert best == expected_best
    assert sum("frechet_distance" in line for line in lines) == 2
    assert all("d_heldout" in line for line in lines)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run, scored after every epoch of 20 steps: its data and its results."""
    root = tmp_path_factory.mktemp("whole")
    data = draw_folder(root / "images", 180)
    done = kgan("train", *flags(data, root / "run"), new_process=True)
    assert done.returncode == 0, done.stderr
    return data, results(root / "run")


def interrupt_and_resume(data, run_dir, signal_number, after_steps, extra_seconds):
    """Starts the run, signals it once some checkpoint is there and a moment has passed, and resumes it to its end."""
    process = subprocess.Popen([sys.executable, "-m", "kgan", "train", *flags(data, run_dir)], stderr=subprocess.PIPE)
    while process.poll() is None and not (run_dir / "checkpoints" / f"step-{after_steps:07}.npz").exists():
        time.sleep(0.002)
    time.sleep(extra_seconds)
    process.send_signal(signal_number)
    message = process.communicate()[1].decode()
    if process.returncode:
        done = kgan("train", f"--resume={run_dir}", new_process=True)
        assert done.returncode == 0, done.stderr
    return process.returncode, message


def test_killed_while_training(whole, tmp_path):
    data, expected = whole
    code, _ = interrupt_and_resume(data, tmp_path / "run", signal.SIGKILL, 10, 0.03)
    assert code == -signal.SIGKILL
    assert_same(tmp_path / "run", expected)


def test_asked_to_stop(whole, tmp_path):
    data, expected = whole
    code, message = interrupt_and_resume(data, tmp_path / "run", signal.SIGTERM, 5, 0.05)
    assert code == 143
    assert "all saved; go on with: kgan train --resume=" in message
    assert_same(tmp_path / "run", expected)


@pytest.mark.slow
def test_killed_before_the_first_checkpoint(whole, tmp_path):
    data, expected = whole
    run_dir = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-m", "kgan", "train", *flags(data, run_dir)])
    while not (run_dir / "config.json").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = kgan("train", f"--resume={run_dir}", new_process=True)
    assert done.returncode == 0, done.stderr
    assert_same(run_dir, expected)


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(10))
def test_killed_at_a_random_moment(whole, tmp_path, trial):
    data, expected = whole
    moment = random.Random(trial)
    interrupt_and_resume(
        data, tmp_path / "run", signal.SIGKILL, moment.choice(range(5, 40, 5)), moment.uniform(0.0, 0.15)
    )
    assert_same(tmp_path / "run", expected)
