"""`kgan train` as its users meet it: whole commands, from flags to files and exit codes."""

import contextlib
import functools
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import kgan as package
from kgan.runs import checkpoint
from tests.conftest import draw_folder, kgan, refused
from tests.fuzzing import damaged, fuzz


def test_help_lists_the_commands_without_tensorflow():
    done = kgan("--help")
    assert done.returncode == 0
    assert "train      Train a GAN" in done.stdout
    code = "import sys, kgan.__main__ as m; sys.argv = ['kgan', '--help']; m.main(); print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.endswith("False\n")


def test_imported_commands_define_no_flags():
    code = (
        "import importlib, pkgutil\nfrom absl import app, flags, logging\napp.define_help_flags()\n"
        "before = set(flags.FLAGS)\nimport kgan.commands\n"
        "for module in pkgutil.iter_modules(kgan.commands.__path__, 'kgan.commands.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(sorted(set(flags.FLAGS) - before))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_version():
    assert kgan("--version").stdout == f"kgan {package.__version__}\n"


def test_an_unknown_command_names_those_there_are():
    assert "no command 'tarin': did you mean train? It is one of" in refused("tarin")


def test_help_of_train_lists_every_setting_with_its_default():
    done = kgan("train", "--help")
    assert done.returncode == 0
    text = re.sub(r"\s+", " ", done.stdout)
    for name, field in package.TrainConfig.__dataclass_fields__.items():
        assert re.search(rf"--(\[no\])?{name}: ", text), name
        if field.default is not None:
            assert f"Default: {str(field.default).lower() if field.default is False else field.default}." in text
    assert text.count("Default: ") >= len(package.TrainConfig.__dataclass_fields__)


def test_a_run_leaves_its_folder(folder_flags, tmp_path):
    run = tmp_path / "run"
    done = kgan("train", *folder_flags, f"--run_dir={run}", "--log_every=2", "--sample_every=2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert str(run / "comparison.png") in done.stdout and "next:" in done.stdout
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert names >= {"config.json", "flags.txt", "run.json", "metrics.jsonl", "log.txt", "curves.png", "training.gif"}
    assert "comparison.png" in names
    assert names >= {"samples/reals.png", "samples/step-0000002.png", "samples/step-0000004.png"}
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["dataset"]["num_train"] == 44 and record["dataset"]["num_heldout"] == 4
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert {"epoch", "images_per_second", "data_wait", "d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm"} <= set(
        lines[0]
    )
    assert Image.open(run / "training.gif").n_frames == 2


def test_flags_txt_repeats_the_run(folder_flags, tmp_path):
    assert (
        kgan("train", *folder_flags, "--deterministic", f"--run_dir={tmp_path / 'a'}", new_process=True).returncode == 0
    )
    done = kgan("train", f"--flagfile={tmp_path / 'a' / 'flags.txt'}", f"--run_dir={tmp_path / 'b'}", new_process=True)
    assert done.returncode == 0, done.stderr
    first, second = (checkpoint.read_last(tmp_path / name / "checkpoints")[1] for name in "ab")
    assert checkpoint.sha256(first) == checkpoint.sha256(second)


def test_a_finished_run_goes_on_for_more_steps(folder_flags, tmp_path):
    run = tmp_path / "run"
    assert kgan("train", *folder_flags, f"--run_dir={run}").returncode == 0
    assert "has made all 4 steps; give more --epochs or --steps" in refused("train", f"--resume={run}")
    assert "--seed was 0 and is 3" in refused("train", f"--resume={run}", "--seed=3")
    assert "is not empty: go on with --resume=" in refused("train", *folder_flags, f"--run_dir={run}")
    assert "has made 4 steps already: --steps=3 is fewer" in refused("train", f"--resume={run}", "--steps=3")
    done = kgan("train", f"--resume={run}", "--steps=7", "--log_every=1")
    assert done.returncode == 0, done.stderr
    assert "resumed at step 4 of 7" in done.stdout
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [4, 5, 6, 7]
    resumed = json.loads((run / "run.json").read_text())["resumed"]
    assert [(entry["step"], entry["changes"]["steps"]) for entry in resumed] == [(4, [4, 7])]
    assert checkpoint.step_of(checkpoint.paths(run / "checkpoints")[-1]) == 7


def test_resume_auto_starts_resumes_or_leaves_finished(folder_flags, tmp_path):
    run = tmp_path / "run"
    command = ["train", *folder_flags, f"--run_dir={run}", "--resume=auto"]
    assert "--resume=auto needs --run_dir" in refused("train", *folder_flags, "--resume=auto")
    assert kgan(*command).returncode == 0
    done = kgan(*command)
    assert done.returncode == 0 and done.stdout.startswith(f"{run} is finished already\n")
    assert "--seed was 0 and is 3" in refused(*command, "--seed=3")
    dry = kgan(*command, "--dry_run")
    assert dry.returncode == 0 and '"status": "finished"' in dry.stdout and "no run folder was made" in dry.stdout
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "running"}))
    (run / "training.gif").unlink()
    done = kgan(*command)
    assert (done.returncode, done.stderr) == (0, "") and "resumed at step 4 of 4" in done.stdout
    assert (run / "training.gif").exists()
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_a_dry_run_prints_and_writes_nothing(folder_flags, tmp_path):
    done = kgan("train", *folder_flags, "--dry_run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--arch=mlp" in done.stdout and '"total_steps": 4' in done.stdout and '"generator": ' in done.stdout
    assert "disk: up to" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_is_refused_where_the_run_would_be(folder_flags, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine")
    assert "is not empty" in refused("train", *folder_flags, "--dry_run", f"--run_dir={tmp_path}")
    in_the_way = refused("train", *folder_flags, "--dry_run", f"--run_dir={tmp_path / 'notes.txt' / 'run'}")
    assert f"cannot make this folder, {tmp_path / 'notes.txt'} is a file" in in_the_way
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    assert "has 0 MiB free" in refused("train", *folder_flags, "--dry_run", f"--run_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_fit_on_the_disk_is_refused(folder, tmp_path, monkeypatch):
    usage = lambda place: SimpleNamespace(free=1000 if tmp_path in (place, *place.parents) else 2**40)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", usage)
    config = package.TrainConfig(
        dataset="folder", data_dir=str(folder), image_size=28, arch="mlp", batch_size=8, steps=2
    )
    with pytest.raises(package.UserError, match="this run takes up to .* MiB and .* has 0 MiB free"):
        package.train(config, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "runs").mkdir()
    small = lambda place: SimpleNamespace(free=1000 if place.name == "runs" else 2**40)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", small)
    with pytest.raises(package.UserError, match="here/runs has 0 MiB free"):
        package.train(config)


def test_a_non_finite_loss_stops_with_the_step_and_the_last_checkpoint(folder_flags, tmp_path):
    run = tmp_path / "run"
    flags = [flag for flag in folder_flags if not flag.startswith("--steps")]
    done = kgan(
        "train", *flags, "--steps=60", "--loss=wgan", "--save_every=1", "--g_lr=1e-4", "--d_lr=3e3", f"--run_dir={run}"
    )
    assert done.returncode == 4
    assert re.search(r"became (nan|inf|-inf) at step \d+; the last good checkpoint is .*step-\d+.npz", done.stderr)
    assert done.stderr.count("\n") == 1
    arrays = checkpoint.read_last(run / "checkpoints")[1]
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert json.loads((run / "run.json").read_text())["status"] == "non-finite"


def test_python_loads_what_was_trained(folder, tmp_path):
    settings = {"dataset": "folder", "data_dir": str(folder), "image_size": 28, "channels": 1, "arch": "mlp"}
    config = package.TrainConfig(**settings, batch_size=8, steps=2, conditional=True)
    result = package.train(config, run_dir=tmp_path / "run")
    assert (result.status, result.step, result.total_steps, result.scores) == ("finished", 2, 2, {})
    assert result.path == tmp_path / "run" and result.metrics["step"] == 2
    trained = package.load(result)
    images = trained.generate(5, seed=1)
    assert images.shape == (5, 28, 28, 1) and images.dtype == np.uint8
    assert np.array_equal(trained.generate(205, seed=1)[:5], images)
    assert not np.array_equal(trained.generate(5, seed=2), images)
    assert np.array_equal(trained.generate(5, seed=1, labels=[0, 1, 0, 1, 0]), images)
    assert trained.config.arch == "mlp" and trained.generator.output_shape == (None, 28, 28, 1)
    with pytest.raises(package.errors.UserError, match="a label must be one of 0 to 1"):
        trained.generate(5, labels=2)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--bacth_size=3"], "Unknown command line flag 'bacth_size'. Did you mean: batch_size"),
        (["--batch_size=few"], "--batch_size=few"),
        (["--image_size=30"], "--image_size"),
        (["--loss=wagn"], "--loss=wagn: value should be one of"),
        (["--flagfile=absent.flags"], "absent.flags"),
        (["extra"], "unexpected 'extra'"),
        (["--batch_size=64"], "--batch_size=64 is more than the 44 training images"),
        (["--num_heldout=48"], "--num_heldout=48: must be at least 0, and of 48 images"),
        (["--num_train=45"], "--num_train=45: only 44"),
        (["--data_dir=/nowhere"], "/nowhere: not a folder"),
        (["--run_dir=file/x"], "--run_dir=file/x: cannot make this folder"),
        (["--resume=nowhere"], "nowhere: not a run folder"),
        (["--resume=a", "--run_dir=b"], "--resume and --run_dir"),
        (["--dataset=mnist", "--data_dir=."], "--data_dir=.: no mnist in it"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(folder_flags, tmp_path, flags, words):
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    if flags[0].startswith("--dataset"):
        folder_flags = []
    assert words in refused("train", *folder_flags, *flags, cwd=tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_labels_are_needed_for_conditional(tmp_path):
    data = draw_folder(tmp_path / "flat", classes=0)
    words = refused("train", "--dataset=folder", f"--data_dir={data}", "--conditional", cwd=tmp_path)
    assert "--conditional needs labels" in words


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty: no images in it" in refused("train", "--dataset=folder", f"--data_dir={tmp_path / 'empty'}")


def test_a_run_that_moved_with_its_data_finds_them(tmp_path):
    data = draw_folder(tmp_path / "project" / "data", 150)
    settings = {"dataset": "folder", "image_size": 28, "channels": 1, "arch": "mlp", "batch_size": 8, "steps": 2}
    package.train(**settings, data_dir=str(data), run_dir=tmp_path / "project" / "runs" / "x")
    moved = (tmp_path / "project").rename(tmp_path / "elsewhere")
    run = moved / "runs" / "x"
    assert kgan("train", f"--resume={run}", "--steps=4").returncode == 0
    assert json.loads((run / "config.json").read_text())["data_dir"] == str(moved / "data")
    assert json.loads((run / "run.json").read_text())["resumed"][0]["changes"] == {"steps": [2, 4]}
    again = moved.rename(tmp_path / "again") / "runs" / "x"
    assert package.evaluate(again, num_samples=66).protocol["reference_images"] == 135
    assert package.audit(again, num_samples=16).num_samples == 16
    shutil.rmtree(tmp_path / "again" / "data")
    assert f"{moved / 'data'}: not a folder" in refused("evaluate", again)


def test_output_that_nobody_reads_ends_in_silence():
    for arguments in (["--help"], ["train", "--help"]):
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-m", "kgan", *arguments]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
        os.close(write)
        assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_training_goes_on_where_its_output_is_no_longer_read(folder_flags, tmp_path):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "kgan", "train", *folder_flags, f"--run_dir={tmp_path / 'run'}"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")  # of the words at the end
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"


def test_a_closed_terminal_saves_and_ends_as_a_signal_does(folder_flags, tmp_path):
    flags = [flag for flag in folder_flags if not flag.startswith("--steps")]
    run, (terminal, inner) = tmp_path / "run", os.openpty()
    command = [sys.executable, "-m", "kgan", "train", *flags, "--steps=1000000", "--save_every=1", f"--run_dir={run}"]
    heeding = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, preexec_fn=heeding)
    os.close(inner)
    try:
        while not checkpoint.paths(run / "checkpoints"):
            assert process.poll() is None
            while select.select([terminal], [], [], 0.05)[0]:
                os.read(terminal, 4096)
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        assert process.wait(240) == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"


def test_h_is_help():
    assert kgan("train", "-h").stdout == kgan("train", "--help").stdout != ""


def test_a_flagfile_that_is_not_text_is_named(tmp_path):
    (tmp_path / "binary.flags").write_bytes(bytes(range(128, 256)))
    assert "decode" in refused("train", f"--flagfile={tmp_path / 'binary.flags'}")


def test_another_keras_backend_is_named(folder_flags, tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    words = refused("train", *folder_flags, f"--run_dir={tmp_path / 'run'}", env=environment)
    assert "Keras is set to use jax" in words and not (tmp_path / "run").exists()


def test_channels_first_in_the_settings_of_keras_is_named(folder_flags, tmp_path):
    (tmp_path / "keras.json").write_text('{"image_data_format": "channels_first"}')
    words = refused(
        "train", *folder_flags, f"--run_dir={tmp_path / 'run'}", env={**os.environ, "KERAS_HOME": str(tmp_path)}
    )
    assert "channels_first" in words and not (tmp_path / "run").exists()


def test_a_folder_with_spaces_can_be_pasted(folder_flags, tmp_path):
    run = tmp_path / "серый 128 px"
    done = kgan("train", *folder_flags, f"--run_dir={run}")
    assert f"kgan sample '{run}' --num=64" in done.stdout
    assert "real images beside generated ones" in done.stdout and f"audit '{run}'" in done.stdout


def test_a_run_folder_need_not_be_utf_8_but_settings_must(folder_flags, tmp_path):
    run = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    command = [sys.executable, "-m", "kgan", "train", *folder_flags, f"--run_dir={run}"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})
    assert (done.returncode, done.stderr) == (0, b""), done
    line = b"run folder " + os.fsencode(run)
    assert line in done.stdout and line in (Path(run) / "log.txt").read_bytes()
    assert "must be UTF-8 on one line" in refused("train", "--dataset=folder", f"--data_dir={run}", cwd=tmp_path)
    assert not (tmp_path / "runs").exists()


FLAGFILE = b"# mnist\n--dataset=mnist\n--epochs=3\n--flip\n--loss=hinge\n--flagfile=other.flags\n--noconditional\n"


@fuzz(damaged(FLAGFILE, b"--flagfile=damaged.flags\n", b"--help\n"))
def test_a_damaged_flagfile_is_read_or_one_line(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    (folder / "damaged.flags").write_bytes(content)
    with contextlib.chdir(folder):
        done = kgan("train", "--flagfile=damaged.flags", "--dataset=folder", "--data_dir=nowhere", "--dry_run")
    *warnings, last = done.stderr.splitlines() or [""]
    assert all(line.startswith("Warning: Hit circular flagfile") for line in warnings)
    if b"help" not in content or done.returncode:
        assert done.returncode == 2 and last.startswith("kgan: error: "), done
