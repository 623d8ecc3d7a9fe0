"""Score a run's images, or any generator's, against real ones, beside what real images score against each other.

usage: kgan evaluate RUN [--reference=train] [--num_samples=10000] [--repeats=3]
       kgan evaluate --samples=DIR|FILE.npz --dataset=mnist

Writes evaluation.json: into the run folder, or beside the samples, or where --out says. Features of the real images
and trained classifiers are kept in $KGAN_CACHE_DIR, else ~/.cache/kgan; a classifier takes minutes once.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from kgan import cli
from kgan.data import sources
from kgan.errors import UserError
from kgan.evaluation import protocol
from kgan.evaluation.cache import default_folder
from kgan.evaluation.features import NAMES
from kgan.evaluation.reference import SPLITS, Reference, load_reference
from kgan.files import write_atomically
from kgan.runs import checkpoint, environment
from kgan.runs.results import EVALUATION
from kgan.runs.rundir import RunDir
from kgan.sampling import read as samples

FLAGS = flags.FLAGS
_OF_A_RUN = ("checkpoint", "ema", "seed", "repeats")
_OF_SAMPLES = ("dataset", "num_heldout")


def define_flags() -> None:
    flags.DEFINE_string("samples", None, "Instead of RUN: a folder of images, or an .npz with uint8 NHWC samples.")
    flags.DEFINE_enum("dataset", None, list(sources.SOURCES), "The real images that --samples are held against.")
    flags.DEFINE_string("data_dir", None, "Where the data lie. Default: the run's, else $KGAN_DATA_DIR, as in train.")
    flags.DEFINE_integer("num_heldout", None, "With --samples: as in train. Default: min(5000, a tenth).")
    flags.DEFINE_enum("features", "auto", ("auto", *NAMES), "auto: the first that colour, labels and N allow.")
    flags.DEFINE_string("inception_graph", None, "classify_image_graph_def.pb of inception-2015-12-05.tgz.")
    flags.DEFINE_enum("reference", "train", SPLITS, "The real images: those trained on, the test or the held-out ones.")
    flags.DEFINE_integer("num_samples", 10_000, "Samples to score; at most half the reference images.", lower_bound=2)
    flags.DEFINE_integer("seed", 0, "Of the samples: images 0 .. N-1, as kgan sample draws them.", 0, 2**31 - 1)
    flags.DEFINE_integer("repeats", 1, "Score this many sets of samples, of seeds --seed, --seed + 1, ...", 1, 1000)
    flags.DEFINE_string("checkpoint", "best", "best (if one was scored, else last), last, or a step.")
    flags.DEFINE_bool("ema", True, "Draw with the averaged weights, if the run has them.")
    flags.DEFINE_string("out", None, "The JSON file, or a folder for it. Default: RUN or DIR/evaluation.json, beside.")


def main(arguments: list[str]) -> None:
    _check_arguments(arguments)
    run = RunDir.open(arguments[0]) if arguments else None
    job = _of_run(run) if run else _of_samples(Path(FLAGS.samples))
    out = _out(job.out)
    cache = default_folder()
    count, reason = protocol.common_count(job.reference, FLAGS.num_samples, job.available)
    choice = protocol.choose(FLAGS.features, job.reference, count, cache, FLAGS.inception_graph, job.data_dir)
    protocol.check_count(choice, job.reference, count)
    if run or choice.name != "pca":
        environment.import_tensorflow()
    network = protocol.load_network(choice, job.reference, cache, print)
    evaluator = protocol.Evaluator(network, job.reference, count, cache)
    about, drawn = job.draw(count)
    digests, results = [], []
    for images in drawn:
        digests.append(protocol.samples_sha256(images))
        results.append(evaluator.scores(images))
    scores, spread = protocol.summarise(results)
    about = {"features_reason": choice.reason, "num_samples_reason": reason, **about, "samples_sha256": digests}
    report = {"scores": scores, "floor": evaluator.floor, "protocol": evaluator.protocol() | about}
    if spread:
        report["spread"] = spread
        report["protocol"] |= {"spread": f"standard deviation (n - 1) over {len(results)} sample seeds"}
    write_atomically(out, (json.dumps(report, indent=2) + "\n").encode())
    show(report)
    print(f"wrote {out}")


@dataclass(frozen=True)
class Job:
    """What is scored: against which images, how many there are (None: as many as asked), and where the result goes.

    `draw(count)` gives what the protocol says of the samples, and sets of `count` images.
    """

    reference: Reference
    data_dir: str | None
    available: int | None
    out: Path
    draw: Callable[[int], tuple[dict, Iterable[np.ndarray]]]


def _check_arguments(arguments: list[str]) -> None:
    if len(arguments) > 1 or bool(arguments) == bool(FLAGS.samples):
        raise UserError("name one run folder, or give --samples=DIR or FILE.npz and --dataset")
    if FLAGS.samples and not FLAGS.dataset:
        raise UserError("--samples needs --dataset, the real images to hold them against")
    if FLAGS.samples and not Path(FLAGS.samples).exists():
        raise UserError(f"--samples={FLAGS.samples}: there is no such file or folder")
    cli.refuse_flags_of_others(bool(arguments), _OF_A_RUN, _OF_SAMPLES)
    if FLAGS.seed + FLAGS.repeats > 2**31:
        raise UserError(f"--repeats={FLAGS.repeats}: goes beyond the last seed, {2**31 - 1}")


def _of_run(run: RunDir) -> Job:
    config, record = run.read_config(), run.read_record()
    checkpoint.choose(run.checkpoints, FLAGS.checkpoint)
    data_dir = FLAGS.data_dir or config.data_dir
    reference = _reference(
        config.dataset,
        data_dir,
        image_size=config.image_size,
        channels=config.channels,
        num_heldout=config.num_heldout,
        num_train=config.num_train,
    )
    run.check_data(reference.data_sha256)

    def draw(count: int) -> tuple[dict, Iterable[np.ndarray]]:
        from kgan.runs import generator as trained

        found = trained.load(run.path, FLAGS.checkpoint, FLAGS.ema)
        about = {
            "samples": f"images 0 to {count - 1} of each seed, as kgan sample draws them",
            "run_id": record.get("id"),
            "checkpoint_sha256": found.checkpoint_sha256,
            "step": found.step,
            "ema": found.ema,
            "seeds": list(range(FLAGS.seed, FLAGS.seed + FLAGS.repeats)),
        }
        return about, (found.generate(count, seed) for seed in about["seeds"])

    return Job(reference, data_dir, None, run.path / EVALUATION, draw)


def _of_samples(path: Path) -> Job:
    size = {}
    if FLAGS.dataset == "folder":
        height, width, channels = samples.image_shape(path)
        if height != width:
            raise UserError(f"--samples={path}: images of {height}x{width}; --dataset=folder has square ones")
        size = {"image_size": height, "channels": channels}
    reference = _reference(FLAGS.dataset, FLAGS.data_dir, num_heldout=FLAGS.num_heldout, **size)
    limit = reference.largest_comparison(FLAGS.num_samples)
    found = samples.read_samples(path, reference.images.shape[1:], limit)
    for line in found.skipped:
        print(f"skipped {line}")

    def draw(count: int) -> tuple[dict, Iterable[np.ndarray]]:
        about = {"samples": f"the first {count} images in {path.name}"}
        return about, [found.images[:count]]

    out = path / EVALUATION if path.is_dir() else path.with_name(f"{path.stem}-{EVALUATION}")
    return Job(reference, FLAGS.data_dir, len(found.images), out, draw)


def _reference(dataset: str, data_dir: str | None, **settings) -> Reference:
    cli.prepare_to_download(dataset, data_dir)
    return load_reference(dataset, FLAGS.reference, data_dir=data_dir, **settings)


def _out(default: Path) -> Path:
    path = Path(FLAGS.out) if FLAGS.out else default
    path = path / EVALUATION if path.is_dir() else path
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: this folder cannot be written to; name a file with --out")
    return path


def show(report: dict) -> None:
    """The scores beside their floor, and in words what they are of."""
    scores, floor, how = report["scores"], report["floor"], report["protocol"]
    spread = report.get("spread")
    print(f"features: {how['features']} ({how['features_reason']}), sha256 {how['features_sha256'][:12]}")
    count, reference = how["num_samples"], how["reference"]
    print(
        f"N = {count:,} ({how['num_samples_reason']}): samples against {count:,} of {how['reference_images']:,} "
        f"{reference} images of {how['dataset']}; floor: {count:,} others of them against the same"
    )
    columns = ["score", f"mean of {len(how['seeds'])} seeds" if spread else "samples", "floor: real images"]
    table = Table(*columns, *(["sd over seeds"] if spread else []), box=None, pad_edge=False)
    for name, title in protocol.TITLES.items():
        if name in scores:
            title = how["distance_name"] if name == "frechet_distance" else title
            row = [title, _number(scores, name), _number(floor, name)]
            table.add_row(*row, *([f"{spread[name]:.4g}"] if spread else []))
    Console(width=max(100, Console().width)).print(table)
    print("(sd): of KID over 100 subsets, of the Inception-score form over 10 splits; not standard errors")


def _number(scores: dict, name: str) -> str:
    deviation = scores.get(f"{name}_std")
    return f"{scores[name]:.4g}" + ("" if deviation is None else f" (sd {deviation:.2g})")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
