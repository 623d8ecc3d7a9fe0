"""All runs of a folder, such as a sweep's, in one table: what they have set differently, and their scores."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kgan.reports.charts import Scale, bar
from kgan.reports.facts import Run
from kgan.reports.listing import RunSummary
from kgan.runs import results
from kgan.training.plan import RESOLVED

_LEFT_OUT = ("data_dir", "init_from")  # too long for a table
_UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class OverviewRow:
    """A run; `settings` are the values of those that differ, `bar` marks its score on an axis that all rows share."""

    run: RunSummary
    settings: list
    bar: Markup | None


@dataclass(frozen=True)
class Overview:
    """The rows, best score first; `settings` are the names of those that are not the same in all runs.

    `objection` says why the scores cannot be compared, "" if they can; if they cannot, the rows are in the order of
    their names, and there are no bars.
    """

    settings: list[str]
    score_name: str
    objection: str
    rows: list[OverviewRow]


def overview(runs: Sequence[RunSummary]) -> Overview:
    """The table of these runs; settings that only the data decided, and paths, are left out."""
    names = [name for name in differing_settings([run for run in runs if run.settings]) if name not in _LEFT_OUT]
    scores = [run.score for run in runs if run.score is not None]
    objection = results.objection(runs)
    scale = Scale.over(scores, log=True) if len(scores) > 1 and not objection else None
    return Overview(
        settings=names,
        score_name=" or ".join(sorted({run.score_name for run in runs if run.score is not None})) or "score",
        objection=objection,
        rows=[
            OverviewRow(
                run=run,
                settings=[run.settings.get(name, _UNKNOWN) for name in names],
                bar=None if scale is None or run.score is None else bar(run.score, scale),
            )
            for run in results.ranked(runs)
        ],
    )


def differing_settings(runs: Sequence[Run | RunSummary]) -> dict[str, list]:
    """The settings that are not the same in all runs, less those that only the data decided: name -> their values."""
    decided = [name for name in RESOLVED if not any(name in run.changed for run in runs)]
    names = [name for name in (runs[0].settings if runs else ()) if name not in decided]
    values = {name: [run.settings.get(name) for run in runs] for name in names}
    return {name: mine for name, mine in values.items() if any(value != mine[0] for value in mine)}
