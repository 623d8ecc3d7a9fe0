"""Score a run's images, or any generator's, against real ones, beside what real images score against each other.

usage: kgan evaluate RUN [--reference=train] [--num_samples=10000] [--repeats=3]
       kgan evaluate --samples=DIR|FILE --dataset=mnist
       kgan evaluate --samples=DIR|FILE --train=DIR|FILE

A FILE is an .npz or .npy of uint8 images, (n, h, w, c) or (n, h, w).

Writes evaluation.json into the folder of the run or of the samples, NAME-evaluation.json beside a file of samples, or
where --out says.
Features of the real images and trained classifiers are kept in $KGAN_CACHE_DIR, else ~/.cache/kgan; a classifier takes
minutes once.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from kgan import cli
from kgan.config import as_flag
from kgan.data import sources
from kgan.errors import UserError
from kgan.evaluation import features, reference
from kgan.evaluation.evaluate import evaluate
from kgan.files import nearest_existing
from kgan.runs.results import EVALUATION

FLAGS = flags.FLAGS
OF_SAMPLES = ("samples", "dataset", "train", "data_dir", "num_heldout")
OF_RUN = ("data_dir", "checkpoint", "ema")
_NONE_HELD = ("num_heldout", 0)  # an audit needs some


def define_flags() -> None:
    default = functools.partial(cli.default, evaluate)
    flags.DEFINE_string("samples", None, "Instead of RUN: a folder of images, or an .npz or .npy of them.")
    flags.DEFINE_string(
        "dataset", None, f"The real images that --samples are held against: {', '.join(sources.usages())}."
    )
    flags.DEFINE_string("train", None, "The same, as a folder of images or a file like --samples.")
    flags.DEFINE_string("data_dir", None, "Where the data lie. Default: the run's, else $KGAN_DATA_DIR, as in train.")
    flags.DEFINE_integer("num_heldout", None, "With --dataset: as in train. Default: min(5000, a tenth).")
    flags.DEFINE_enum(
        "features", default("features"), ("auto", *features.NAMES), "auto: the first that colour, labels and N allow."
    )
    flags.DEFINE_string("inception_graph", None, "classify_image_graph_def.pb of inception-2015-12-05.tgz.")
    flags.DEFINE_enum(
        "reference", default("reference"), reference.SPLITS, "The real images: trained on, test or held out."
    )
    flags.DEFINE_integer("num_samples", default("num_samples"), "Samples to score; at most half the real images.")
    flags.DEFINE_integer("seed", default("seed"), "Of the samples: images 0 .. N-1 of it.")
    flags.DEFINE_integer("repeats", default("repeats"), "Score this many sets of samples, of seeds --seed, + 1, ...")
    flags.DEFINE_string("checkpoint", default("checkpoint"), "best (if one was scored, else last), last, or a step.")
    flags.DEFINE_bool("ema", default("ema"), "Draw with the averaged weights, if the run has them.")
    flags.DEFINE_string(
        "out",
        None,
        "The JSON file, or a folder for it. Default: evaluation.json in RUN or DIR, NAME-evaluation.json beside FILE.",
    )


def main(arguments: list[str]) -> None:
    run = cli.run_or_samples(arguments, FLAGS.samples)
    out = _out(run)
    with cli.progress("features") as progress:
        result = evaluate(run, **cli.flag_values(evaluate), progress=progress, log=print)
    out.parent.mkdir(parents=True, exist_ok=True)
    result.save(out)
    print(result)
    print(f"wrote {out}")
    unseen = "" if run or FLAGS.num_heldout else "   # and --heldout=DIR, images that their generator never saw"
    same = [run, *_same(OF_RUN)] if run else _same(OF_SAMPLES)
    print(f"next:     {cli.command_line('audit', *same)}{unseen}")


def _same(names: Sequence[str]) -> list[str]:
    """The flags that were given, of those with these names, as an audit of the same samples takes them."""
    left_out = {"data_dir"} if FLAGS.train else set()  # it named the place of Inception's graph
    given = {name: FLAGS[name].value for name in names if FLAGS[name].present and name not in left_out}
    return [as_flag(name, value) for name, value in given.items() if value is not None and (name, value) != _NONE_HELD]


def _out(run: str | None) -> Path:
    """The file to write. Raises UserError if it cannot be written."""
    place = Path(run or FLAGS.samples)
    default = place.with_name(f"{place.stem}-{EVALUATION}") if place.is_file() else place
    path = Path(FLAGS.out) if FLAGS.out else default
    path = path / EVALUATION if path.is_dir() else path
    there = nearest_existing(path.parent)
    if place.exists() and not (there.is_dir() and os.access(there, os.W_OK)):
        raise UserError(f"{path}: cannot be written there; name a file with --out")
    return path


if __name__ == "__main__":
    define_flags()
    cli.run(main)
