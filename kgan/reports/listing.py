"""The runs of a folder in a line each: how far they got, their scores and verdicts."""

from dataclasses import dataclass
from pathlib import Path

from kgan.errors import UserError
from kgan.runs import results
from kgan.runs.rundir import RUNS, RunDir
from kgan.text import one_line, rounded

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class RunSummary:
    """A run in short.

    `status` is that of `RunDir.status`, or "unreadable". `score` is the Frechet distance of its evaluation, else the
    lowest that was measured while it trained, else None; `score_name` is what it is called. `verdict` is its audit's,
    "" unless there was one. Both are of the checkpoint that samples come from now.
    """

    path: Path
    status: str
    step: int | None = None
    total_steps: int | None = None
    score: float | None = None
    score_name: str = ""
    verdict: str = ""


def is_run(path: Path) -> bool:
    """Whether a folder is a run's."""
    return RunDir(path).config_file.is_file()


def list_runs(folder: str | Path) -> list[RunSummary]:
    """The runs in a folder, by name; none if there are none, or no such folder."""
    folder = Path(folder)
    paths = sorted(path.parent for path in folder.glob("*/config.json")) if folder.is_dir() else []
    return [summarise(path) for path in paths if is_run(path)]


def runs_here(folder: str | Path = ".") -> list[RunSummary]:
    """The runs in FOLDER/runs, or else in the folder itself."""
    return list_runs(Path(folder) / RUNS) or list_runs(folder)


def table(runs: list[RunSummary]) -> str:
    """The runs as aligned text, a line each."""
    rows = [("run", "status", "step", "score (lower is better)", "audit")]
    for run in runs:
        steps = "" if run.step is None else f"{run.step:,}" + (f" of {run.total_steps:,}" if run.total_steps else "")
        score = "" if run.score is None else f"{run.score_name} {rounded(run.score)}"
        rows.append((one_line(run.path), one_line(run.status), steps, one_line(score), one_line(run.verdict)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def summarise(path: Path) -> RunSummary:
    """A run in short; one that is damaged is "unreadable"."""
    run = RunDir(path)
    try:
        record = run.read_record()
        evaluation, audit = (_current(run, what) for what in (results.EVALUATION, results.AUDIT))
        score, name = _score(run, record, evaluation)
        return RunSummary(
            path=path,
            status=run.status(),
            step=run.step(),
            total_steps=record.get("total_steps"),
            score=score,
            score_name=name,
            verdict=str((audit or {}).get("verdict", "")),
        )
    except (UserError, OSError):
        return RunSummary(path, UNREADABLE)


def by_score(runs: list[RunSummary]) -> list[RunSummary]:
    """The runs, lowest score first, those without one last."""
    return sorted(runs, key=lambda run: (run.score is None, run.score or 0.0))


def _current(run: RunDir, what: str) -> dict | None:
    content = results.read(run, what)
    return content if content and results.is_current(run, content) else None


def _score(run: RunDir, record: dict, evaluation: dict | None) -> tuple[float | None, str]:
    score = (evaluation or {}).get("scores", {}).get("frechet_distance")
    how = evaluation or record.get("evaluation") or {}
    if score is None:
        distances = [line["frechet_distance"] for line in run.read_metrics() if "frechet_distance" in line]
        score = min(distances, default=None)
    name = str(how.get("protocol", {}).get("distance_name", "Frechet distance"))
    return (score, name) if isinstance(score, int | float) else (None, "")
