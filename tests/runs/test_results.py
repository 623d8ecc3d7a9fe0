"""What was found out about a run is read back, and damage is named."""

import pytest

from kgan.errors import UserError
from kgan.runs import results
from kgan.runs.rundir import RunDir


def test_damaged_results_are_named(tmp_path):
    run = RunDir(tmp_path)
    assert results.read(run, results.AUDIT) is None
    for text, words in (
        ("[", "audit.json: not readable"),
        ("[]", "audit.json: not readable .it is a list, not a JSON object"),
    ):
        (tmp_path / "audit.json").write_text(text)
        with pytest.raises(UserError, match=words):
            results.read(run, results.AUDIT)
    (tmp_path / "audit.json").write_text('{"verdict": "cannot tell"}')
    assert results.read(run, results.AUDIT) == {"verdict": "cannot tell"}
