"""`kgan sweep` as its users meet it: what is refused, printed, run, resumed and gathered."""

import csv
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import draw_folder, kgan, refused


@pytest.fixture
def sweep(tmp_path):
    """Runs or, with `refuse`, expects to be refused: a sweep over 160 unlabelled images in tmp_path."""
    draw_folder(tmp_path / "images", 160, classes=0)
    flags = ["--dataset=folder", "--data_dir=images", "--image_size=28", "--channels=1", "--arch=mlp", "--steps=4"]
    flags += ["--batch_size=16", "--sweep_dir=sweeps/a"]
    environment = os.environ | {"KGAN_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "120"}

    def run(*arguments, refuse: bool = False):
        return (refused if refuse else kgan)("sweep", *flags, *arguments, cwd=tmp_path, env=environment)

    return run


def rows(tmp_path: Path) -> list[dict]:
    with open(tmp_path / "sweeps/a/sweep.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "give at least one --grid"),
        (["--grid=los=ns"], "there is no setting 'los': did you mean loss?"),
        (["--grid=g_lr=fast"], "--g_lr=fast"),
        (["--grid=batch_size=8,600"], "the cell batch_size=600 cannot be: --batch_size=600 is more than the 144"),
        (["--grid=seed=0", "--sweep_dir=images/dataset.json/x"], "cannot make this folder"),
        (["--grid=seed=0", "--sweep_dir="], "--sweep_dir= is empty"),
        (["--grid=seed=0", "extra"], "unexpected 'extra'"),
    ],
)
def test_mistakes_get_one_line_before_anything_starts(sweep, tmp_path, arguments, words):
    assert words in sweep(*arguments, refuse=True)
    assert not (tmp_path / "sweeps").exists()


def test_where_no_run_has_a_score_the_logs_are_named(sweep, tmp_path):
    (tmp_path / "sweeps/a/seed=0").mkdir(parents=True)
    (tmp_path / "sweeps/a/seed=0/notes.txt").write_text("in the way")
    done = sweep("--grid=seed=0", "--evaluate")
    assert done.returncode == 3 and done.stdout.endswith("Next: no run has a score; sweeps/a/*.log say why\n"), done


@pytest.mark.slow
def test_a_sweep_trains_and_scores_its_cells(sweep, tmp_path):
    """One cell by the command of a dry run, another by the sweep itself, and the table of both."""
    grid = ["--grid=seed=0,1", "--evaluate"]
    lines = sweep(*grid, "--dry_run").stdout.splitlines()
    typed = f"{shlex.quote(sys.executable)} -m kgan"
    assert lines[0].startswith(f"{typed} train --dataset=folder") and "--seed=0" in shlex.split(lines[0])
    assert " --run_dir=sweeps/a/seed=0 " in lines[0] and lines[0].endswith(f" && {typed} evaluate sweeps/a/seed=0")
    shell_all(tmp_path, lines[0])
    (tmp_path / "sweeps/a/seed=1").mkdir()
    (tmp_path / "sweeps/a/seed=1/notes.txt").write_text("in the way")
    done = sweep(*grid)
    assert done.returncode == 3 and "2 cells in sweeps/a, 1 to run" in done.stdout, done
    assert "failed    seed=1: kgan train ended with 2; the end of sweeps/a/seed=1.log:" in done.stdout
    assert "seed=1 is not empty" in done.stdout
    (tmp_path / "sweeps/a/seed=1/notes.txt").unlink()
    done = sweep(*grid)
    assert (done.returncode, done.stderr) == (0, "") and "finished  seed=1" in done.stdout
    assert [row["status"] for row in rows(tmp_path)] == ["finished"] * 2 and "sweeps/a/sweep.png" in done.stdout
    assert all(float(row["score"]) > 0 for row in rows(tmp_path))


def shell_all(folder: Path, lines: str) -> None:
    """Runs the lines with xargs and sh."""
    command = ["xargs", "-d", "\\n", "-n", "1", "-P", "2", "sh", "-c"]
    environment = os.environ | {"KGAN_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(command, input=lines, text=True, cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0, done


@pytest.mark.slow
def test_audits_join_the_table(sweep, tmp_path):
    done = sweep("--grid=seed=0,1", "--audit")  # 16 held-out images: each audit cannot tell, and exits 2
    assert done.returncode == 0, done
    assert [row["verdict"] for row in rows(tmp_path)] == ["cannot tell"] * 2


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_was(tmp_path):
    """Ctrl-C while cells train: they save, and the same command resumes them to the weights that a whole run gives."""
    draw_folder(tmp_path / "images", 48)
    flags = ["--dataset=folder", "--data_dir=images", "--image_size=28", "--channels=1", "--arch=mlp"]
    flags += ["--batch_size=8", "--steps=2000", "--save_every=100", "--grid=seed=0,1", "--jobs=2", "--deterministic"]
    command = [sys.executable, "-m", "kgan", "sweep", *flags]
    with subprocess.Popen([*command, "--sweep_dir=b"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as started:
        try:
            end = time.monotonic() + 240
            while not list(tmp_path.glob("b/*/checkpoints/step-*.npz")):
                assert started.poll() is None and time.monotonic() < end
                time.sleep(0.1)
            started.send_signal(signal.SIGINT)
            output, _ = started.communicate(timeout=240)
        finally:
            started.kill()
    assert started.returncode == 130 and "stopped   seed=0" in output
    statuses = {row["status"] for row in csv.DictReader((tmp_path / "b/sweep.csv").open())}
    assert statuses <= {"interrupted", "finished"} and "interrupted" in statuses
    for folder in "bc":
        done = kgan("sweep", *flags, f"--sweep_dir={folder}", cwd=tmp_path)
        assert done.returncode == 0, done
    for cell in ("seed=0", "seed=1"):
        whole, resumed = (tmp_path / folder / cell / "checkpoints/step-0002000.npz" for folder in "cb")
        assert whole.read_bytes() == resumed.read_bytes()
        lines = [(tmp_path / folder / cell / "metrics.jsonl").read_text().count("\n") for folder in "cb"]
        assert lines[0] == lines[1]
