"""Did it learn, or did it copy? Search the images of a run, or of any generator, for copies of training images.

usage: kgan audit RUN [--recover] [--against=DIR]
       kgan audit --samples=DIR|FILE.npz --dataset=mnist --num_heldout=5000
       kgan audit --samples=DIR|FILE.npz --train=DIR|FILE.npz --heldout=DIR|FILE.npz [--against=DIR]

Writes audit.json, audit-pairs.png and audit-ratios.png: into the run folder, or NAME-audit beside the samples, or
--out. Exit 0: no copying detected at the sensitivity it states; 1: copies found; 2: cannot tell, or a mistake.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

import kgan
from kgan import cli, plots
from kgan.auditing.audit import CANNOT_TELL, COPIES_FOUND, NONE_DETECTED, AuditResult, audit
from kgan.auditing.pairs import Pairs, closest_pairs
from kgan.data import folder, sources
from kgan.errors import UserError
from kgan.files import write_atomically
from kgan.images import write_png
from kgan.provenance.marks import COMPOSITE, Origin, describe, pnginfo
from kgan.runs import checkpoint, environment
from kgan.runs.results import AUDIT
from kgan.runs.rundir import RunDir
from kgan.sampling import read as samples

FLAGS = flags.FLAGS
EXIT_CODES = {NONE_DETECTED: 0, COPIES_FOUND: 1, CANNOT_TELL: 2}
_NOTE = "image - neighbour: ratio in units of the threshold; below 1 an image is flagged"
_OF_A_RUN = ("checkpoint", "ema", "seed", "recover")
_OF_SAMPLES = ("dataset", "num_heldout", "train")


def define_flags() -> None:
    flags.DEFINE_string("samples", None, "Instead of RUN: a folder of images, or an .npz with uint8 NHWC samples.")
    flags.DEFINE_enum("dataset", None, list(sources.SOURCES), "What the generator of --samples was trained on.")
    flags.DEFINE_string("train", None, "The same, as a folder of images or an .npz like --samples.")
    flags.DEFINE_string("heldout", None, "Images of the same origin that the generator never saw. Default: the run's.")
    flags.DEFINE_integer(
        "num_heldout", None, "With --dataset: it never saw the N images that kgan train holds out.", lower_bound=1
    )
    flags.DEFINE_string("against", None, "Look for copies of these known works instead, which it was not trained on.")
    flags.DEFINE_string("data_dir", None, "Where the data lie. Default: the run's, else $KGAN_DATA_DIR, as in train.")
    flags.DEFINE_integer("num_samples", 10_000, "How many samples to look at.", lower_bound=1)
    flags.DEFINE_float("alpha", 1e-3, "Share of honest images that may be flagged.", 0.0, 1.0)
    flags.DEFINE_integer("shifts", 1, "Look for copies moved by up to this many pixels.", 0, 2)
    flags.DEFINE_bool("recover", False, "Also steer the generator to training and held-out images (minutes more).")
    flags.DEFINE_integer("seed", 0, "Of the samples: images 0 .. N-1, as kgan sample draws them.", 0, 2**31 - 1)
    flags.DEFINE_string("checkpoint", "best", "best (if one was scored, else last), last, or a step.")
    flags.DEFINE_bool("ema", True, "Draw with the averaged weights, if the run has them.")
    flags.DEFINE_string("out", None, "The folder to write to.")


@dataclass(frozen=True)
class Job:
    """What is audited. Images are uint8 (n, h, w, c); `about` joins the protocol, `origin` marks the pictures.

    `recover`, where there is a generator, is called with a progress callback and gives the record of latent recovery.
    """

    samples: np.ndarray
    train: np.ndarray
    heldout: np.ndarray
    about: dict
    origin: Origin
    passes_per_image: float | None = None
    recover: Callable[[Callable[[int, int], None]], dict] | None = None
    skipped: list[str] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    _check_arguments(arguments)
    run = RunDir.open(arguments[0]) if arguments else None
    job = _of_run(run) if run else _of_samples(Path(FLAGS.samples))
    if FLAGS.against:
        job = _against(job)
    out = _out(run)
    for line in job.skipped:
        print(f"skipped {line}")
    sizes = f"{len(job.samples):,} samples, {len(job.train):,} {_sought()}s, {len(job.heldout):,} held-out images"
    print(sizes, flush=True)
    recovery = {}
    if FLAGS.recover:
        with cli.progress("latent recovery") as progress:
            recovery = job.recover(progress)
    with cli.progress("comparing") as progress:
        result = audit(
            job.samples,
            job.train,
            job.heldout,
            alpha=FLAGS.alpha,
            shifts=FLAGS.shifts,
            exchangeable=not FLAGS.against,
            passes_per_image=job.passes_per_image,
            other_p_values={"latent": {"recovery": recovery["p_value"]}} if recovery else None,
            progress=progress,
        )
    report = dataclasses.asdict(result)
    report["protocol"] |= job.about
    if recovery:
        report["latent_recovery"] = recovery
    write_atomically(out / AUDIT, (json.dumps(report, indent=2) + "\n").encode())
    _draw(out, job, result)
    show(report)
    if FLAGS.dataset and not len(job.heldout):
        least = sources.split_default(len(job.train))
        print(f"If its generator never saw the images that kgan train holds out, say so with --num_heldout={least}")
    print(f"wrote audit.json, audit-pairs.png and audit-ratios.png to {out}")
    return EXIT_CODES[result.verdict]


def _check_arguments(arguments: list[str]) -> None:
    if len(arguments) > 1 or bool(arguments) == bool(FLAGS.samples):
        raise UserError("name one run folder, or give --samples=DIR or FILE.npz and --dataset or --train")
    if FLAGS.samples and bool(FLAGS.dataset) == bool(FLAGS.train):
        raise UserError(
            "--samples needs the images that its generator was trained on: --dataset or --train, one of them"
        )
    if FLAGS.num_heldout and (FLAGS.train or FLAGS.heldout):
        raise UserError("--num_heldout divides --dataset; it does not go with --train or --heldout")
    for name in ("samples", "train", "heldout", "against"):
        if FLAGS[name].value and not Path(FLAGS[name].value).exists():
            raise UserError(f"--{name}={FLAGS[name].value}: there is no such file or folder")
    cli.refuse_flags_of_others(bool(arguments), _OF_A_RUN, _OF_SAMPLES)
    if FLAGS.recover and FLAGS.against:
        raise UserError("--recover asks about the training images: leave out --against")
    if not 0 < FLAGS.alpha < 1:
        raise UserError(f"--alpha={FLAGS.alpha}: must be more than 0 and less than 1")


def _of_run(run: RunDir) -> Job:
    config = run.read_config()
    checkpoint.choose(run.checkpoints, FLAGS.checkpoint)
    if FLAGS.recover and FLAGS.heldout and config.conditional:
        raise UserError("--recover needs the labels of held-out images: leave out --heldout")
    data_dir = FLAGS.data_dir or config.data_dir
    data = _load(config.dataset, data_dir, image_size=config.image_size, channels=config.channels)
    run.check_data(data.sha256)
    training, held = sources.split_heldout(len(data.images), data.sha256, config.num_heldout)
    training = sources.first_training(training, data.sha256, config.num_train)
    labels = data.labels if config.conditional else np.zeros(len(data.images), np.int64)
    train, train_labels = data.images[training], labels[training]
    heldout, heldout_labels, skipped = data.images[held], labels[held], []
    if FLAGS.heldout:
        heldout, skipped = _read("heldout", train.shape[1:])
        heldout_labels = np.zeros(len(heldout), np.int64)
    if FLAGS.recover and not len(heldout):
        raise UserError("--recover compares with held-out images, and this run has none: name some with --heldout")
    data_sha256 = data.sha256
    del data  # its memory is needed
    environment.import_tensorflow()
    from kgan.auditing import recovery
    from kgan.runs import generator as trained
    from kgan.sampling import draw as sampling

    found = trained.load(run.path, FLAGS.checkpoint, FLAGS.ema)
    drawn = found.generate(FLAGS.num_samples, FLAGS.seed)
    about = {
        "samples": f"images 0 to {FLAGS.num_samples - 1} of the seed, as kgan sample draws them",
        "dataset": config.dataset,
        "data_sha256": data_sha256,
        "heldout": "as given" if FLAGS.heldout else "the run's own, never trained on",
        "run_id": found.record.get("id"),
        "checkpoint_sha256": found.checkpoint_sha256,
        "step": found.step,
        "ema": found.ema,
        "seed": FLAGS.seed,
    }
    return Job(
        samples=drawn,
        train=train,
        heldout=heldout,
        about=about,
        origin=sampling.origin(found),
        passes_per_image=found.step * config.d_steps * config.batch_size / len(train),
        recover=lambda progress: recovery.latent_recovery(
            found, (train, train_labels), (heldout, heldout_labels), progress
        ),
        skipped=skipped,
    )


def _of_samples(path: Path) -> Job:
    shape, skipped = samples.image_shape(path), []
    about = {"samples": f"the first {FLAGS.num_samples} images in {path.name}, or all"}
    if FLAGS.dataset:
        size = {"image_size": shape[0], "channels": shape[2]} if FLAGS.dataset == "folder" else {}
        data = _load(FLAGS.dataset, FLAGS.data_dir, **size)
        training, held = sources.split_heldout(len(data.images), data.sha256, FLAGS.num_heldout or 0)
        train, heldout, shape = data.images[training], data.images[held], data.images.shape[1:]
        about |= {"dataset": FLAGS.dataset, "data_sha256": data.sha256}
        source = f"kgan's choice of {len(held)}, said to be unseen" if len(held) else "none named"
    else:
        train, skipped = _read("train", shape)
        heldout, source = train[:0], "none named"
        about |= {"dataset": Path(FLAGS.train).name}
    drawn = samples.read_samples(path, shape, FLAGS.num_samples)
    skipped += drawn.skipped
    if FLAGS.heldout:
        (heldout, more), source = _read("heldout", shape), "as given"
        skipped += more
    origin = Origin("", "", about.get("data_sha256", ""), "", False, {"kgan": kgan.__version__})
    return Job(drawn.images, train, heldout, about | {"heldout": source}, origin, skipped=skipped)


def _against(job: Job) -> Job:
    """The same samples and held-out images, with known works in the place of the training images."""
    works, skipped = _read("against", job.train.shape[1:])
    return dataclasses.replace(
        job,
        train=works,
        about=job.about | {"against": Path(FLAGS.against).name},
        passes_per_image=None,
        skipped=job.skipped + skipped,
    )


def _load(dataset: str, data_dir: str | None, **size) -> sources.ImageSet:
    cli.prepare_to_download(dataset, data_dir)
    return sources.load(dataset, data_dir, **size)


def _read(flag: str, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    """The images that a flag names, and a line for each file skipped.

    An .npz must have the samples' shape; a folder's images are cropped and resized to it, as for training.
    """
    path = Path(FLAGS[flag].value)
    if not path.is_dir():
        return samples.read_samples(path, shape).images, []
    if shape[0] != shape[1]:
        raise UserError(f"--{flag}={path}: samples of {shape[0]}x{shape[1]} are not square; bring an .npz of that size")
    images, _, _, broken = folder.read_folder(path, shape[0], shape[2])
    return images, broken


def _out(run: RunDir | None) -> Path:
    if FLAGS.out:
        path = Path(FLAGS.out)
    elif run:
        path = run.path / f"against-{Path(FLAGS.against).name}" if FLAGS.against else run.path
    else:
        place = Path(FLAGS.samples)
        path = place.with_name(f"{place.stem if place.is_file() else place.name}-audit")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot make this folder ({error.strerror}); name one with --out") from None
    if not os.access(path, os.W_OK):
        raise UserError(f"{path}: this folder cannot be written to; name one with --out")
    return path


def _sought() -> str:
    return "known work" if FLAGS.against else "training image"


def _draw(out: Path, job: Job, result: AuditResult) -> None:
    evidence, thresholds = result.evidence, {space: found["threshold"] for space, found in result.calibration.items()}
    blocks = {"AI-generated": closest_pairs(evidence.samples.neighbours, job.samples, job.train, thresholds)}
    if len(job.heldout):
        blocks["held-out (honest)"] = closest_pairs(evidence.heldout.neighbours, job.heldout, job.train, thresholds)
    columns = {name: (found.images, found.neighbours, _captions(found)) for name, found in blocks.items()}
    drawn = plots.to_pixels(plots.closest_pairs(columns, _sought(), _NOTE))
    write_png(out / "audit-pairs.png", drawn, pnginfo(describe(job.origin, drawn), COMPOSITE))
    spaces = {
        space: (found.ratios, evidence.heldout.neighbours[space].ratios, thresholds.get(space))
        for space, found in evidence.samples.neighbours.items()
    }
    write_atomically(out / "audit-ratios.png", plots.to_png(plots.ratio_histograms(spaces)))


def _captions(found: Pairs) -> list[str]:
    names = zip(found.indices, found.neighbour_indices, found.closeness, strict=True)
    return [f"{i} - {j}: {close:.2f}" + (" flagged" if close < 1 else "") for i, j, close in names]


def show(report: dict) -> None:
    """The verdict in a paragraph, and what it could have missed."""
    print(f"{report['verdict']}: {report['reason']}.")
    if report["p_values"]:
        rate = report["measured_false_positive_rate"]
        aim = max(found["order"] / (found["size"] + 1) for found in report["calibration"].values())
        print(f"Of held-out images {rate:.2%} are below a threshold of the others ({aim:.2%} expected in each space).")
        print("Copies are found from:")
        table = Table("kind of copy", "share, 95 times in 100", "single copies flagged", box=None, pad_edge=False)
        for kind, limit in report["detection_limit"].items():
            share = "not even all of them" if limit is None else f"{limit:.2%}"
            table.add_row(kind, share, f"{report['planted_flagged'][kind]:.0%}")
        Console(width=max(80, Console().width)).print(table)
    if recovery := report.get("latent_recovery"):
        said = "recovers training images better" if recovery["recovers_training_images"] else "treats both alike"
        print(f"Latent recovery: the generator {said} (p = {recovery['p_value']:.2g}, gap {recovery['gap']:.1%}).")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
