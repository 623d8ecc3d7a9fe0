"""What was measured of a run afterwards, its evaluation.json and audit.json: of which weights, and how it compares."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from kgan.runs import checkpoint, schema
from kgan.runs.rundir import AUDIT, EVALUATION, RunDir

_KINDS = {EVALUATION: schema.Evaluation, AUDIT: schema.Audit}
# What scores to be compared have in common: keys of their protocol, and what each is about. The number of training
# images is not among them: runs on few and on many may be held against the same test images.
_ALIKE = {
    "features": "features",
    "features_sha256": "features",
    "num_samples": "number of samples",
    "num_reference": "number of samples",
    "reference": "reference images",
    "reference_sha256": "reference images",
    "reference_images": "reference images",
    "num_heldout": "reference images",
}


class Scored(Protocol):
    """Has a Frechet distance, None if there is none, and the protocol that it was measured by."""

    @property
    def score(self) -> float | None: ...

    @property
    def protocol(self) -> Mapping: ...


Row = TypeVar("Row", bound=Scored)


def read(run: RunDir, name: str) -> dict | None:
    """EVALUATION or AUDIT, None if it is not there. Raises UserError if it is damaged."""
    try:
        return schema.read(run.path / name, _KINDS[name])
    except FileNotFoundError:
        return None


def is_of(result: Mapping, **weights) -> bool:
    """Whether a result is of a run's own samples and training images, and of these weights, given as keys of its
    protocol; one that it does not have is not held against it."""
    how = result.get("protocol") or {}
    of_a_run = "checkpoint_sha256" in how or not {"sha256", "samples_sha256"} & how.keys()
    agrees = all(how.get(key, value) == value for key, value in weights.items())
    return of_a_run and "against" not in how and agrees


def is_current(run: RunDir, result: Mapping) -> bool:
    """Whether a result is of this run and of the weights that its samples are drawn from now, as far as it says.

    Those are the averaged ones wherever the run has them. Raises UserError if a file of the run is damaged.
    """
    kept = checkpoint.paths(run.checkpoints)
    step = checkpoint.step_of(checkpoint.find(run.checkpoints)) if kept else None
    return is_of(result, run_id=run.read_record().get("id"), step=step, ema=bool(run.read_config().ema_decay))


def current(run: RunDir, name: str) -> dict | None:
    """EVALUATION or AUDIT if it is there and `is_current`. Raises UserError as these two do."""
    found = read(run, name)
    return found if found and is_current(run, found) else None


def score_name(protocol: Mapping) -> str:
    """What the Frechet distance that was measured by this protocol is called."""
    return str(protocol.get("distance_name", "Frechet distance"))


def differing(protocols: Sequence[Mapping]) -> list[str]:
    """The keys of these protocols that keep their scores from being compared; none if all were measured alike."""
    return [key for key in _ALIKE if len({str(protocol.get(key)) for protocol in protocols}) > 1]


def objection(rows: Iterable[Scored]) -> str:
    """In a line, why the scores of these rows cannot be compared; "" if they can."""
    keys = differing([row.protocol for row in rows if row.score is not None])
    reasons = ", ".join(dict.fromkeys(_ALIKE[key] for key in keys))
    return f"the scores are not comparable, for not all have the same {reasons}" if reasons else ""


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows, lowest score first, those without one last; where scores cannot be compared, in the order given."""
    compares = not objection(rows)
    return sorted(rows, key=lambda row: (row.score is None, row.score if compares and row.score is not None else 0.0))
