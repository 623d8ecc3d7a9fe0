"""Train a run for each cell of a grid of settings, side by side, and compare their scores.

usage: kgan sweep --flagfile=experiments/loss.flags [--jobs=2] [--dry_run]
       kgan sweep --dataset=mnist5k --grid=loss=ns,hinge --grid=g_lr=log:1e-5:1e-3:5 --grid=seed=0,1,2
                  --sweep_dir=sweeps/a [--evaluate] [--audit] [--random=N]

Every flag of kgan train is one of kgan sweep, for all cells; a --grid of the same setting comes before it. The same
command again skips what is finished, resumes what was interrupted, and tries again what failed; cells whose loss became
non-finite stay so. Exit 3: a cell failed or was stopped, and the others are done.
"""

import functools
import sys

from absl import flags

from kgan import cli
from kgan.errors import UserError
from kgan.sweeping.display import Display
from kgan.sweeping.grid import parse
from kgan.sweeping.results import SweepResult
from kgan.sweeping.sweep import sweep

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_settings()
    default = functools.partial(cli.default, sweep)
    flags.DEFINE_multi_string(
        "grid",
        [],
        "NAME=V1,V2,... or NAME=log:LOW:HIGH:COUNT, a setting to sweep, or NAME/NAME=V1/W1,V2/W2,..., settings that "
        "change together. Repeat it.",
    )
    flags.DEFINE_string("sweep_dir", None, "The folder for the runs, sweep.csv and sweep.png.")
    flags.DEFINE_integer(
        "jobs",
        default("jobs"),
        "Cells at a time; they share out the cores, and have a GPU each. Default: as many as there are GPUs, or 1.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "random", default("random"), "Only this many cells of the grid, always the same ones.", lower_bound=1
    )
    flags.DEFINE_bool(
        "dry_run", default("dry_run"), "Print what is left to do, a command a line, to be run here or elsewhere."
    )
    flags.DEFINE_bool("evaluate", default("evaluate"), "Also kgan evaluate each run, for a score.")
    flags.DEFINE_bool("audit", default("audit"), "Also kgan audit each run; sweep.csv gets the verdict.")


def main(arguments: list[str]) -> int:
    if arguments:
        raise UserError(f"unexpected {' '.join(arguments)!r}: every setting is a flag, as in --grid=loss=ns,hinge")
    grid = parse(FLAGS.grid, cli.parse_setting)
    if not FLAGS.sweep_dir:
        raise UserError("name the folder of the sweep with --sweep_dir, as in --sweep_dir=sweeps/a")
    with Display(FLAGS.audit) as display:
        result = sweep(cli.given_settings(), **cli.flag_values(sweep) | {"grid": grid}, listener=display)
    if FLAGS.dry_run:
        print_commands(result)
    elif any(row.score is not None for row in result.rows):
        print(f"Next: {cli.command_line('report', result.sweep_dir)}")
    elif FLAGS.evaluate or result.failed:
        print(f"Next: no run has a score; {result.sweep_dir}/*.log say why")
    else:
        print("Next: the same with --evaluate, for a score of each run")
    return 3 if result.failed else 0


def print_commands(result: SweepResult) -> None:
    """On stdout nothing but the commands of the cells that are not finished."""
    left = [row.commands for row in result.rows if row.commands]
    for commands in left:
        print(" && ".join(cli.command_line(*command) for command in commands))
    print(f"{len(left)} of {len(result.rows)} cells left to run; the same kgan sweep gathers them", file=sys.stderr)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
