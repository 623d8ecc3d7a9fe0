"""The scores of runs beside each other: which are better, where they can be compared at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kgan.evaluation.protocol import LOWER_IS_BETTER, SPREADS, TITLES
from kgan.reports.facts import Run

_NAMES = TITLES | {"inception_score_unsplit": "Inception-score form, unsplit"}
_SAME = ("features", "features_sha256", "num_samples", "num_reference", "reference_sha256")


@dataclass(frozen=True)
class Score:
    """One score of one run; `deviation` is a spread over subsets, `floor` what real images score."""

    value: float
    deviation: float | None
    floor: float | None
    is_stale: bool
    is_best: bool


@dataclass(frozen=True)
class ScoreRow:
    """A score of all runs, None for one that does not have it; `direction` says in words which way is better."""

    title: str
    direction: str
    scores: list[Score | None]

    @property
    def floors(self) -> list[float]:
        """What real images score: one number if it is the same for all runs that have one."""
        return list(dict.fromkeys(score.floor for score in self.scores if score and score.floor is not None))


def score_rows(runs: Sequence[Run]) -> list[ScoreRow]:
    """The scores that at least one of the runs has, in the order of kgan evaluate.

    The better figures are marked only where all runs that have one were measured alike.
    """
    marks_best = comparable(runs)
    names = dict.fromkeys(name for name in TITLES for run in runs if _value(run, name) is not None)
    return [_row(name, runs, marks_best) for name in names]


def comparable(runs: Sequence[Run]) -> bool:
    """Whether two or more of the runs have scores, all measured with the same features on as many images."""
    protocols = [run.evaluation.get("protocol", {}) for run in runs if run.evaluation]
    alike = {tuple(str(protocol.get(key)) for key in _SAME) for protocol in protocols}
    return len(protocols) > 1 and len(alike) == 1


def headline(run: Run) -> Score | None:
    """The Frechet distance of a run."""
    return _row("frechet_distance", [run], marks_best=False).scores[0]


def _row(name: str, runs: Sequence[Run], marks_best: bool) -> ScoreRow:
    lower = name in LOWER_IS_BETTER
    values = [_value(run, name) for run in runs]
    present = [value for value in values if value is not None]
    best = (min if lower else max)(present) if marks_best and len(set(present)) > 1 else None
    protocols = [run.evaluation.get("protocol", {}) for run in runs if run.evaluation]
    distances = list(dict.fromkeys(str(p["distance_name"]) for p in protocols if "distance_name" in p))
    title = " or ".join(distances) if name == "frechet_distance" and distances else _NAMES[name]
    return ScoreRow(
        title=title,
        direction="lower is better" if lower else "higher is better",
        scores=[_score(run, name, value, best) for run, value in zip(runs, values, strict=True)],
    )


def _score(run: Run, name: str, value: float | None, best: float | None) -> Score | None:
    if value is None or run.evaluation is None:
        return None
    spread = next((key for key, score in SPREADS.items() if score == name), "")
    return Score(
        value=value,
        deviation=_number(run.evaluation.get("scores", {}), spread),
        floor=_number(run.evaluation.get("floor", {}), name),
        is_stale="evaluation" in run.stale,
        is_best=value == best,
    )


def _value(run: Run, name: str) -> float | None:
    return _number(run.evaluation.get("scores", {}), name) if run.evaluation else None


def _number(values: Mapping, name: str) -> float | None:
    value = values.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
