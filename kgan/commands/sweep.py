"""Train a run for each cell of a grid of settings, side by side, and compare their scores.

usage: kgan sweep --flagfile=experiments/loss.flags [--jobs=2] [--dry_run]
       kgan sweep --dataset=mnist5k --grid=loss=ns,hinge --grid=g_lr=log:1e-5:1e-3:5 --grid=seed=0,1,2
                  --sweep_dir=sweeps/a [--evaluate] [--audit] [--random=N]

Every flag of kgan train is one of kgan sweep, for all cells; a --grid of the same setting comes before it. The same
command again skips what is finished, resumes what was interrupted, and tries again what failed; cells whose loss became
non-finite stay so. Exit 3: a cell failed, and the others are done.
"""

import os
import shlex
import sys
from pathlib import Path

from absl import flags
from rich.console import Console

from kgan import cli
from kgan.config import TrainConfig
from kgan.errors import Stopped, UserError
from kgan.sweeping import grid, jobs, results
from kgan.sweeping.cells import RUNNING, Cell, make_cells, resolved_in
from kgan.sweeping.display import Display
from kgan.training.plan import make_plan, resolve

FLAGS = flags.FLAGS
_DECIDE_DATA = ("dataset", "data_dir", "image_size", "channels", "num_heldout", "num_train")
_DECIDE_DATA += ("accept_unknown_license", "ignore_datamining")
_AUDIT_ANSWERS = (1, 2)  # copies found, cannot tell


def define_flags() -> None:
    cli.define_settings()
    flags.DEFINE_multi_string("grid", [], "NAME=V1,V2,... or NAME=log:LOW:HIGH:COUNT, a setting to sweep. Repeat it.")
    flags.DEFINE_string("sweep_dir", None, "The folder for the runs, sweep.csv and sweep.png.")
    flags.DEFINE_integer("jobs", 1, "Cells at a time; they share out the cores, and have a GPU each.", lower_bound=1)
    flags.DEFINE_integer("random", None, "Only this many cells of the grid, always the same ones.", lower_bound=1)
    flags.DEFINE_bool("dry_run", False, "Print what is left to do, a command a line, to be run here or elsewhere.")
    flags.DEFINE_bool("evaluate", False, "Also kgan evaluate each run, for a score.")
    flags.DEFINE_bool("audit", False, "Also kgan audit each run; sweep.csv gets the verdict.")


def main(arguments: list[str]) -> int:
    if arguments:
        raise UserError(f"unexpected {' '.join(arguments)!r}: every setting is a flag, as in --grid=loss=ns,hinge")
    axes = grid.parse(FLAGS.grid, cli.parse_setting)
    if not FLAGS.sweep_dir:
        raise UserError("name the folder of the sweep with --sweep_dir, as in --sweep_dir=sweeps/a")
    folder = Path(FLAGS.sweep_dir)
    _check_place(folder)
    cells = make_cells(cli.given_settings(), grid.cells(axes, FLAGS.random), folder)
    if FLAGS.dry_run:
        _print_commands(resolved_in(folder, cells))
        return 0
    cards = _data_cards(cells)
    total_steps = [resolve(cell.config, cards[cell.name])[2] for cell in cells]
    cells = resolved_in(folder, cells, cards)
    _make(folder)
    failures = _run(folder, cells, dict(zip([cell.name for cell in cells], total_steps, strict=True)))
    return 3 if failures else 0


def _print_commands(cells: list[Cell]) -> None:
    """On stdout nothing but the commands of the cells that are not finished."""
    left = [commands for cell in cells if cell.status() != RUNNING and (commands := _commands(cell))]
    for commands in left:
        print(" && ".join(shlex.join(["kgan", *command]) for command in commands))
    print(f"{len(left)} of {len(cells)} cells left to run; the same kgan sweep gathers them", file=sys.stderr)


def _run(folder: Path, cells: list[Cell], total_steps: dict[str, int]) -> set[str]:
    """Runs what is left, and tells and writes what came out, also after Ctrl-C. Returns the names of what failed."""
    for cell in cells:
        if cell.status() == RUNNING:
            print(f"{cell.name}: another process is training it; left to that")
    todo = [cell for cell in cells if cell.status() != RUNNING and _commands(cell)]
    tasks = [jobs.Task(cell.name, _commands(cell), folder / f"{cell.name}.log") for cell in todo]
    print(f"{len(cells)} cells in {folder}, {len(tasks)} to run, {FLAGS.jobs} at a time")
    shares = jobs.places(FLAGS.jobs, sorted(os.sched_getaffinity(0)), jobs.find_gpus(os.environ))
    metrics = {cell.name: cell.run.metrics_file for cell in cells}
    by_name = {cell.name: cell for cell in cells}

    def succeeded(task: jobs.Task, command: list[str], code: int) -> bool:
        answered = command[0] == "audit" and code in _AUDIT_ANSWERS and by_name[task.name].audit() is not None
        return code == 0 or answered

    stopped = None
    with Display(total_steps, metrics, len(tasks)) as display:
        try:
            jobs.run_all(tasks, shares, display.started, display.ended, display.tick, succeeded)
        except Stopped as stop:
            stopped = stop
    _conclude(folder, cells, display.failures)
    if stopped:
        raise stopped
    return display.failures


def _commands(cell: Cell) -> list[list[str]]:
    return cell.commands(FLAGS.evaluate, FLAGS.audit)


def _conclude(folder: Path, cells: list[Cell], failures: set[str]) -> None:
    found = [results.gather(cell, failed=cell.name in failures) for cell in cells]
    written = results.write(folder, found, FLAGS.audit)
    console = Console()
    console.width = console.width if console.is_terminal else 10_000
    console.print(results.table(found, FLAGS.audit))
    print(f"wrote {' and '.join(map(str, written))}")
    best = min((result for result in found if result.score is not None), key=lambda one: one.score, default=None)
    if best:
        print(f"next:     kgan report {shlex.quote(str(best.run_dir))}")
    elif not FLAGS.evaluate:
        print("next:     the same with --evaluate, for a score of each run")


def _data_cards(cells: list[Cell]) -> dict[str, dict]:
    """The data card of each cell, from data read once for all that share them; downloads what is not here."""
    made, cards = {}, {}
    for cell in cells:
        key = tuple(getattr(cell.config, name) for name in _DECIDE_DATA)
        try:
            if key not in made:
                made[key] = _card(cell.config)
            resolve(cell.config, made[key])
        except UserError as error:
            raise UserError(f"the cell {cell.name} cannot be: {error}") from None
        cards[cell.name] = made[key]
    return cards


def _card(config: TrainConfig) -> dict:
    cli.prepare_to_download(config.dataset, config.data_dir)
    return make_plan(config).card


def _check_place(folder: Path) -> None:
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not place.is_dir():
        raise UserError(f"--sweep_dir={folder}: cannot make this folder, {place} is a file")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--sweep_dir={folder}: cannot make this folder ({error.strerror})") from None


if __name__ == "__main__":
    define_flags()
    cli.run(main)
