"""A trained generator, read back from its run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.images import to_uint8
from kgan.latents import latents
from kgan.models.architectures import Shapes, build_generator
from kgan.training import checkpoint
from kgan.training.rundir import RunDir

BATCH = 100


@dataclass(frozen=True)
class TrainedGenerator:
    """`generator` is the Keras model in float32, `num_classes` 0 unless it takes labels, `step` the updates made.

    `checkpoint_sha256` identifies the weights it came from, and everything that was trained along with them.
    """

    config: TrainConfig
    generator: keras.Model
    num_classes: int
    step: int
    checkpoint_sha256: str
    record: dict

    def generate(self, n: int, seed: int = 0, labels: Sequence[int] | int | None = None) -> np.ndarray:
        """Images 0..n-1 of `seed`, uint8 (n, h, w, c).

        `labels` is one label for all, or one for each; a conditional generator takes the classes in turn without
        it. Image i of a seed is the same whatever n is. Raises UserError for labels that it does not take.
        """
        if n < 0:
            raise UserError(f"n={n}: must be at least 0")
        images = np.empty((n, *self.generator.output_shape[1:]), np.uint8)
        all_labels = self.labels_for(range(n), labels)
        for start in range(0, n, BATCH):
            indices = range(start, min(start + BATCH, n))
            z = latents(seed, indices, self.config.latent_dim)
            images[start : indices.stop] = self.decode(z, all_labels[start : indices.stop])
        return images

    def labels_for(self, indices: range, labels: Sequence[int] | int | None = None) -> np.ndarray:
        """int64 labels (n,) of the images with these indices; zeros for an unconditional generator."""
        if not self.num_classes:
            if labels is not None:
                raise UserError("this generator was trained without --conditional: it takes no labels")
            return np.zeros(len(indices), np.int64)
        chosen = np.asarray(indices) % self.num_classes if labels is None else np.broadcast_to(labels, len(indices))
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < self.num_classes):
            raise UserError(f"a label must be one of 0 to {self.num_classes - 1}")
        return chosen.astype(np.int64)

    def decode(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The images of up to 100 latents, float32 (n, latent_dim), as uint8 (n, h, w, c).

        The network always sees a full batch, so that the number of latents cannot change how it rounds.
        """
        missing = BATCH - len(z)
        padded = np.pad(z, ((0, missing), (0, 0))), np.pad(labels, (0, missing))
        return to_uint8(sample(self.generator, *padded)[: len(z)])


def load(run_dir: str | Path, checkpoint_name: str = "best", ema: bool = True) -> TrainedGenerator:
    """Reads the generator of a run, in float32: its best checkpoint if one was scored, else its last.

    `checkpoint_name` is "best" (as described), "last" or a step. With `ema`, the averaged weights if the run has
    them. Raises UserError if there is no such run or checkpoint.
    """
    run = RunDir.open(run_dir)
    config, record = run.read_config(), run.read_record()
    path = checkpoint.choose(run.checkpoints, checkpoint_name)
    arrays = checkpoint.read(path)
    num_classes = len(record["dataset"]["classes"]) if config.conditional else 0
    generator = build_generator(config, Shapes(config.image_size, config.channels, num_classes))
    part = "ema_generator" if ema and config.ema_decay else "generator"
    try:
        for variable in generator.variables:
            variable.assign(arrays[f"{part}/{variable.path}"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: does not hold the generator that config.json describes ({error})") from None
    return TrainedGenerator(config, generator, num_classes, int(arrays["step"]), checkpoint.sha256(arrays), record)


def sample(generator: keras.Model, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float32 images in [-1, 1] of latents (n, latent_dim) and labels (n,), ignored by an unconditional generator."""
    inputs = [tf.constant(z), tf.constant(labels)] if len(generator.inputs) == 2 else tf.constant(z)
    return _apply(generator)(inputs).numpy()


def _apply(generator: keras.Model):
    """The generator as a graph function, made once and kept with the model."""
    if not hasattr(generator, "kgan_apply"):
        generator.kgan_apply = tf.function(lambda inputs: generator(inputs, training=False), reduce_retracing=True)
    return generator.kgan_apply
