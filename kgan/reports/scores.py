"""The scores of runs beside each other: which are better, where they can be compared at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kgan.evaluation.protocol import BEST_AT_BASELINE, LOWER_IS_BETTER, SPREADS, TITLES, direction, title_of
from kgan.reports.facts import Run
from kgan.runs import results

_NAMES = {"inception_score_unsplit": "Inception-score form, unsplit"}


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

    The better figures are marked only where all runs that have one were measured alike, by scores that tell samples
    from random pixels; above the real-data baseline none is better than another.
    """
    marks_best = comparable(runs)
    names = dict.fromkeys(name for name in TITLES for run in runs if _value(run, name) is not None)
    return [_row(name, runs, marks_best) for name in names]


def comparable(runs: Sequence[Run]) -> bool:
    """Whether two or more of the runs have scores, all measured alike: features, number and reference images."""
    protocols = _protocols(runs)
    return len(protocols) > 1 and not results.differing(protocols)


def headline(run: Run) -> Score | None:
    """The Frechet distance of a run."""
    return _row("frechet_distance", [run], marks_best=False).scores[0]


def _row(name: str, runs: Sequence[Run], marks_best: bool) -> ScoreRow:
    protocols = _protocols(runs)
    marks_best = marks_best and not any(_is_unreliable(name, how) for how in protocols)
    merits = [_merit(run, name) for run in runs]
    present = {merit for merit in merits if merit is not None}
    best = max(present) if marks_best and len(present) > 1 else None
    named = [how for how in protocols if "distance_name" in how] or [{}]
    title = _NAMES.get(name) or " or ".join(dict.fromkeys(title_of(name, how) for how in named))
    better, *limit = direction(name).partition(",")
    return ScoreRow(
        title=title,
        direction="".join([better, " is better", *limit]),
        scores=[_score(run, name, merit == best) for run, merit in zip(runs, merits, strict=True)],
    )


def _is_unreliable(name: str, how: Mapping) -> bool:
    """Whether random pixels score nearly as well as real images."""
    names = how.get("unreliable_scores")
    return isinstance(names, list) and name in names


def _merit(run: Run, name: str) -> float | None:
    """How good a score is: higher is better. What is beyond the real-data baseline counts no more than that where real
    images are not perfect."""
    value, floor = _value(run, name), _floor(run, name)
    if value is None:
        return None
    if name in BEST_AT_BASELINE and floor is not None:
        return min(value, floor)
    return -value if name in LOWER_IS_BETTER else value


def _score(run: Run, name: str, is_best: bool) -> Score | None:
    value = _value(run, name)
    if value is None or run.evaluation is None:
        return None
    spread = next((key for key, score in SPREADS.items() if score == name), "")
    return Score(
        value=value,
        deviation=_number(run.evaluation.get("scores", {}), spread),
        floor=_floor(run, name),
        is_stale="evaluation" in run.stale,
        is_best=is_best,
    )


def _protocols(runs: Sequence[Run]) -> list[Mapping]:
    return [run.evaluation.get("protocol", {}) for run in runs if run.evaluation]


def _value(run: Run, name: str) -> float | None:
    return _number(run.evaluation.get("scores", {}), name) if run.evaluation else None


def _floor(run: Run, name: str) -> float | None:
    return _number(run.evaluation.get("floor", {}), name) if run.evaluation else None


def _number(values: Mapping, name: str) -> float | None:
    value = values.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
