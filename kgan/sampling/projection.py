"""Latents whose images come nearest to given ones, by gradient descent through the generator."""

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kgan.files import write_atomically
from kgan.images import to_float
from kgan.latents import latents
from kgan.models.architectures import inputs_of
from kgan.progress import Progress
from kgan.runs import environment
from kgan.runs.generator import BATCH, TrainedGenerator

LEARNING_RATE = 0.05
STARTS, STEPS = 16, 400


@dataclass(frozen=True)
class Projection:
    """The latent `z` (latent_dim numbers) and label, None without classes, whose image is nearest to a given one.

    `mean_squared_error` is a pixel value's, with images in [-1, 1].
    """

    z: tuple[float, ...]
    label: int | None
    mean_squared_error: float
    run_id: str
    checkpoint_sha256: str
    ema: bool

    def save(self, path: Path) -> None:
        """Writes the record as JSON; `np.array([record["z"]], "float32")` gives `generate` the latent back."""
        write_atomically(path, (json.dumps(asdict(self), indent=1) + "\n").encode("ascii"))


def project(
    trained: TrainedGenerator, image: np.ndarray, label: int | None = None, progress: Progress | None = None
) -> Projection:
    """The nearest latent to one uint8 image (h, w, c), of 400 steps from 16 draws for each class, or for `label`."""
    classes = range(trained.num_classes or 1) if label is None else [label]
    starts = np.tile(latents(0, range(STARTS), trained.config.latent_dim), (len(classes), 1))
    labels = np.repeat(np.array(classes, np.int64), STARTS)
    targets = np.broadcast_to(image, (len(starts), *image.shape))
    z, errors = descend(trained, starts, targets, labels, STEPS, progress)
    best = int(errors.argmin())
    return Projection(
        z=tuple(z[best].tolist()),
        label=int(labels[best]) if trained.num_classes else None,
        mean_squared_error=float(errors[best]),
        run_id=trained.record.get("id", ""),
        checkpoint_sha256=trained.checkpoint_sha256,
        ema=trained.ema,
    )


@environment.full_float32()
def descend(
    trained: TrainedGenerator,
    starts: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    steps: int,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Moves every latent (n, latent_dim) towards its uint8 image (n, h, w, c), by Adam.

    Returns, of each, the latent (float32) with the smallest mean squared error on the way, and that error (n,)
    float64. A conditional generator is given the labels (n,).
    """
    best, errors = starts.copy(), np.full(len(starts), np.inf)
    blocks = [slice(first, first + BATCH) for first in range(0, len(starts), BATCH)]
    for number, block in enumerate(blocks):
        z = tf.Variable(starts[block])
        step = _descent_step(trained, z, tf.constant(to_float(images[block])), tf.constant(labels[block]))
        for done in range(steps):
            before = z.numpy()
            now = step().numpy()
            better = now < errors[block]
            best[block][better], errors[block][better] = before[better], now[better]
            if progress:
                progress(number * steps + done + 1, steps * len(blocks))
    return best, errors


def _descent_step(trained: TrainedGenerator, z: tf.Variable, targets: tf.Tensor, labels: tf.Tensor) -> Callable:
    """A function that moves every row of `z` one step of Adam and returns the errors (n,) from before."""
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    optimizer.build([z])
    # a partial function is new to TensorFlow each time: of a nested one it would say that it is traced too often
    return tf.function(functools.partial(_descend_once, trained, optimizer, z, targets, labels))


def _descend_once(trained: TrainedGenerator, optimizer, z: tf.Variable, targets, labels) -> tf.Tensor:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(z)
        made = trained.generator(inputs_of(trained.generator, z, labels), training=False)
        errors = tf.reduce_mean(tf.square(made - targets), axis=[1, 2, 3])
        total = tf.reduce_sum(errors)
    optimizer.apply([tape.gradient(total, z)], [z])
    return errors
