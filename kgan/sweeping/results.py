"""What a sweep leaves: a row for each cell, in sweep.csv, and sweep.png."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kgan import plots
from kgan.config import flag_value
from kgan.files import write_atomically
from kgan.runs.results import differing, objection, ranked, score_name
from kgan.runs.rundir import FAILED, INTERRUPTED, WAITING
from kgan.sweeping.cells import Cell
from kgan.sweeping.grid import Settings

CSV, PNG = "sweep.csv", "sweep.png"


@dataclass(frozen=True)
class SweepRow:
    """A cell: its swept settings, its status ("waiting", "running", "interrupted", "failed", "non-finite" or
    "finished"), and its run folder.

    `score` and `floor` are the Frechet distances of its samples and of real images, None unless it was evaluated;
    `protocol` says how they were measured. `verdict` is its audit's, "" unless there was one. `commands` are what is
    left to do, each as the arguments of `kgan`.
    """

    settings: Settings
    status: str
    score: float | None
    floor: float | None
    protocol: Mapping
    verdict: str
    run_dir: Path
    commands: tuple[tuple[str, ...], ...] = ()

    @property
    def score_name(self) -> str:
        """What the score is called."""
        return score_name(self.protocol)


@dataclass(frozen=True)
class SweepResult:
    """The rows of a sweep in the order of its grid. `csv` and `figure` are files, None if they were not written;
    `failed` has the run folders of the cells that failed this time, or were stopped, and that nobody else trains."""

    sweep_dir: Path
    rows: tuple[SweepRow, ...]
    csv: Path | None = None
    figure: Path | None = None
    failed: tuple[Path, ...] = ()

    @property
    def ranked(self) -> list[SweepRow]:
        """The rows, lowest score first, those without one last; in the order of the grid if there is an objection."""
        return ranked(self.rows)

    @property
    def objection(self) -> str:
        """In a line, why the scores cannot be compared; "" if they can."""
        return objection(self.rows)

    @property
    def best(self) -> SweepRow | None:
        """The row with the lowest score, None if no cell has one or scores cannot be compared."""
        first = self.ranked[0]
        return None if first.score is None or self.objection else first


def gather(cell: Cell, evaluate: bool, audit: bool, failed: bool = False) -> SweepRow:
    """Reads what is there of a cell, whoever ran it; `failed` if it failed just now, perhaps before it had a folder."""
    evaluation = cell.evaluation() or {"scores": {}}
    status = cell.run.status()
    return SweepRow(
        settings=cell.settings,
        status=FAILED if failed and status in (WAITING, INTERRUPTED) else status,
        score=evaluation["scores"].get("frechet_distance"),
        floor=evaluation.get("floor", {}).get("frechet_distance"),
        protocol=evaluation.get("protocol", {}),
        verdict=str((cell.audit() or {}).get("verdict", "")),
        run_dir=cell.run.path,
        commands=tuple(map(tuple, cell.commands(evaluate, audit))),
    )


def write(
    folder: Path, rows: Sequence[SweepRow], with_verdict: bool, together: Iterable[Sequence[str]] = ()
) -> tuple[Path, Path | None]:
    """Writes sweep.csv, a row a cell in the order of the grid, and sweep.png if there are scores that can be compared;
    returns their paths. `together` names the settings that change together."""
    table, figure = folder / CSV, folder / PNG
    write_atomically(table, _csv(rows, with_verdict).encode("utf-8", "surrogateescape"))
    scored = [row for row in rows if row.score is not None]
    if not scored or objection(scored):
        figure.unlink(missing_ok=True)  # of fewer cells, whose scores compared
        return table, None
    floors = [row.floor for row in scored if row.floor is not None]
    drawn = plots.sweep(
        [row.settings for row in scored],
        [row.score for row in scored if row.score is not None],
        " or ".join(sorted({row.score_name for row in scored})),
        floors[0] if len(set(floors)) == 1 and len(floors) == len(scored) else None,
        together,
    )
    write_atomically(figure, plots.to_png(drawn))
    return table, figure


def _csv(rows: Sequence[SweepRow], with_verdict: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    settings = rows[0].settings
    keys = [key for key in differing([row.protocol for row in rows if row.score is not None]) if key not in settings]
    writer.writerow([*settings, "status", "score", *keys, *(["verdict"] if with_verdict else []), "run_dir"])
    for row in rows:
        score = "" if row.score is None else f"{row.score:.6g}"
        how = [row.protocol.get(key) for key in keys]
        verdict = [row.verdict] if with_verdict else []
        writer.writerow([*map(flag_value, row.settings.values()), row.status, score, *how, *verdict, row.run_dir])
    return text.getvalue()
