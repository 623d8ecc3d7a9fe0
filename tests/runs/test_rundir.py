import errno
import threading

import pytest

from kgan import TrainConfig
from kgan.errors import UserError
from kgan.runs.rundir import RUNNING, RunDir
from kgan.training.plan import resume_config

CONFIG = TrainConfig(dataset="cifar10", arch="sndcgan", loss="hinge")


METRICS = dict.fromkeys(
    ("images_per_second", "data_wait", "d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm", "g_grad_norm"), 0.5
)


def test_runs_are_numbered_and_never_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = []
    threads = [threading.Thread(target=lambda: made.append(RunDir.create(None, CONFIG).path.name)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [f"{number:05}-cifar10-sndcgan-hinge" for number in range(8)]
    assert RunDir.create(None, TrainConfig()).path.name == "00008-mnist-dcgan-rpgan"


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    RunDir.create(tmp_path / "new", CONFIG)
    with pytest.raises(UserError, match="new is not empty: go on with --resume="):
        RunDir.create(tmp_path / "new", CONFIG)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot make this folder"):
        RunDir.create(tmp_path / "file" / "x", CONFIG)
    with pytest.raises(UserError, match="not a run folder"):
        RunDir.open(tmp_path)


def test_a_name_that_the_system_refuses_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot"):
        RunDir.create(tmp_path / ("x" * 300), CONFIG)
    with pytest.raises(UserError, match="not a run folder"):
        RunDir.open(tmp_path / ("x" * 300))


def test_a_second_writer_is_kept_out(tmp_path):
    run = RunDir.create(tmp_path / "x", CONFIG)
    with pytest.raises(UserError, match="another process is training here"):
        RunDir.open(tmp_path / "x").lock()
    run.unlock()
    RunDir.open(tmp_path / "x").lock()


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fcntl.flock", refuse)
    for number in range(2):
        run = RunDir.create(None, CONFIG)
        run.unlock()
        assert run.path.name.startswith(f"0000{number}-") and run.status() != RUNNING


def test_a_run_that_was_killed_is_interrupted_where_its_log_ends(tmp_path):
    run = RunDir(tmp_path / "x")
    assert (run.status(), run.step()) == ("waiting", None)
    run = RunDir.create(run.path, CONFIG)
    run.update_record(status="running", step=0)
    assert (run.status(), run.step()) == ("running", 0)
    run.append_metrics({"step": 30} | METRICS)
    run.unlock()
    assert (run.status(), run.step()) == ("interrupted", 30)
    for status in ("interrupted", "failed", "non-finite", "finished"):
        run.update_record(status=status, step=34)
        assert (run.status(), run.step()) == (status, 34)


def test_settings_survive(tmp_path):
    run = RunDir.create(tmp_path / "x", CONFIG)
    assert RunDir.open(run.path).read_config() == CONFIG
    assert "--loss=hinge" in (run.path / "flags.txt").read_text().splitlines()


def test_metrics_and_grids_are_cut_back_to_a_step(tmp_path):
    run = RunDir.create(tmp_path / "x", CONFIG)
    for step in range(10, 60, 10):
        run.append_metrics({"step": step} | METRICS)
        run.sample_file(step).touch()
    with open(run.metrics_file, "a") as stream:
        stream.write('{"step": 6')
    run.cut_back(30)
    assert [line["step"] for line in run.read_metrics()] == [10, 20, 30]
    assert run.metrics_file.read_text().count("\n") == 3
    assert run.sample_files() == [run.sample_file(step) for step in (10, 20, 30)]


def test_a_resumed_run_may_get_longer_and_nothing_else():
    saved = TrainConfig(epochs=5, seed=1)
    assert resume_config(saved, {"seed": 1}) == saved
    assert resume_config(saved, {"epochs": 9, "data_dir": "/d"}) == saved.replace(epochs=9, data_dir="/d")
    assert resume_config(saved, {"steps": 70}) == saved.replace(epochs=None, steps=70)
    with pytest.raises(UserError, match="--seed was 1 and is 2, --loss was rpgan and is hinge"):
        resume_config(saved, {"seed": 2, "loss": "hinge", "epochs": 9})


def test_a_folder_whose_making_was_broken_off_counts_as_empty(tmp_path):
    run = RunDir.create(tmp_path / "x", CONFIG)
    first = run.read_record()["id"]
    run.unlock()
    run.config_file.unlink()
    (run.path / "flags.txt").unlink()
    (run.path / ".config.json.1.tmp").touch()
    again = RunDir.create(tmp_path / "x", CONFIG)
    assert again.read_record()["id"] != first and again.is_locked()


def test_files_with_other_names_are_no_grids_and_leftovers_go(tmp_path):
    run = RunDir.create(tmp_path / "x", CONFIG)
    kept = ["step-0000100.png", "step-0000020.png", "step-0000100 (copy).png", "step-backup.png", "notes.tmp"]
    for name in (*kept, ".step-0000100.png.123.tmp"):
        (run.samples / name).touch()
    for name in (".run.json.77.tmp", ".comparison.png.77.tmp", ".evaluation.json.78.tmp"):
        (run.path / name).touch()
    assert [path.name for path in run.sample_files()] == ["step-0000020.png", "step-0000100.png"]
    run.unlock()
    opened = RunDir.open(run.path)
    opened.lock()
    opened.remove_leftovers()
    assert sorted(path.name for path in run.samples.iterdir()) == sorted(kept)
    assert not (run.path / ".run.json.77.tmp").exists() and not (run.path / ".comparison.png.77.tmp").exists()
    assert (run.path / ".evaluation.json.78.tmp").exists()  # another command may be writing it


def test_a_folder_that_cannot_be_written_in_is_named(tmp_path, monkeypatch):
    run = RunDir.create(tmp_path / "x", CONFIG)
    run.unlock()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UserError, match="x: cannot write in this folder .Permission denied"):
        RunDir(run.path).lock()
