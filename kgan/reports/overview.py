"""All runs of a folder, such as a sweep's, in one table: what they have set differently, and their scores."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kgan.errors import UserError
from kgan.reports.charts import Scale, bar
from kgan.reports.listing import RunSummary
from kgan.runs import results
from kgan.runs.rundir import RunDir
from kgan.training.plan import RESOLVED

_LEFT_OUT = (*RESOLVED, "data_dir", "init_from")
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
    """The table of these runs; settings that the data decide and the place of the data are left out."""
    configs = [_settings(run) for run in runs]
    names = [name for name in dict.fromkeys(name for config in configs for name in config) if name not in _LEFT_OUT]
    names = [name for name in names if len({str(config[name]) for config in configs if config}) > 1]
    scores = [run.score for run in runs if run.score is not None]
    objection = results.objection(runs)
    scale = Scale.over(scores, log=True) if len(scores) > 1 and not objection else None
    settings = dict(zip((run.path for run in runs), configs, strict=True))
    return Overview(
        settings=names,
        score_name=" or ".join(sorted({run.score_name for run in runs if run.score is not None})) or "score",
        objection=objection,
        rows=[
            OverviewRow(
                run=run,
                settings=[settings[run.path].get(name, _UNKNOWN) for name in names],
                bar=None if scale is None or run.score is None else bar(run.score, scale),
            )
            for run in results.ranked(runs)
        ],
    )


def _settings(run: RunSummary) -> dict:
    try:
        return vars(RunDir(run.path).read_config())
    except (UserError, OSError):
        return {}
