"""What was measured of a run afterwards: its evaluation.json and audit.json."""

from collections.abc import Mapping
from pathlib import Path

from kgan.runs import checkpoint, schema
from kgan.runs.rundir import RunDir

EVALUATION, AUDIT = "evaluation.json", "audit.json"
AUDIT_PAIRS, AUDIT_RATIOS = "audit-pairs.png", "audit-ratios.png"
_KINDS = {EVALUATION: schema.Evaluation, AUDIT: schema.Audit}


def read(run: RunDir, name: str) -> dict | None:
    """One of the two by its file name."""
    return _read(run.path / name, _KINDS[name])


def read_evaluation(run: RunDir) -> dict | None:
    """evaluation.json, None if it is not there. Raises UserError if it is damaged."""
    return _read(run.evaluation_file, schema.Evaluation)


def read_audit(run: RunDir) -> dict | None:
    """audit.json, None if it is not there. Raises UserError if it is damaged."""
    return _read(run.audit_file, schema.Audit)


def _read(path: Path, kind: type) -> dict | None:
    try:
        return schema.read(path, kind)
    except FileNotFoundError:
        return None


def is_current(run: RunDir, result: Mapping) -> bool:
    """Whether it is of this run and of the checkpoint that its samples are drawn from now, as far as it says."""
    how = result.get("protocol") or {}
    kept = checkpoint.paths(run.checkpoints)
    step = checkpoint.step_of(checkpoint.find(run.checkpoints)) if kept else None
    mine = {"run_id": run.read_record().get("id"), "step": step}
    return all(how.get(key, value) == value for key, value in mine.items())
