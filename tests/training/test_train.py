"""`kgan.train` as a function: how often it may be called, what a resumed run keeps, and how one ends early."""

import gc
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import kgan
from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.hardware import machine
from kgan.runs import checkpoint
from kgan.runs.rundir import RunDir
from kgan.training import scoring
from kgan.training.train import describe
from tests.conftest import draw_folder


@pytest.fixture
def settings(folder) -> dict:
    shared = {"dataset": "folder", "data_dir": str(folder), "image_size": 28, "channels": 1, "arch": "mlp"}
    return shared | {"batch_size": 8, "steps": 4}


def test_two_replicas_train_resume_and_are_read_back(settings, tmp_path):
    """--strategy=mirrored, on two devices of one processor."""
    code = (
        "import sys, tensorflow as tf\n"
        "cpu, two = tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2\n"
        "tf.config.set_logical_device_configuration(cpu, two)\n"
        "import kgan\n"
        f"settings, run = {settings | {'arch': 'dcgan', 'width': 0.1}!r}, {str(tmp_path / 'run')!r}\n"
        "kgan.train(**settings, strategy='mirrored', run_dir=run)\n"
        "assert kgan.train(run_dir=run, resume=True, steps=6).step == 6\n"
        "assert kgan.load(run).generate(2).shape == (2, 28, 28, 1)\n"
    )
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["device"]["replicas"] == 2 and record["status"] == "finished" and record["step"] == 6


@pytest.mark.parametrize("classes, words", [(1, "conditional on 1 class, "), (2, "conditional on 2 classes, ")])
def test_the_log_says_how_many_classes(settings, tmp_path, classes, words):
    settings |= {"data_dir": str(draw_folder(tmp_path / "others", classes=classes)), "conditional": True}
    run = RunDir(kgan.train(**settings, run_dir=tmp_path / "run"))
    assert words in run.log_file.read_text()


def test_more_steps_stretch_a_linear_decay_and_say_so(settings, tmp_path):
    run = RunDir(kgan.train(**settings, lr_decay="linear", run_dir=tmp_path / "run"))
    kgan.train(run_dir=run.path, resume=True, steps=8)
    assert "--lr_decay=linear: the learning rates now fall until step 8" in run.log_file.read_text()
    before, after = (checkpoint.read(checkpoint.path_of(run.checkpoints, step)) for step in (4, 8))
    kernels = [name for name in before if name.startswith(("generator/", "discriminator/")) and name.endswith("kernel")]
    assert kernels and all(np.abs(after[name] - before[name]).max() > 1e-5 for name in kernels)


def test_a_resumed_run_keeps_its_data_dir_if_none_is_given(settings, tmp_path):
    kgan.train(**settings, run_dir=tmp_path / "run")
    assert kgan.train(run_dir=tmp_path / "run", resume="auto", steps=6, data_dir=None).step == 6


def test_tensorboard_gets_events(settings, tmp_path):
    pytest.importorskip("tensorboard")
    run = RunDir(tmp_path / "run")
    kgan.train(**settings, tensorboard=True, log_every=1, run_dir=run.path)
    assert [path.name for path in run.events.iterdir() if path.name.startswith("events.out.tfevents")]


def test_tensorboard_is_said_to_be_missing_before_anything_is_written(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--tensorboard needs the package tensorboard: pip install 'kgan\[tensorboard"):
        kgan.train(**settings, tensorboard=True, run_dir=tmp_path / "without")
    assert not (tmp_path / "without").exists()


@pytest.mark.slow
def test_runs_in_one_process_leave_nothing_behind(settings, tmp_path):
    def graphs() -> int:
        return sum(isinstance(value, tf.Graph) for value in gc.get_objects())

    for number in range(2):
        kgan.load(kgan.train(**settings, run_dir=tmp_path / f"warm{number}")).generate(3)
    gc.collect()
    before, objects = graphs(), len(gc.get_objects())
    for number in range(4):
        kgan.load(kgan.train(**settings, run_dir=tmp_path / f"run{number}")).generate(3)
    gc.collect()
    assert graphs() == before
    assert len(gc.get_objects()) < 1.05 * objects


def test_settings_are_keywords_or_a_config(settings, tmp_path):
    config = TrainConfig(**settings)
    result = kgan.train(config, steps=2, run_dir=tmp_path / "run")
    assert result.step == 2 and RunDir(result).read_config().steps == 2
    assert kgan.train(config, steps=2, run_dir=tmp_path / "run", resume="auto") == result
    with pytest.raises(UserError, match="there is no setting 'step': did you mean steps?"):
        kgan.train(step=3)
    with pytest.raises(UserError, match="resume='yes': must be True, False or 'auto'"):
        kgan.train(resume="yes", run_dir=tmp_path)
    with pytest.raises(UserError, match="name the run to resume"):
        kgan.train(resume=True)


def test_a_resumed_run_keeps_what_is_given_as_none(settings, tmp_path):
    run = tmp_path / "run"
    kgan.train(**settings, num_heldout=None, epochs=None, run_dir=run)
    assert kgan.train(**settings, num_heldout=None, epochs=None, run_dir=run, resume="auto").step == 4
    assert kgan.train(steps=6, epochs=None, stop_when_worse=None, run_dir=run, resume="auto").step == 6


def test_a_resumed_run_keeps_what_a_config_leaves_at_its_default(settings, tmp_path):
    settings |= {"save_every": 3, "strategy": "single", "accept_unknown_license": True}
    run = RunDir(kgan.train(TrainConfig(**settings), run_dir=tmp_path / "run"))
    assert kgan.train(TrainConfig(steps=6, log_every=2), run_dir=run.path, resume=True).step == 6
    changes = run.read_record()["resumed"][-1]["changes"]
    assert (sorted(changes), changes["steps"]) == (["log_every", "steps"], [4, 6])
    with pytest.raises(UserError, match="a resumed run keeps its settings: --seed was 0 and is 3;"):
        kgan.train(TrainConfig(steps=8, seed=3), run_dir=run.path, resume=True)


def test_a_run_whose_checkpoints_are_gone_keeps_its_log(settings, tmp_path):
    run = RunDir(kgan.train(**settings, log_every=1, run_dir=tmp_path / "run").path)
    kept = shutil.move(run.checkpoints, tmp_path / "kept")
    shutil.rmtree(run.samples)
    for resume in (True, "auto"):
        with pytest.raises(UserError, match="the checkpoints of 4 steps are gone: put them back, or train anew"):
            kgan.train(run_dir=run.path, resume=resume, steps=6)
    assert [line["step"] for line in run.read_metrics()] == [1, 2, 3, 4]
    shutil.move(kept, run.checkpoints)
    assert kgan.train(run_dir=run.path, resume=True, steps=6).step == 6


def test_other_images_are_said_before_all_else(settings, tmp_path):
    run = RunDir(kgan.train(**settings, run_dir=tmp_path / "run"))
    others = str(draw_folder(tmp_path / "others", 20, seed=7))
    for more in ({"steps": 2}, {"epochs": 1}, {"steps": 6}, {}):
        for function in (kgan.train, describe):
            with pytest.raises(UserError, match="run was trained on other images than .* holds now: name the place of"):
                function(run_dir=run.path, resume=True, data_dir=others, **more)
    assert run.read_record()["status"] == "finished"
    assert kgan.train(run_dir=run.path, resume=True, steps=6).step == 6


def test_a_run_without_its_record_is_not_resumed(settings, tmp_path):
    run = RunDir(kgan.train(**settings, run_dir=tmp_path / "run"))
    record = run.record_file.read_text()
    run.record_file.unlink()
    for resume in (True, "auto"):
        with pytest.raises(UserError, match="run.json: missing, or does not say which run this is: put it back"):
            kgan.train(run_dir=run.path, resume=resume, steps=6)
    assert not run.record_file.exists()
    run.record_file.write_text("{}")
    with pytest.raises(UserError, match="run.json: missing, or does not say which run this is"):
        kgan.train(run_dir=run.path, resume=True, steps=6)
    run.record_file.write_text(record)
    assert kgan.train(run_dir=run.path, resume=True, steps=6).step == 6


def test_mistakes_are_said_before_tensorflow_is_imported(tmp_path):
    code = (
        "import kgan, sys\n"
        f"try: kgan.train(dataset='mnist', data_dir={str(tmp_path)!r})\n"
        "except kgan.UserError as error: print(error, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "no mnist in it" in done.stdout and done.stdout.endswith("False\n"), done


def test_a_resumed_run_keeps_its_precision_unless_told_otherwise(settings, tmp_path, monkeypatch):
    run = RunDir(kgan.train(**settings, precision="float32", run_dir=tmp_path / "run"))
    run.write_config(run.read_config().replace(precision="auto"))
    monkeypatch.setattr(machine, "_has_bfloat16", lambda gpus: True)
    kgan.train(run_dir=run.path, resume=True, steps=5)
    assert run.read_record()["device"]["precision"] == "float32"
    kgan.train(run_dir=run.path, resume=True, steps=6, precision="bfloat16")
    record = run.read_record()
    assert record["device"]["precision"] == "bfloat16"
    assert record["resumed"][-1] == {
        "step": 5,
        "changes": {"steps": [5, 6], "precision": ["float32", "bfloat16"]},
    }
    run.write_config(run.read_config().replace(precision="auto"))
    monkeypatch.setattr(machine, "_has_bfloat16", lambda gpus: False)
    with pytest.raises(UserError, match="was trained in bfloat16.*--precision=bfloat16 all the same, or .*=float32"):
        kgan.train(run_dir=run.path, resume=True, steps=7)
    assert kgan.train(run_dir=run.path, resume=True, steps=7, precision="float32").step == 7


@pytest.mark.parametrize(
    "asked, earlier, gpus, xla",
    [("auto", None, 0, False), ("auto", True, 0, True), ("auto", False, 1, False), ("off", True, 1, False),
     ("on", False, 0, True)],
)  # fmt: skip
def test_a_resumed_run_keeps_its_xla_choice(asked, earlier, gpus, xla):
    strategy = tf.distribute.get_strategy()
    assert machine._xla(TrainConfig(xla=asked), [None] * gpus, strategy, earlier, []) is xla


def test_xla_is_for_the_default_strategy():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert machine._xla(TrainConfig(), [], strategy, None, []) is False
    with pytest.raises(UserError, match="--xla=on works on one device"):
        machine._xla(TrainConfig(xla="on"), [], strategy, None, [])
    with pytest.raises(UserError, match="was trained with XLA.*--strategy=single, or .*--xla=off"):
        machine._xla(TrainConfig(), [], strategy, True, [])


def test_a_gpu_that_tensorflow_does_not_know_gets_no_xla(monkeypatch):
    monkeypatch.setattr(machine, "_newest_known_gpu", lambda: (9, 0))
    for capability, xla in (((8, 9), True), ((9, 0), True), ((12, 0), False)):
        monkeypatch.setattr(machine, "_compute_capability", lambda gpu, capability=capability: capability)
        notes = []
        assert machine._xla(TrainConfig(), [object()], tf.distribute.get_strategy(), None, notes) is xla
        assert xla or "compute capability 12.0" in notes[0]


def test_several_gpus_are_used_from_256_images_each(monkeypatch):
    notes = []
    assert machine._strategy(TrainConfig(batch_size=510), 2, notes) is tf.distribute.get_strategy()
    assert "using one of 2 GPUs: --batch_size=510" in notes[0]
    assert machine._strategy(TrainConfig(batch_size=520, accumulate=8), 2, notes) is tf.distribute.get_strategy()
    assert "a multiple of 16 can" in notes.pop()
    assert machine._strategy(TrainConfig(), 1, notes) is tf.distribute.get_strategy() and len(notes) == 1
    names = [SimpleNamespace(name=f"/GPU:{number}") for number in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: names)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", list)
    assert machine._strategy(TrainConfig(batch_size=512), 2, notes) == ["/GPU:0", "/GPU:1"] and len(notes) == 1


def test_out_of_memory_names_the_batch(settings, tmp_path, monkeypatch):
    from kgan.steps.step import TrainStep

    def exhaust(*_):
        device = "/job:localhost/replica:0/task:0/device:GPU:0"
        raise tf.errors.ResourceExhaustedError(None, None, f"OOM when allocating tensor on {device} by allocator bfc")

    monkeypatch.setattr(TrainStep, "__call__", exhaust)
    with pytest.raises(
        UserError, match="ran out of memory at --batch_size=8 --accumulate=1: start another run with a smaller"
    ):
        kgan.train(**settings, run_dir=tmp_path / "run")


def test_networks_that_do_not_fit_are_said_to(settings, tmp_path, monkeypatch):
    def exhaust(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr("kgan.training.loop.create_state", exhaust)
    with pytest.raises(UserError, match="networks alone need more memory.*--width"):
        kgan.train(**settings, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_gets_no_better_ends(tmp_path, monkeypatch):
    values = iter([5.0, 2.0, 3.0, 4.1, 1.0, 1.1, 1.2])
    monkeypatch.setattr(scoring.Scorer, "__call__", lambda self, trained: dict.fromkeys(scoring.SCORES, next(values)))
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / "cache"))
    data = draw_folder(tmp_path / "images", 160, classes=0)
    result = kgan.train(
        dataset="folder", data_dir=str(data), image_size=28, channels=1, arch="mlp", batch_size=16, epochs=5,
        eval_every=1, stop_when_worse=2, run_dir=tmp_path / "run",
    )  # fmt: skip
    assert (result.status, result.step, result.best_step) == ("finished", 36, 18)
    assert result.scores["frechet_distance"] == 2.0 and result.metrics["frechet_distance"] == 4.1
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["ended"] == "no better score in 2 since step 18 (--stop_when_worse=2)"
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("may have collapsed") == 1 and "4.1, is 2.0 times the best, 2 at step 18" in log
    assert np.array_equal(kgan.load(result).generate(2), kgan.load(result, 18).generate(2))
    RunDir(result).update_record(status="running", ended=None)  # as if it had been killed in its last moment
    again = kgan.train(run_dir=result, resume="auto")
    assert (again.status, again.step, RunDir(result).read_record()["ended"]) == ("finished", 36, record["ended"])
    for no_more_patience in (2, 1):
        assert kgan.train(run_dir=result, resume="auto", stop_when_worse=no_more_patience) == result
    longer = kgan.train(run_dir=result, resume="auto", stop_when_worse=10)
    assert (longer.status, longer.step, longer.best_step) == ("finished", 45, 45)
    assert RunDir(result).read_record()["ended"] is None
    assert kgan.train(run_dir=result, resume="auto", stop_when_worse=3) == longer
    even_longer = kgan.train(run_dir=result, resume=True, epochs=7, stop_when_worse=1)
    assert even_longer.step == 54 and RunDir(result).read_record()["ended"].startswith("no better score in 1 since")
    even_longer = kgan.train(run_dir=result, resume=True, epochs=8)  # which takes up its patience anew
    assert even_longer.step == 63 and RunDir(result).read_record()["ended"].startswith("no better score in 1 since")
    with pytest.raises(UserError, match="--stop_when_worse counts scores"):
        kgan.train(stop_when_worse=2)


def test_a_run_may_follow_a_deterministic_one_in_the_same_process(tmp_path):
    code = f"""
import kgan
settings = dict(dataset="folder", data_dir={str(draw_folder(tmp_path / "images", 30))!r}, arch="mlp", image_size=28,
                batch_size=8, steps=2)
for name, deterministic in (("a", True), ("b", False)):
    print(kgan.train(**settings, deterministic=deterministic, run_dir={str(tmp_path)!r} + "/" + name).status)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["finished", "finished"], done.stderr
