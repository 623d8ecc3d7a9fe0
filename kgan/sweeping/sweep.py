"""`kgan.sweep`: a training run for each cell of a grid of settings, and the table of their scores."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from kgan import cores
from kgan.errors import NonFiniteLoss, Stopped, UserError
from kgan.files import nearest_existing
from kgan.progress import Progress
from kgan.runs.rundir import RUNNING
from kgan.sweeping import grid as grids
from kgan.sweeping import jobs as processes
from kgan.sweeping import results
from kgan.sweeping.cells import Cell, check_starts, data_cards, make_cells, resolved_in
from kgan.sweeping.jobs import Listener, Task
from kgan.sweeping.results import SweepResult
from kgan.training.plan import resolve

_AUDIT_ANSWERS = (1, 2)  # copies detected, cannot tell
STOPPED_CODES = (130, processes.STOPPED, -15)


class SweepListener(Listener):
    """Is told about a sweep as it goes, more than `progress` is. The methods of this class do nothing."""

    def planned(self, sweep_dir: Path, cells: Sequence[Cell], tasks: Sequence[Task]) -> None:
        """The cells of the sweep, and the tasks that are left to run."""

    def concluded(self, result: SweepResult) -> None:
        """All that could be run is done, or the sweep was stopped; the files are written."""


def sweep(
    settings: Mapping[str, grids.Value],
    grid: grids.Grid,
    *,
    sweep_dir: str | os.PathLike,
    jobs: int | None = None,
    random: int | None = None,
    dry_run: bool = False,
    evaluate: bool = False,
    audit: bool = False,
    progress: Progress | None = None,
    listener: SweepListener | None = None,
) -> SweepResult:
    """Trains a run for each cell of a grid of settings, and compares their scores.

    Each run is a process of its own, `kgan train`, with its output in SWEEP_DIR/CELL.log. Called again, it skips what
    is finished, resumes what was interrupted, and tries again what failed; cells whose loss became non-finite stay so.

    Args:
        settings: what all cells share: names and values of `TrainConfig`, as in `{"dataset": "mnist5k", "steps": 500}`.
        grid: the values of each setting to sweep, as in `{"loss": ["ns", "hinge"], "seed": [0, 1, 2]}`, or of several
            that change together, as in `{("g_lr", "d_lr"): [(1e-4, 1e-4), (2e-4, 4e-4)]}`; they come before those in
            `settings`.
        sweep_dir: the folder for the runs, sweep.csv and sweep.png.
        jobs: cells at a time; they share out the cores, and have a GPU each. Default: as many as there are GPUs, or 1
            if there are none or --strategy takes all of them.
        random: run only this many cells of the grid, always the same ones.
        dry_run: run and write nothing; the rows say what is left to do.
        evaluate: also `kgan evaluate` each run, for a score.
        audit: also `kgan audit` each run, for a verdict.
        progress: called with (done, total) cells whenever one has ended.
        listener: told more than that.

    Raises:
        UserError: before anything runs, naming the cell, if `kgan train` would refuse its settings, or if its folder
            holds another run.
        Stopped: after Ctrl-C or SIGTERM, when the runs have saved and the files are written.
    """
    for name, count in (("jobs", jobs), ("random", random)):
        if count is not None and count < 1:
            raise UserError(f"--{name}={count}: must be at least 1")
    folder, listener = Path(sweep_dir), listener or SweepListener()
    _check_place(folder)
    cells = make_cells(settings, grids.cells(grid, random), folder)
    if dry_run:
        return SweepResult(folder, tuple(results.gather(cell, evaluate, audit) for cell in resolved_in(folder, cells)))
    cards = data_cards(cells)
    steps = [resolve(cell.config, cards[cell.name])[2] for cell in cells]
    cells = resolved_in(folder, cells, cards)
    check_starts(cells, cards)
    _make(folder)
    tasks = [
        Task(cell.name, commands, folder / f"{cell.name}.log", cell.run.metrics_file, total)
        for cell, total in zip(cells, steps, strict=True)
        if (commands := cell.commands(evaluate, audit))
    ]
    listener.planned(folder, cells, tasks)
    watch, stopped = _Watch(listener, progress, len(tasks)), None
    try:
        _run(cells, tasks, jobs, watch)
    except Stopped as stop:
        stopped = stop
    rows = tuple(results.gather(cell, evaluate, audit, cell.name in watch.failed) for cell in cells)
    given_up = {cell.run.path for cell in cells if cell.name in watch.failed | watch.stopped}
    failed = tuple(row.run_dir for row in rows if row.run_dir in given_up and row.status != RUNNING)
    together = [names for names in grid if not isinstance(names, str)]
    result = SweepResult(folder, rows, *results.write(folder, rows, audit, together), failed)
    listener.concluded(result)
    if stopped:
        raise stopped
    return result


class _Watch(Listener):
    """Passes on what happens to a listener, counts it, and notes the names of the tasks that failed or were stopped.

    A loss that became non-finite is a result, not a failure.
    """

    def __init__(self, listener: SweepListener, progress: Progress | None, total: int):
        self.failed: set[str] = set()
        self.stopped: set[str] = set()
        self._listener, self._progress, self._done, self._total = listener, progress, 0, total

    def started(self, task: Task) -> None:
        self._listener.started(task)

    def tick(self, running: Sequence[Task]) -> None:
        self._listener.tick(running)

    def ended(self, task: Task, command: list[str], code: int) -> None:
        self._done += 1
        if code in STOPPED_CODES:
            self.stopped.add(task.name)
        elif code not in (0, NonFiniteLoss.exit_code):
            self.failed.add(task.name)
        self._listener.ended(task, command, code)
        if self._progress:
            self._progress(self._done, self._total)


def _run(cells: Sequence[Cell], tasks: Sequence[Task], jobs: int | None, listener: Listener) -> None:
    gpus = processes.find_gpus(os.environ)
    if jobs is None:
        share = all(cell.config.strategy in ("auto", "single") for cell in cells)
        jobs = max(1, min(len(gpus), len(tasks))) if share else 1
    slots = processes.slots(jobs, cores.usable(), gpus)
    by_name = {cell.name: cell for cell in cells}

    def succeeded(task: Task, command: list[str], code: int) -> bool:
        answered = command[0] == "audit" and code in _AUDIT_ANSWERS and by_name[task.name].audit() is not None
        return code == 0 or answered

    processes.run_tasks(tasks, slots, listener, succeeded)


def _check_place(folder: Path) -> None:
    place = nearest_existing(folder)
    if not place.is_dir():
        raise UserError(f"--sweep_dir={folder}: cannot make this folder, {place} is a file")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--sweep_dir={folder}: cannot make this folder ({error.strerror})") from None
