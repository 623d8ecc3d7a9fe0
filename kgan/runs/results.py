"""What was found out about a run afterwards: its evaluation.json and audit.json."""

import json

from kgan.errors import UserError
from kgan.runs import checkpoint
from kgan.runs.rundir import RunDir

EVALUATION, AUDIT = "evaluation.json", "audit.json"
AUDIT_PAIRS, AUDIT_RATIOS = "audit-pairs.png", "audit-ratios.png"


def read(run: RunDir, name: str) -> dict | None:
    """The content of one of the two, None if it is not there. Raises UserError if it is damaged."""
    path = run.path / name
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: must be a JSON object")
    return found


def is_current(run: RunDir, found: dict) -> bool:
    """Whether it is of this run and of the checkpoint that its samples are drawn from now, as far as it says."""
    how = found.get("protocol") or {}
    kept = checkpoint.paths(run.checkpoints)
    step = checkpoint.step_of(checkpoint.choose(run.checkpoints)) if kept else None
    mine = {"run_id": run.read_record().get("id"), "step": step}
    return all(how.get(key, value) == value for key, value in mine.items())
