"""All runs of a folder, such as a sweep's, in one table: what they have set differently, and their scores."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kgan.errors import UserError
from kgan.reports.charts import Scale, bar
from kgan.reports.listing import RunSummary, by_score
from kgan.runs.rundir import RunDir
from kgan.training.plan import RESOLVED

_LEFT_OUT = (*RESOLVED, "data_dir", "init_from")


@dataclass(frozen=True)
class OverviewRow:
    """A run; `settings` are the values of those that differ, `bar` marks its score on an axis that all rows share."""

    run: RunSummary
    settings: list
    bar: Markup | None


@dataclass(frozen=True)
class Overview:
    """The rows, best score first; `settings` are the names of those that are not the same in all runs."""

    settings: list[str]
    score_name: str
    rows: list[OverviewRow]


def overview(runs: Sequence[RunSummary]) -> Overview:
    """The table of these runs; settings that the data decide and the place of the data are left out."""
    configs = [_settings(run) for run in runs]
    names = [name for name in dict.fromkeys(name for config in configs for name in config) if name not in _LEFT_OUT]
    names = [name for name in names if len({str(config.get(name)) for config in configs}) > 1]
    scores = [run.score for run in runs if run.score is not None]
    scale = Scale.over(scores, log=True) if len(scores) > 1 else None
    settings = dict(zip((run.path for run in runs), configs, strict=True))
    return Overview(
        settings=names,
        score_name=" or ".join(sorted({run.score_name for run in runs if run.score_name})) or "score",
        rows=[
            OverviewRow(
                run=run,
                settings=[settings[run.path].get(name) for name in names],
                bar=None if scale is None or run.score is None else bar(run.score, scale),
            )
            for run in by_score(list(runs))
        ],
    )


def _settings(run: RunSummary) -> dict:
    try:
        return vars(RunDir(run.path).read_config())
    except (UserError, OSError):
        return {}
