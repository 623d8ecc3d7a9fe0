"""What was measured of a run afterwards: its evaluation.json and audit.json."""

from collections.abc import Mapping

from kgan.runs import checkpoint, schema
from kgan.runs.rundir import AUDIT, EVALUATION, RunDir

_KINDS = {EVALUATION: schema.Evaluation, AUDIT: schema.Audit}


def read(run: RunDir, name: str) -> dict | None:
    """EVALUATION or AUDIT, None if it is not there. Raises UserError if it is damaged."""
    try:
        return schema.read(run.path / name, _KINDS[name])
    except FileNotFoundError:
        return None


def is_current(run: RunDir, result: Mapping) -> bool:
    """Whether it is of this run and of the checkpoint that its samples are drawn from now, as far as it says."""
    how = result.get("protocol") or {}
    kept = checkpoint.paths(run.checkpoints)
    step = checkpoint.step_of(checkpoint.find(run.checkpoints)) if kept else None
    mine = {"run_id": run.read_record().get("id"), "step": step}
    return all(how.get(key, value) == value for key, value in mine.items())
