"""Export a run's generator for others: a .keras file, a SavedModel, a model card and a labelled sample grid.

usage: kgan export RUN --out=DIR --license=SPDX-ID [--checkpoint=best] [--noema]

The same checkpoint gives the same bytes of generator.keras, README.md and samples.png. Neither format needs kgan.
"""

import functools
import os

from absl import flags

import kgan
from kgan import cli
from kgan.errors import UserError


def define_flags() -> None:
    default = functools.partial(cli.default, kgan.export)
    flags.DEFINE_string("out", None, "The new folder to write to.")
    flags.DEFINE_string("license", None, "The licence of the weights: an SPDX id, or LicenseRef-NAME. Yours to choose.")
    flags.DEFINE_string("checkpoint", default("checkpoint"), "best (if one was scored, else last), last, or a step.")
    flags.DEFINE_bool("ema", default("ema"), "Export the averaged weights, if the run has them.")
    flags.DEFINE_string(
        "producer", os.environ.get("KGAN_PRODUCER", default("producer")), "As for kgan sample, for the sample grid."
    )


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        example = "kgan export runs/00000-mnist-dcgan-rpgan --out=DIR --license=SPDX-ID"
        raise UserError(f"name one run folder, as in {example}")
    result = kgan.export(arguments[0], **cli.flag_values(kgan.export))
    print(f"wrote {', '.join(result.files)} to {result.folder}")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
