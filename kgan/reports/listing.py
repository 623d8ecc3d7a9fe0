"""The runs of a folder in a line each: how far they got, their scores and verdicts."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kgan import text
from kgan.errors import UserError
from kgan.runs import results
from kgan.runs.rundir import RUNS, RunDir
from kgan.text import one_line, rounded
from kgan.training.plan import chosen

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class RunSummary:
    """A run in short.

    `status` is that of `RunDir.status`, or "unreadable". `score` is the Frechet distance of its evaluation, else the
    lowest that was measured while it trained, else None; `protocol` says how it was measured. `verdict` is its audit's,
    "" unless there was one. Both are of the weights that samples come from now. `settings` are all of its settings, {}
    if they cannot be read, `changed` those that are not the defaults.
    """

    path: Path
    status: str
    step: int | None = None
    total_steps: int | None = None
    score: float | None = None
    protocol: Mapping = field(default_factory=dict)
    verdict: str = ""
    settings: Mapping = field(default_factory=dict)
    changed: Mapping = field(default_factory=dict)

    @property
    def score_name(self) -> str:
        """What the score is called."""
        return results.score_name(self.protocol)


def is_run(path: Path) -> bool:
    """Whether a folder is a run's."""
    return RunDir(path).config_file.is_file()


def list_runs(folder: str | Path) -> list[RunSummary]:
    """The runs in a folder, by name; none if there are none, or no such folder."""
    folder = Path(folder)
    paths = sorted(path.parent for path in folder.glob("*/config.json")) if folder.is_dir() else []
    return [summarise(path) for path in paths if is_run(path)]


def runs_here(folder: str | Path = ".") -> list[RunSummary]:
    """The runs in FOLDER/runs, or else those in the folder itself; other programs have a config.json too."""
    return list_runs(Path(folder) / RUNS) or [
        run for run in list_runs(folder) if run.status != UNREADABLE or RunDir(run.path).record_file.is_file()
    ]


def table(runs: list[RunSummary]) -> str:
    """The runs as aligned text, a line each, and a line that says so if their scores cannot be compared."""
    rows = []
    for run in runs:
        steps = "" if run.step is None else f"{run.step:,}" + (f" of {run.total_steps:,}" if run.total_steps else "")
        score = "" if run.score is None else f"{run.score_name} {rounded(run.score)}"
        rows.append((one_line(run.path), one_line(run.status), steps, one_line(score), one_line(run.verdict)))
    aligned = text.table(("run", "status", "step", "score (lower is better)", "audit"), rows)
    return "\n".join([aligned, *filter(None, [results.objection(runs)])])


def summarise(path: Path) -> RunSummary:
    """A run in short; one that is damaged is "unreadable"."""
    run, settings = RunDir(path), {}
    try:
        config = run.read_config()  # without its settings nothing else can be done with a run
        settings = dataclasses.asdict(config)
        record = run.read_record()
        evaluation, audit = (results.current(run, what) for what in (results.EVALUATION, results.AUDIT))
        score, how = _score(run, record, evaluation or {})
        return RunSummary(
            path=path,
            status=run.status(),
            step=run.step(),
            total_steps=record.get("total_steps"),
            score=score,
            protocol=how,
            verdict=str((audit or {}).get("verdict", "")),
            settings=settings,
            changed=chosen(config, record.get("dataset", {})),
        )
    except (UserError, OSError):
        return RunSummary(path, UNREADABLE, settings=settings)


def _score(run: RunDir, record: Mapping, evaluation: Mapping) -> tuple[float | None, Mapping]:
    score = evaluation.get("scores", {}).get("frechet_distance")
    if score is not None:
        return score, evaluation.get("protocol", {})
    return lowest(run.read_metrics()), record.get("evaluation", {}).get("protocol", {})


def lowest(metrics: Iterable[Mapping]) -> float | None:
    """The lowest Frechet distance that was measured while a run trained, None if none was."""
    return min((line["frechet_distance"] for line in metrics if "frechet_distance" in line), default=None)
