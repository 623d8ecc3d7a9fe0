"""Files are written by a thread while steps run: in order, whole, and a failure there is a failure of the run."""

import errno
import json
import signal
import threading

import numpy as np
import pytest
from PIL import Image

import kgan
from kgan.errors import NonFiniteLoss, Stopped, UserError
from kgan.runs import checkpoint
from kgan.runs.rundir import RunDir
from kgan.training import recording, scoring, snapshots
from kgan.training.background import BackgroundWriter


@pytest.fixture
def settings(folder) -> dict:
    shared = {"dataset": "folder", "data_dir": str(folder), "image_size": 28, "channels": 1, "arch": "mlp"}
    return shared | {"batch_size": 8, "steps": 4, "save_every": 1, "log_every": 1}


def test_what_is_submitted_runs_in_order_in_another_thread():
    done: list = []
    with BackgroundWriter() as writer:
        for number in range(5):
            writer.submit(lambda number=number: done.append((number, threading.current_thread())))
        writer.wait()
        assert [number for number, _ in done] == [0, 1, 2, 3, 4]
    assert threading.current_thread() not in {thread for _, thread in done}


def test_what_is_raised_there_is_raised_here():
    with pytest.raises(OSError, match="full"), BackgroundWriter() as writer:
        writer.submit(lambda: (_ for _ in ()).throw(OSError("full")))
        writer.submit(lambda: None)
    with pytest.raises(OSError, match="full"), BackgroundWriter() as writer:
        writer.submit(lambda: (_ for _ in ()).throw(OSError("full")))


def test_a_full_disk_is_one_line_and_leaves_the_earlier_checkpoints(settings, tmp_path, monkeypatch):
    save = checkpoint.save

    def fill(folder, step, arrays):
        if step == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder / "step-0000003.npz"))
        return save(folder, step, arrays)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(recording.checkpoint, "save", fill)
        with pytest.raises(
            UserError, match="No space left.*last checkpoint is of step 2; go on with: kgan train --res"
        ):
            kgan.train(**settings, run_dir=run)
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    assert kgan.train(run_dir=run, resume=True).step == 4


@pytest.mark.parametrize("due", [{"save_every": 1}, {"save_every": 2, "sample_every": 1}])
def test_weights_that_are_not_finite_are_neither_saved_nor_drawn(settings, tmp_path, monkeypatch, due):
    def spoil(self, step, waited):
        if step == 3:
            self.state.generator.trainable_variables[0].assign(np.inf * self.state.generator.trainable_variables[0])
        after(self, step, waited)

    after, run = recording.Recorder.after, RunDir(tmp_path / "run")
    monkeypatch.setattr(recording.Recorder, "after", spoil)
    with pytest.raises(NonFiniteLoss, match="generator/.* is not finite after step 3; the last good .*-0000002.npz"):
        kgan.train(**settings | due, run_dir=run.path)
    assert run.status() == "non-finite"
    assert checkpoint.step_of(checkpoint.paths(run.checkpoints)[-1]) == 2 and not run.sample_file(3).exists()
    assert all(np.isfinite(array).all() for array in checkpoint.read_last(run.checkpoints)[1].values())


def test_weights_that_are_not_finite_are_not_saved_on_a_signal(settings, tmp_path):
    def press(done, total):
        signal.raise_signal(signal.SIGINT)

    settings |= {"g_lr": 1e39, "save_every": 100, "run_dir": tmp_path / "run"}
    with pytest.raises(NonFiniteLoss, match="is not finite after step 1; no checkpoint was saved yet; in a new run"):
        kgan.train(**settings, progress=press)
    assert checkpoint.paths(tmp_path / "run/checkpoints") == []


def test_a_run_folder_that_is_gone_is_named(settings, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def remove(*_):
        run.rename(tmp_path / "elsewhere")
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(run / "x"))

    monkeypatch.setattr(snapshots, "write_grid", remove)
    with pytest.raises(UserError, match="run folder is no longer there.*disk is gone; if it .*, go on with: kgan"):
        kgan.train(**settings, run_dir=run)


def test_a_damaged_sample_grid_is_left_out_of_the_animation(settings, tmp_path):
    run = RunDir(kgan.train(**settings, sample_every=1, run_dir=tmp_path / "run").path)
    run.sample_file(2).write_bytes(b"\x89PNG damaged")
    assert kgan.train(run_dir=run.path, resume=True, steps=5).status == "finished"
    with Image.open(run.animation_file) as animation:
        assert animation.n_frames == 4


def test_ctrl_c_saves(settings, tmp_path):
    def press(done, total):
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped, match="stopped at step 2, all saved; go on with: kgan train --resume") as end:
        kgan.train(**settings | {"save_every": 100}, run_dir=tmp_path / "run", progress=press)
    assert end.value.exit_code == 130
    assert [path.name for path in checkpoint.paths(tmp_path / "run/checkpoints")] == ["step-0000002.npz"]


def test_a_second_ctrl_c_says_what_is_saved(settings, tmp_path, monkeypatch):
    def interrupt(self, step, waited):
        if step == 3:
            raise KeyboardInterrupt
        return after(self, step, waited)

    after = recording.Recorder.after
    monkeypatch.setattr(recording.Recorder, "after", interrupt)
    with pytest.raises(Stopped, match="stopped at once at step 3; the last checkpoint is of step 2; go on with") as end:
        kgan.train(**settings, run_dir=tmp_path / "run")
    assert end.value.exit_code == 130
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"


def test_arrays_handed_to_the_thread_are_not_changed_by_later_steps(settings, tmp_path, monkeypatch):
    handed = []

    class Collecting(BackgroundWriter):
        def submit(self, function, step, arrays, *rest):
            handed.append((step, arrays, checkpoint.sha256(arrays)))
            super().submit(function, step, arrays, *rest)

    monkeypatch.setattr("kgan.training.loop.BackgroundWriter", Collecting)
    kgan.train(**settings, run_dir=tmp_path / "run")
    assert [step for step, *_ in handed] == [1, 2, 3, 4]
    assert all(checkpoint.sha256(arrays) == sha256 for _, arrays, sha256 in handed)
    assert len({sha256 for *_, sha256 in handed}) == 4


def test_progress_is_called(settings, tmp_path):
    calls = []
    kgan.train(**settings, run_dir=tmp_path / "run", progress=lambda *call: calls.append(call))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_collapse_is_said_once():
    scores = [(10, 2.0), (20, 1.0), (30, 1.9)]
    assert scoring.since_best(scores) == (20, 1)
    assert scoring.collapse_advice(scores) is None
    worse = [*scores, (40, 2.5)]
    assert "at step 40, 2.5, is 2.5 times the best, 1 at step 20" in scoring.collapse_advice(worse)
    assert scoring.collapse_advice([*worse, (50, 3.0)]) is None
    assert scoring.collapse_advice([*worse, (50, 1.5)]) is None
    assert "2.2 times" in scoring.collapse_advice([*worse, (50, 1.5), (60, 2.2)])
    assert scoring.collapse_advice([(10, 2.0)]) is None
