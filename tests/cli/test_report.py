"""`kgan report` as its users meet it."""

import shutil

from tests.conftest import kgan, refused


def test_a_report_of_one_run_and_of_two(trained_run, tmp_path):
    for name in "ab":
        shutil.copytree(trained_run, tmp_path / name)
    done = kgan("report", "a", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("wrote a/report.html")
    assert "Type <code>kgan evaluate a</code>" in (tmp_path / "a/report.html").read_text()
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
