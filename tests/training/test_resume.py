"""Promise 1: a run killed anywhere and resumed is the run that was never killed, bit for bit."""

import functools
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

EPOCH, STEPS = 20, 40
STEPS_WITHOUT_END = 10_000


def flags(data, run_dir, steps):
    return [
        "--dataset=folder",
        f"--data_dir={data}",
        "--image_size=28",
        "--channels=1",
        "--augment=diffaug",
        "--batch_size=8",
        "--eval_every=1",
        f"--steps={steps}",
        "--log_every=6",
        "--sample_every=20",
        "--save_every=5",
        "--steps_per_call=2",
        "--deterministic",
        f"--run_dir={run_dir}",
    ]


def results(run_dir, steps):
    """The final checkpoint, the best one and its score, and the log less what the clock decides."""
    path, arrays = checkpoint.read_last(run_dir / "checkpoints")
    assert checkpoint.step_of(path) == steps
    best = checkpoint.best(run_dir / "checkpoints")
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["images_per_second"], line["data_wait"]
    return arrays, best, lines


def resume_and_compare(run_dir, whole_run):
    """Resumes the run to a multiple of STEPS that it has not reached, and compares it with the one never stopped."""
    steps = STEPS * (last_step(run_dir) // STEPS + 1)
    done = kgan("train", f"--resume={run_dir}", f"--steps={steps}", new_process=True)
    assert done.returncode == 0, done.stderr
    arrays, best, lines = results(run_dir, steps)
    expected_arrays, expected_best, expected_lines = whole_run(steps)
    assert set(arrays) == set(expected_arrays)
    for name, value in expected_arrays.items():
        assert np.array_equal(arrays[name], value), name
    assert lines == expected_lines
    assert best == expected_best
    assert sum("frechet_distance" in line for line in lines) == steps // EPOCH
    assert all("d_heldout" in line for line in lines)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("data") / "images", 180)


@pytest.fixture(scope="module")
def whole_run(data, tmp_path_factory):
    """The results of an uninterrupted run of so many steps, scored after every epoch."""

    @functools.cache
    def results_of(steps):
        run_dir = tmp_path_factory.mktemp("whole") / "run"
        done = kgan("train", *flags(data, run_dir, steps), new_process=True)
        assert done.returncode == 0, done.stderr
        return results(run_dir, steps)

    return results_of


def last_step(run_dir) -> int:
    """The step of the last checkpoint, 0 before there is one."""
    return max(map(checkpoint.step_of, checkpoint.paths(run_dir / "checkpoints")), default=0)


def interrupt(data, run_dir, signal_number, is_due, extra_seconds=0.0):
    """Starts a run, signals it once `is_due()` and a moment has passed, and returns its exit code and stderr."""
    command = [sys.executable, "-m", "kgan", "train", *flags(data, run_dir, STEPS_WITHOUT_END)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            end = time.monotonic() + 240
            while not is_due():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < end
                time.sleep(0.002)
            time.sleep(extra_seconds)
            process.send_signal(signal_number)
            message = process.communicate(timeout=240)[1]
        finally:
            process.kill()
    return process.returncode, message


def test_killed_while_training(data, whole_run, tmp_path):
    run_dir = tmp_path / "run"
    code, message = interrupt(data, run_dir, signal.SIGKILL, lambda: last_step(run_dir) >= 10, 0.03)
    assert code == -signal.SIGKILL, message
    resume_and_compare(run_dir, whole_run)


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_asked_to_stop(data, whole_run, tmp_path, number, code):
    run_dir = tmp_path / "run"
    ended, message = interrupt(data, run_dir, number, lambda: last_step(run_dir) >= 5, 0.05)
    assert ended == code, message
    assert "all saved; go on with: kgan train --resume=" in message
    resume_and_compare(run_dir, whole_run)


INTERRUPTED = """
import signal, sys, kgan
from kgan.errors import Stopped
settings = eval(sys.argv[1])
kgan.train(**settings, run_dir="whole")
def interrupt(done, total):
    if done == 3:
        signal.raise_signal(signal.SIGTERM)
try:
    kgan.train(**settings, run_dir="part", progress=interrupt)
except Stopped:
    print(kgan.train(run_dir="part", resume=True).step)
"""
CRITICS = {"arch": "sndcgan", "loss": "hinge", "d_steps": 2, "lr_decay": "linear", "clip_norm": 1.0, "flip": True}
PARTS = {"arch": "mlp", "accumulate": 2, "spectral_norm": True, "penalty_every": 2, "dequantize": True}


@pytest.mark.parametrize("more", [CRITICS, pytest.param(PARTS, marks=pytest.mark.slow)], ids=["critics", "parts"])
def test_whatever_has_a_state_is_taken_up_again(tmp_path, more):
    settings = {"dataset": "folder", "data_dir": str(draw_folder(tmp_path / "images", size=32)), "image_size": 32}
    settings |= {"channels": 1, "width": 0.05, "batch_size": 8, "steps": 6, "log_every": 1, "deterministic": True}
    command = [sys.executable, "-c", INTERRUPTED, repr(settings | more)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "6\n", done.stderr[-3000:]
    (path, whole), (other, part) = (checkpoint.read_last(tmp_path / name / "checkpoints") for name in ("whole", "part"))
    assert checkpoint.step_of(path) == checkpoint.step_of(other) == 6 and set(whole) == set(part)
    assert not [name for name in whole if not np.array_equal(whole[name], part[name])]


@pytest.mark.slow
def test_killed_before_the_first_checkpoint(data, whole_run, tmp_path):
    run_dir = tmp_path / "run"
    interrupt(data, run_dir, signal.SIGKILL, (run_dir / "config.json").exists)
    resume_and_compare(run_dir, whole_run)


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(10))
def test_killed_at_a_random_moment(data, whole_run, tmp_path, trial):
    run_dir, moment = tmp_path / "run", random.Random(trial)
    after = moment.choice(range(5, 40, 5))
    interrupt(data, run_dir, signal.SIGKILL, lambda: last_step(run_dir) >= after, moment.uniform(0.0, 0.15))
    resume_and_compare(run_dir, whole_run)
