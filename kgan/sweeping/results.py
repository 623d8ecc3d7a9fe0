"""What a sweep leaves: sweep.csv, sweep.png, and a table for the terminal."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from kgan import plots
from kgan.files import write_atomically
from kgan.sweeping.cells import FAILED, INTERRUPTED, WAITING, Cell
from kgan.sweeping.grid import Settings, shown

CSV, PNG = "sweep.csv", "sweep.png"


@dataclass(frozen=True)
class Result:
    """A cell's row. `score` and `floor` are Frechet distances called `score_name`, None unless it was evaluated;
    `verdict` is its audit's, "" unless there was one."""

    settings: Settings
    status: str
    score: float | None
    floor: float | None
    score_name: str
    verdict: str
    run_dir: Path


def gather(cell: Cell, failed: bool = False) -> Result:
    """Reads what is there of a cell, whoever ran it; `failed` if it failed just now, perhaps before it had a folder."""
    report = cell.evaluation() or {"scores": {}}
    return Result(
        settings=cell.settings,
        status=FAILED if failed and cell.status() in (WAITING, INTERRUPTED) else cell.status(),
        score=report["scores"].get("frechet_distance"),
        floor=report.get("floor", {}).get("frechet_distance"),
        score_name=report.get("protocol", {}).get("distance_name", "Frechet distance"),
        verdict=str((cell.audit() or {}).get("verdict", "")),
        run_dir=cell.run.path,
    )


def write(folder: Path, results: Sequence[Result], with_verdict: bool) -> list[Path]:
    """Writes sweep.csv, a row a cell in the order of the grid, and sweep.png if there are scores. Returns the paths."""
    written = [folder / CSV]
    write_atomically(written[0], _csv(results, with_verdict).encode())
    scored = [result for result in results if result.score is not None]
    if scored:
        floors = [result.floor for result in scored if result.floor is not None]
        figure = plots.sweep(
            [result.settings for result in scored],
            [result.score for result in scored],
            " or ".join(sorted({result.score_name for result in scored})),
            max(floors) if len(set(floors)) == 1 and len(floors) == len(scored) else None,
        )
        written.append(folder / PNG)
        write_atomically(written[1], plots.to_png(figure))
    return written


def table(results: Sequence[Result], with_verdict: bool) -> Table:
    """The rows, best score first, those without one last."""
    names = list(results[0].settings)
    columns = [*names, "status", "score", *(["verdict"] if with_verdict else []), "run folder"]
    drawn = Table(*columns, box=None, pad_edge=False)
    for result in sorted(results, key=lambda result: (result.score is None, result.score or 0.0)):
        score = "" if result.score is None else f"{result.score:.4g}"
        cells = [*_settings(result), result.status, score, *([result.verdict] if with_verdict else [])]
        drawn.add_row(*map(Text, cells), Text(result.run_dir.name, overflow="fold"))
    return drawn


def _csv(results: Sequence[Result], with_verdict: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*results[0].settings, "status", "score", *(["verdict"] if with_verdict else []), "run_dir"])
    for result in results:
        score = "" if result.score is None else f"{result.score:.6g}"
        verdict = [result.verdict] if with_verdict else []
        writer.writerow([*_settings(result), result.status, score, *verdict, result.run_dir])
    return text.getvalue()


def _settings(result: Result) -> list[str]:
    return [shown(value) for value in result.settings.values()]
