"""Measure training on this machine, beside the loops that people write by hand.

usage: kgan bench [--arch=dcgan] [--batch_size=256] [--rounds=5] [--only=train] [--json]

All cases take turns in one process, so that what slows the machine down slows them all: compare the ratios, not the
rates. PyTorch takes part where the package torch is installed.
"""

import functools

from absl import flags
from rich.table import Table

from kgan import cli
from kgan.bench.bench import PLAIN, BenchResult, bench
from kgan.errors import UserError

FLAGS = flags.FLAGS


def define_flags() -> None:
    default = functools.partial(cli.default, bench)
    flags.DEFINE_enum("arch", default("arch"), PLAIN, "The networks, for 28x28 images.")
    flags.DEFINE_integer("batch_size", default("batch_size"), "Images of one training step.", lower_bound=2)
    flags.DEFINE_integer("rounds", default("rounds"), "How often every case has its turn.", lower_bound=1)
    flags.DEFINE_float("seconds", default("seconds"), "How long a turn is, at least.", lower_bound=0.0)
    flags.DEFINE_string("only", default("only"), "Only the first case and those whose name or precision contains this.")
    flags.DEFINE_bool("json", False, "Print one JSON list instead of a table.")


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"unexpected {' '.join(arguments)!r}: bench takes flags only")
    with cli.progress("rounds") as progress:
        result = bench(**cli.flag_values(bench), progress=progress)
    print(result.to_json()) if FLAGS.json else show(result)


def show(result: BenchResult) -> None:
    hardware = result.hardware
    print(f"{', '.join(hardware['device']['names'])}; {hardware['threads']['usable']} cores; {hardware['platform']}")
    table = Table("case", "precision", "images/s", "GFLOP/s", "times the first", "range", box=None, pad_edge=False)
    for row in result.rows:
        spread = f"{row.ratio_low:.2f} - {row.ratio_high:.2f}"
        rate, flops = f"{row.images_per_second:,.0f}", f"{row.flops_per_second / 1e9:,.0f}"
        table.add_row(row.name, row.precision, rate, flops, f"{row.ratio:.2f}", spread)
    cli.console().print(table)
    products = ", ".join(f"{flops / 1e9:,.0f} GFLOP/s in {name}" for name, flops in result.matmul_flops.items())
    print(
        f"matrix products of this machine: {products}; peak memory of all cases: {result.peak_memory / 2**20:,.0f} MiB"
    )


if __name__ == "__main__":
    define_flags()
    cli.run(main)
