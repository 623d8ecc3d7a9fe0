"""`kgan report` as its users meet it."""

import os
import re
import shutil

from tests.conftest import kgan, refused


def test_a_report_of_one_run_and_of_two(trained_run, tmp_path):
    for name in "ab":
        shutil.copytree(trained_run, tmp_path / name)
    done = kgan("report", "a", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("wrote a/report.html")
    words = re.sub("<[^>]*>", "", (tmp_path / "a/report.html").read_text())
    assert "Type kgan evaluate a, then" in words
    assert kgan("report", "a", "b", "a", cwd=tmp_path).stdout.startswith("wrote report.html")
    text = (tmp_path / "report.html").read_text()
    assert "2 runs side by side" in text and str(tmp_path) not in text
    for arguments, words in [
        ([], "name the run folders"),
        (["a", "nowhere"], "nowhere: not a run folder"),
        (["a", "--out=nowhere/x.html"], "nowhere/x.html: cannot be written"),
        (["a", "--out=b"], "b: cannot be written"),
    ]:
        assert words in refused("report", *arguments, cwd=tmp_path)


def test_without_arguments_the_runs_here_are_listed(trained_run, tmp_path):
    assert kgan(cwd=tmp_path).stdout == kgan("--help", cwd=tmp_path).stdout
    shutil.copytree(trained_run, tmp_path / "runs/a")
    lines = kgan(cwd=tmp_path).stdout.splitlines()
    assert lines[0].split()[:3] == ["run", "status", "step"]
    assert lines[1].split()[:5] == ["runs/a", "finished", "4", "of", "4"]
    shutil.copytree(trained_run, tmp_path / "runs/\u732b")
    in_ascii = kgan(cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert in_ascii.returncode == 0 and "runs/\\u732b" in in_ascii.stdout, in_ascii
    done = kgan("report", "runs", cwd=tmp_path)
    assert done.stdout.startswith("wrote runs/report.html") and (tmp_path / "runs/report.html").exists()
