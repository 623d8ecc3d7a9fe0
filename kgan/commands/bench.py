"""Measure training, drawing and searching on this machine, side by side.

usage: kgan bench [--rounds=5] [--batch_size=64] [--only=train] [--json]

All cases take turns, so that what slows the machine down slows them all: compare the ratios, not the rates.
"""

import json
import logging

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from kgan import cli
from kgan.errors import UserError
from kgan.runs import environment

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_integer("rounds", 5, "How often every case has its turn.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "How long a turn is, at least.", lower_bound=0.0)
    flags.DEFINE_integer("batch_size", 64, "Images of one training step.", lower_bound=2)
    flags.DEFINE_string("only", "", "Only the first case and those whose names contain this.")
    flags.DEFINE_bool("json", False, "Print one JSON list instead of a table.")


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"unexpected {' '.join(arguments)!r}: bench takes flags only")
    environment.import_tensorflow()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of functions traced again: here each case is one
    from kgan.bench import cases as benchmark
    from kgan.training import machine

    chosen = [case for i, case in enumerate(benchmark.cases(FLAGS.batch_size)) if not i or FLAGS.only in case.name]
    rates = []
    with cli.progress("rounds") as progress:
        for rates_of_round in benchmark.measure(chosen, FLAGS.rounds, FLAGS.seconds):
            rates.append(rates_of_round)
            progress(len(rates), FLAGS.rounds)
    rows = summarise([case.name for case in chosen], np.array(rates))
    if FLAGS.json:
        print(json.dumps(rows))
        return
    hardware = machine.describe(machine.set_up(benchmark.TrainConfig(strategy="single")))
    print(f"{', '.join(hardware['device']['names'])}; {hardware['threads']['usable']} cores; {hardware['platform']}")
    show(rows)


def summarise(names: list[str], rates: np.ndarray) -> list[dict]:
    """Rates (rounds, cases) -> for each case its median rate, and the median and range over rounds of its ratio to
    the first case in the same round."""
    ratios = rates / rates[:, :1]
    return [
        {
            "name": name,
            "images_per_second": float(np.median(rates[:, column])),
            "ratio": float(np.median(ratios[:, column])),
            "ratio_low": float(ratios[:, column].min()),
            "ratio_high": float(ratios[:, column].max()),
            "rounds": len(rates),
        }
        for column, name in enumerate(names)
    ]


def show(rows: list[dict]) -> None:
    table = Table("case", "images/s", "times the first", "range", box=None, pad_edge=False)
    for row in rows:
        spread = f"{row['ratio_low']:.2f} - {row['ratio_high']:.2f}"
        table.add_row(row["name"], f"{row['images_per_second']:,.0f}", f"{row['ratio']:.2f}", spread)
    Console(width=max(80, Console().width)).print(table)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
