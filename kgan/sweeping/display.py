"""What a person sees of a sweep: on a terminal a bar for each running cell, elsewhere a line now and then."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from kgan.config import flag_value
from kgan.errors import NonFiniteLoss, UserError
from kgan.runs import schema
from kgan.runs.rundir import RUNNING
from kgan.sweeping.cells import Cell
from kgan.sweeping.jobs import Task
from kgan.sweeping.results import SweepResult
from kgan.sweeping.sweep import STOPPED_CODES, SweepListener
from kgan.text import one_line, rounded

_TAIL_LINES = 12
_TAIL_BYTES = 8192


class Display(SweepListener):
    """Prints what happens in a sweep. Use it in a `with` block. `has_verdict` gives the table the audits' column."""

    def __init__(self, has_verdict: bool):
        self._has_verdict = has_verdict
        self._console = Console()
        if not self._console.is_terminal:
            self._console.width = 10_000
        self._bars: dict[str, TaskID] = {}
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(*columns, console=self._console) if sys.stdout.isatty() else None
        self._num_done = self._num_tasks = 0

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_) -> None:
        if self._progress:
            self._progress.stop()

    def planned(self, sweep_dir: Path, cells: Sequence[Cell], tasks: Sequence[Task]) -> None:
        for cell in cells:
            if cell.run.status() == RUNNING:
                self._say(f"{cell.name}: another process is training it")
        self._say(f"{len(cells)} cell{'s' * (len(cells) != 1)} in {sweep_dir}, {len(tasks)} to run")
        self._num_tasks = len(tasks)
        if self._progress:
            self._overall = self._progress.add_task("all cells", total=len(tasks))
            self._progress.start()

    def started(self, task: Task) -> None:
        if self._progress:
            self._bars[task.name] = self._progress.add_task(task.name, total=task.total_steps)
        else:
            self._say(f"started   {task.name}")

    def tick(self, running: Sequence[Task]) -> None:
        if not self._progress:
            return
        for task in running:
            self._progress.update(self._bars[task.name], completed=last_step(task.metrics))

    def ended(self, task: Task, command: list[str], code: int) -> None:
        self._num_done += 1
        if self._progress:
            self._progress.remove_task(self._bars.pop(task.name))
            self._progress.update(self._overall, completed=self._num_done)
        if code in (0, *STOPPED_CODES):
            word = "finished " if code == 0 else "stopped  "
            self._say(f"{word} {task.name} ({self._num_done} of {self._num_tasks})")
            return
        word = "diverged " if code == NonFiniteLoss.exit_code else "failed   "
        self._say(f"{word} {task.name}: kgan {command[0]} ended with {code}; the end of {task.log}:")
        for line in tail(task.log):
            self._say(f"    {line}")

    def concluded(self, result: SweepResult) -> None:
        if self._progress:
            self._progress.stop()
        self._console.print(table(result, self._has_verdict))
        if result.objection:
            self._say(f"not ranked: {result.objection}")
        self._say(f"wrote {' and '.join(str(path) for path in (result.csv, result.figure) if path)}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def table(result: SweepResult, has_verdict: bool) -> Table:
    """The rows, best score first, those without one last; in the order of the grid if scores cannot be compared."""
    names = list(result.rows[0].settings)
    columns = [*names, "status", "score", *(["verdict"] if has_verdict else []), "run folder"]
    drawn = Table(*columns, box=None, pad_edge=False)
    for row in result.ranked:
        score = "" if row.score is None else rounded(row.score)
        cells = [*map(flag_value, row.settings.values()), row.status, score, *([row.verdict] if has_verdict else [])]
        drawn.add_row(*map(Text, cells), Text(row.run_dir.name, overflow="fold"))
    return drawn


def tail(path: Path) -> list[str]:
    """The last twelve lines of a log, made safe to show."""
    return [one_line(line) for line in _end(path).decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]]


def last_step(metrics: Path) -> int:
    """The step of the last whole line of a metrics.jsonl; 0 before there is one."""
    for line in reversed(_end(metrics).splitlines()):
        try:
            return schema.parse(line, schema.MetricsLine, metrics)["step"]
        except UserError:
            continue
    return 0


def _end(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            return stream.read()
    except FileNotFoundError:
        return b""
