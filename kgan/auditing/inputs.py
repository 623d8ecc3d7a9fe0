"""What an audit compares: the images of a run, or anyone's, read and divided as they were for training."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import kgan
from kgan.auditing.ancestors import Division, divide
from kgan.config import TrainConfig
from kgan.data import sources
from kgan.data.view import Images, ImageView
from kgan.errors import UserError
from kgan.progress import Progress
from kgan.provenance.marks import Origin
from kgan.runs import checkpoint as checkpoints
from kgan.runs import environment
from kgan.runs.rundir import RunDir
from kgan.sampling.read import Samples, Source, image_shape, name_of, read_images, read_samples, size_settings


@dataclass(frozen=True)
class AuditImages:
    """Images to compare, uint8 (n, h, w, c). `protocol` and `skipped` join the record, `origin` marks its pictures.

    `places` (n,) says where in an array the samples stood, None if in this order; `files` has the name of each in a
    folder. `recover`, where there is a generator, measures latent recovery when it is called with a progress callback.
    `remarks` are sentences that end the reason of the verdict: on the images that calibrate, and, `on_training`, on
    what else was trained on. `flipped` says that mirror images were trained on too.
    """

    samples: Images
    train: Images
    heldout: Images
    protocol: dict[str, Any]
    origin: Origin
    places: np.ndarray | None = None
    files: tuple[str, ...] = ()
    passes_per_image: float | None = None
    recover: Callable[[Progress], dict[str, Any]] | None = None
    skipped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    on_training: tuple[str, ...] = ()
    flipped: bool = False


def of_run(
    run: RunDir,
    *,
    heldout: Source | None,
    data_dir: str | None,
    num_samples: int,
    seed: int,
    checkpoint: str | int,
    ema: bool,
    recover: bool,
    progress: Progress | None,
) -> AuditImages:
    """The images of a run: fresh samples, its training images, and those given as held-out. Without these, its own,
    but for those that the weights it started from were trained on."""
    config = run.read_config()
    checkpoints.find(run.checkpoints, str(checkpoint))
    if recover and heldout is not None and config.conditional:
        raise UserError("--recover needs the labels of held-out images: leave out --heldout")
    images, labels, division, data_sha256 = _divided(run, config, data_dir)
    unseen = _unseen(images["heldout"], division, heldout)
    if recover and not len(unseen.images):
        raise UserError(
            "--recover compares with images that were never trained on, and this run has none: name some with --heldout"
        )
    environment.import_tensorflow()
    from kgan.auditing.recovery import latent_recovery
    from kgan.runs import generator
    from kgan.sampling import draw

    trained = generator.load(run.path, checkpoint, ema)
    train = images["train"], labels["train"]
    theirs = unseen.images, labels["heldout"] if heldout is None else np.zeros(len(unseen.images), np.int64)
    return AuditImages(
        samples=trained.generate(num_samples, seed, trained.labels_in_proportion(num_samples), progress=progress),
        train=images["train"],
        heldout=unseen.images,
        protocol={
            "samples": f"images 0 to {num_samples - 1} of the seed{trained.said_of_labels}",
            "dataset": config.dataset,
            "data_sha256": data_sha256,
            "heldout": unseen.which,
            "run_id": trained.record.get("id"),
            "checkpoint_sha256": trained.checkpoint_sha256,
            "step": trained.step,
            "ema": trained.ema,
            "seed": seed,
        },
        origin=draw.origin(trained),
        passes_per_image=trained.step * config.d_steps * config.batch_size / len(images["train"]),
        recover=lambda progress: latent_recovery(trained, train, theirs, progress),
        skipped=unseen.skipped,
        remarks=(division.seen,) if division.seen and heldout is None else (),
        on_training=(division.elsewhere,) if division.elsewhere else (),
        flipped=config.flip,
    )


def _unseen(own: Images, division: Division, heldout: Source | None) -> Samples:
    """The held-out images that are given, or the run's own."""
    if heldout is not None:
        return replace(read_images(heldout, own.shape[1:], "heldout"), which="as given")
    limits = ", as far as its own data tell" if division.elsewhere else ""
    return Samples(own, which=f"the run's own, never trained on{limits}")


def _divided(
    run: RunDir, config: TrainConfig, data_dir: str | None
) -> tuple[dict[str, Images], dict[str, np.ndarray], Division, str]:
    """Images and labels of the splits train and heldout of a run's data set, how it is divided, and its hash."""
    data = sources.load(
        config.dataset, data_dir or config.data_dir, image_size=config.image_size, channels=config.channels
    )
    run.check_data(data.sha256)
    division = divide(data, config, run.read_record().get("ancestors", []))
    labels = data.labels if config.conditional and data.labels is not None else np.zeros(len(data.images), np.int64)
    indices = {"train": division.trained, "heldout": division.unseen}
    return (
        {split: ImageView(data.images, rows) for split, rows in indices.items()},
        {split: labels[rows] for split, rows in indices.items()},
        division,
        data.sha256,
    )


def of_samples(
    samples: Source,
    *,
    dataset: str | None,
    train: Source | None,
    heldout: Source | None,
    num_heldout: int | None,
    data_dir: str | None,
    num_samples: int,
    trained: bool,
) -> AuditImages:
    """Anyone's samples, and what their generator was trained on: a named data set, or images. Unless `trained`, that
    may be left out, for known works will take its place."""
    if dataset is not None and train is not None:
        raise UserError("--dataset and --train both say what the generator was trained on: give one of them")
    if trained and dataset is None and train is None:
        raise UserError(
            "--samples needs the images that its generator was trained on, --dataset or --train, or known works to "
            "look for, --against"
        )
    if num_heldout is not None and (dataset is None or heldout is not None):
        raise UserError("--num_heldout divides --dataset; it does not go with --heldout, nor without --dataset")
    if data_dir is not None and dataset is None:
        raise UserError("--data_dir says where --dataset lies; it does not go without one")
    protocol: dict[str, Any] = {}
    if dataset is not None:
        size: dict[str, Any] = size_settings(samples, dataset)
        data = sources.load(dataset, data_dir, **size)
        parts = data.split(num_heldout or 0)
        given = Samples(ImageView(data.images, parts.training))
        theirs = Samples(ImageView(data.images, parts.heldout))
        source = f"kgan's choice of {num_heldout}, said to be unseen" if num_heldout else "none named"
        protocol |= {"dataset": dataset, "data_sha256": data.sha256}
    else:
        shape = image_shape(samples)
        nothing = Samples(np.zeros((0, *shape), np.uint8))
        given = nothing if train is None else read_images(train, shape, "train")
        theirs, source = nothing, "none named"
        protocol |= {} if train is None else {"dataset": name_of(train)}
    shape = given.images.shape[1:]
    drawn = read_samples(samples, shape, num_samples)
    if heldout is not None:
        theirs, source = read_images(heldout, shape, "heldout"), "as given"
    return AuditImages(
        samples=drawn.images,
        train=given.images,
        heldout=theirs.images,
        places=drawn.places,
        files=drawn.files,
        protocol={"samples": drawn.which, **protocol, "heldout": source},
        origin=Origin("", "", protocol.get("data_sha256", ""), "", False, {"kgan": kgan.__version__}),
        skipped=given.skipped + drawn.skipped + theirs.skipped,
    )


def against_works(images: AuditImages, works: Source) -> AuditImages:
    """The same samples and held-out images, with known works in the place of the training images."""
    known = read_images(works, images.train.shape[1:], "against")
    return replace(
        images,
        train=known.images,
        protocol=images.protocol | {"against": name_of(works)},
        passes_per_image=None,
        on_training=(),
        skipped=images.skipped + known.skipped,
    )
