"""What an evaluation compares: the samples of a run, or anyone's, and the real images to hold them against."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kgan.errors import UserError
from kgan.evaluation.reference import Reference, load_reference, reference_of_images
from kgan.progress import Counter
from kgan.runs import checkpoint as checkpoints
from kgan.runs.rundir import RunDir
from kgan.sampling.read import Source, image_shape, name_of, read_images, read_samples, size_settings


@dataclass(frozen=True)
class EvaluationImages:
    """Real images, and `num_sets` sets of samples: `available` in each, or None if they are made as needed.

    `draw(count, counter)` gives what the protocol says of the samples, and sets of `count` images, uint8 NHWC; sets
    that have to be made count their images. `skipped` has a line for each file that was passed over.
    """

    reference: Reference
    available: int | None
    draw: Callable[[int, Counter], tuple[dict[str, Any], Iterable[np.ndarray]]]
    num_sets: int = 1
    skipped: tuple[str, ...] = ()


def of_run(
    run: RunDir, *, reference: str, data_dir: str | None, seeds: range, checkpoint: str | int, ema: bool
) -> EvaluationImages:
    """A set of samples of a run for each seed, against images of its own data set."""
    config = run.read_config()
    checkpoints.find(run.checkpoints, str(checkpoint))
    real = load_reference(
        config.dataset,
        reference,
        data_dir=data_dir,
        image_size=config.image_size,
        channels=config.channels,
        num_heldout=config.num_heldout,
        num_train=config.num_train,
    )
    run.check_data(real.data_sha256)

    def draw(count: int, counter: Counter) -> tuple[dict[str, Any], Iterator[np.ndarray]]:
        from kgan.runs import generator

        trained = generator.load(run.path, checkpoint, ema)
        labels = trained.labels_in_proportion(count)
        about = {
            "samples": f"images 0 to {count - 1} of each seed{trained.said_of_labels}",
            "run_id": trained.record.get("id"),
            "checkpoint_sha256": trained.checkpoint_sha256,
            "step": trained.step,
            "ema": trained.ema,
            "seeds": list(seeds),
        }
        return about, (trained.generate(count, seed, labels, progress=counter.stage(count)) for seed in seeds)

    return EvaluationImages(real, None, draw, len(seeds))


def of_samples(
    samples: Source,
    *,
    dataset: str | None,
    train: Source | None,
    reference: str,
    data_dir: str | None,
    num_heldout: int | None,
    num_samples: int,
) -> EvaluationImages:
    """Anyone's samples, against a named data set or the images of `train`."""
    if (dataset is None) == (train is None):
        raise UserError("--samples needs --dataset or --train, one of them: the real images to hold them against")
    skipped: tuple[str, ...] = ()
    if train is not None:
        if num_heldout is not None or reference != "train":
            raise UserError("--num_heldout and --reference divide --dataset; they do not go with --train")
        given = read_images(train, image_shape(samples), "train")
        real, skipped = reference_of_images(given.images, name_of(train)), given.skipped
    else:
        size: dict[str, Any] = size_settings(samples, str(dataset))
        real = load_reference(str(dataset), reference, data_dir=data_dir, num_heldout=num_heldout, **size)
    drawn = read_samples(samples, real.image_shape, real.largest_comparison(num_samples))

    def draw(count: int, counter: Counter) -> tuple[dict[str, Any], list[np.ndarray]]:
        assert count == len(drawn.images)
        return {"samples": drawn.which}, [drawn.images[:]]

    return EvaluationImages(real, len(drawn.images), draw, skipped=skipped + drawn.skipped)
