"""What was found out about a run is read back, and damage is named."""

import pytest

from kgan.errors import UserError
from kgan.runs import results as findings
from kgan.runs.rundir import RunDir


def test_damaged_findings_are_named(tmp_path):
    run = RunDir(tmp_path)
    assert findings.read(run, findings.AUDIT) is None
    for text, words in (("[", "audit.json: not readable"), ("[]", "audit.json: must be a JSON object")):
        (tmp_path / "audit.json").write_text(text)
        with pytest.raises(UserError, match=words):
            findings.read(run, findings.AUDIT)
    (tmp_path / "audit.json").write_text('{"verdict": "cannot tell"}')
    assert findings.read(run, findings.AUDIT) == {"verdict": "cannot tell"}
