"""What the documents say is what the code does."""

import configparser
import fnmatch
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import kgan

ROOT = Path(__file__).parents[1]
PLACEHOLDERS = {"kgan/commands/NAME.py", "tests/cli/test_NAME.py"}


def loaded(path: str):
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_settings_is_that_of_the_code():
    flags = loaded("docs/flags.py")
    assert flags.PAGE.read_text("utf-8") == flags.page(), "run `make docs`"


def test_files_that_the_documents_name_exist():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        text = page.read_text("utf-8")
        for name in set(re.findall(r"`((?:kgan|tests|docs|experiments|examples)/[\w./-]+\.\w+)`", text)) - PLACEHOLDERS:
            assert (ROOT / name).exists(), f"{page.name} names {name}"
        for name in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / name).exists(), f"{page.name} links to {name}"


def test_all_files_of_the_package_are_installed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    data = setup["options.package_data"].items()
    patterns = [str(ROOT.joinpath(*package.split("."), pattern)) for package, text in data for pattern in text.split()]
    for path in (ROOT / "kgan").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            is_code = path.suffix == ".py" and (path.parent / "__init__.py").exists()
            assert is_code or any(fnmatch.fnmatch(str(path), pattern) for pattern in patterns), path


def test_cleaning_leaves_runs_as_they_are(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = ["runs/x/config.json", "runs/x/__pycache__/a", "runs/x/checkpoints/step-0000001.npz", "sweeps/a/b/run.json"]
    removed = [".venv/bin/python", "build/x", "kgan/__pycache__/a", "kgan/runs/__pycache__/a"]
    for name in kept + removed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    subprocess.run(["make", "clean"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert [name for name in kept + removed if (tmp_path / name).exists()] == kept


def test_results_that_are_quoted_have_files_and_all_files_are_quoted():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/*.flags")]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    quoted = set(re.findall(r"experiments/results/([\w.-]*\w)", text)) - {"results.py"}
    quoted |= set(re.findall(r"^#   (\w+)  +\S", text, re.MULTILINE))  # quickstart.flags: a setting a line
    there = {folder.name for folder in (ROOT / "experiments/results").iterdir() if folder.is_dir()}
    assert quoted == there - {"__pycache__"}


def test_the_table_of_results_is_made_from_the_files():
    results = loaded("experiments/results/results.py")
    text = results.README.read_text("utf-8")
    assert results.written(text) == text, "run `make results`"


def test_a_run_that_was_set_otherwise_than_its_recipe_says_so():
    results = loaded("experiments/results/results.py")
    ran = ["--dataset=mnist", "--epochs=4", "--conditional", "--flip", "--penalty_every=4", "--seed=3", "--log_every=9"]
    assert results._otherwise("mnist", [{"settings": ran}]) == " with `--flip`"  # epochs have a column
    ran[1:3] = ["--epochs=10", "--noconditional"]
    assert results._otherwise("mnist", [{"settings": ran}]) == " with `--flip`, `--noconditional`"


def test_the_lines_of_python_in_the_readme_run(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend")
    text = (ROOT / "README.md").read_text("utf-8").split("<!-- python: run by tests/test_docs.py -->\n\n")[1]
    lines = [line[4:] for line in text.split("\n\n")[0].splitlines()]
    assert 5 < len(lines) <= 10
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec("\n".join(lines), scope)
    assert scope["images"].shape == (64, 28, 28, 1) and scope["audit"].verdict in ("no copying detected", "cannot tell")
    assert (tmp_path / "grid.png").stat().st_size > 1000


def notebook_cells() -> list[str]:
    notebook = json.loads((ROOT / "examples/kgan.ipynb").read_text("utf-8"))
    assert all(not cell.get("outputs") for cell in notebook["cells"]), "clear the notebook's outputs"
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_python_without_outputs():
    cells = notebook_cells()
    assert len(cells) > 5
    compile("\n".join(cells), "kgan.ipynb", "exec")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for cell in notebook_cells():
        exec(cell, scope)
    assert scope["run"].status == "finished" and scope["audit"].verdict == "no copying detected"
    verdicts = [file.verdict.value for file in kgan.verify(scope["strip"], run=scope["run"]).files]
    assert verdicts == ["verified"]
    scores = scope["scores"]
    assert scores.scores["frechet_distance"] < 20 * scores.floor["frechet_distance"]
