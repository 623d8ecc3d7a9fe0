"""A trained generator, read back from its run folder."""

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.images import to_uint8
from kgan.latents import latents
from kgan.progress import Progress
from kgan.runs import checkpoint as checkpoints
from kgan.runs import environment
from kgan.runs.rundir import RunDir
from kgan.text import one_line

if TYPE_CHECKING:
    import keras

BATCH = 100
Labels = Sequence[int | str] | np.ndarray | int | str


@dataclass(frozen=True)
class TrainedGenerator:
    """`generator` is the Keras model in float32, `num_classes` 0 unless it takes labels, `step` the updates made.

    `checkpoint_sha256` identifies the weights it came from, and everything that was trained along with them; `ema`
    says whether `generator` has the averaged ones.
    """

    config: TrainConfig
    generator: "keras.Model"
    num_classes: int
    step: int
    checkpoint_sha256: str
    record: dict
    ema: bool

    def generate(
        self,
        n: int | None = None,
        seed: int = 0,
        labels: Labels | None = None,
        *,
        truncation: float | None = None,
        z: np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Images 0..n-1 of `seed`, or those of the latents `z` (n, latent_dim), as uint8 (n, h, w, c).

        `labels` is one label for all, or one for each: numbers or names of classes. A conditional generator takes the
        classes in turn without it. Image i of a seed is the same whatever n is. `truncation` redraws the parts of
        its latent that are further from 0 than this. `progress(done, n)` is called after each batch. Raises UserError
        for an n, latents or labels that it does not take.
        """
        if (n is None) == (z is None):
            raise UserError("give either n, the number of images, or z, their latents")
        z = None if z is None else self._checked_latents(z)
        num = _checked_count(n) if z is None else len(z)
        images = np.empty((num, *self.generator.output_shape[1:]), np.uint8)
        all_labels = self.labels_for(range(num), labels)
        for start in range(0, num, BATCH):
            indices = range(start, min(start + BATCH, num))
            rows = slice(start, indices.stop)
            batch = latents(seed, indices, self.config.latent_dim, truncation) if z is None else z[rows]
            images[rows] = self.decode(batch, all_labels[rows])
            if progress:
                progress(indices.stop, num)
        return images

    def _checked_latents(self, z: object) -> np.ndarray:
        """`z` as float32 (n, latent_dim). Raises UserError."""
        wanted = f"must be finite numbers (n, {self.config.latent_dim})"
        try:
            rows = np.asarray(z, np.float32)
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"z: {wanted}") from None
        if rows.ndim != 2 or rows.shape[1] != self.config.latent_dim or not np.isfinite(rows).all():
            raise UserError(f"z of shape {rows.shape}: {wanted}")
        return rows

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in the order of the labels; none where the generator takes no labels."""
        return list(self.record["dataset"]["classes"]) if self.num_classes else []

    def labels_for(self, indices: range | np.ndarray, labels: Labels | None = None) -> np.ndarray:
        """int64 labels (n,) of the images with these indices; zeros for an unconditional generator.

        Raises UserError for labels that it does not take.
        """
        if not self.num_classes:
            if labels is not None:
                raise UserError("this generator was trained without labels: it takes none")
            return np.zeros(len(indices), np.int64)
        if labels is None:
            return np.asarray(indices, np.int64) % self.num_classes
        several = isinstance(labels, list | tuple) or (not isinstance(labels, str) and np.ndim(labels) > 0)
        items: Sequence = labels if several else [labels]  # type: ignore[assignment]
        numbers = np.array([class_number(item, self.class_names) for item in items], np.int64)
        try:
            return np.broadcast_to(numbers, len(indices)).copy()
        except ValueError:
            raise UserError(f"there must be one label, or one for each of {len(indices)} images") from None

    def labels_in_proportion(self, n: int) -> np.ndarray | None:
        """Labels for n images that are to be held against real ones, int64 (n,): each class as often as the data set
        has it, as in training; None where the generator takes no labels."""
        return in_proportion(list(self.record["dataset"]["classes"].values()), n) if self.num_classes else None

    @property
    def said_of_labels(self) -> str:
        """What a protocol adds to the number of images with `labels_in_proportion`."""
        return ", classes in the data set's proportions" if self.num_classes else ""

    def decode(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The images of latents, float32 (n, latent_dim), with their labels (n,), as uint8 (n, h, w, c).

        The network always sees a full batch, latent i in row i % 100, so that the number of latents cannot change how
        it rounds.
        """
        images = np.empty((len(z), *self.generator.output_shape[1:]), np.uint8)
        for start in range(0, len(z), BATCH):
            rows = slice(start, start + BATCH)
            missing = (0, BATCH - len(z[rows]))
            made = sample(self.generator, np.pad(z[rows], (missing, (0, 0))), np.pad(labels[rows], missing))
            images[rows] = to_uint8(made[: len(z[rows])])
        return images


def in_proportion(counts: Sequence[int], n: int) -> np.ndarray:
    """n numbers of classes, int64 (n,), of which any first few have class c about counts[c] times in sum(counts): the
    classes in turn where all counts are equal, and those with a count of 0 never."""
    sizes = np.maximum(np.asarray(counts, np.float64), 0)
    if not sizes.any():
        sizes = np.ones(len(sizes))
    turns = np.where(sizes > 0, np.ceil(n * sizes / sizes.sum()) + 1, 0).astype(np.int64)
    classes = np.repeat(np.arange(len(sizes)), turns)
    due = np.concatenate([np.arange(count) + 0.5 for count in turns]) / sizes[classes]
    return classes[np.argsort(due, kind="stable")[:n]]


def _checked_count(n: object) -> int:
    if isinstance(n, bool | np.bool_) or not isinstance(n, int | np.integer) or n < 0:
        raise UserError(f"n={one_line(n)}: must be a whole number from 0")
    return int(n)


def class_number(label: int | str, class_names: Sequence[str]) -> int:
    """The label of a class that is given by its number or its name; a name counts first. Raises UserError."""
    if isinstance(label, str) and label in class_names:
        return class_names.index(label)
    try:
        number = int(label)
        is_label = (isinstance(label, str) or number == label) and 0 <= number < len(class_names)
    except (TypeError, ValueError, OverflowError):
        is_label = False
    if not is_label:
        are_numbers = list(class_names) == [str(number) for number in range(len(class_names))]
        names = "" if are_numbers else f", or of {one_line(', '.join(class_names))}"
        raise UserError(f"--label={one_line(label)}: a label must be one of 0 to {len(class_names) - 1}{names}")
    return number


def load(run: str | os.PathLike, checkpoint: str | int = "best", ema: bool = True) -> TrainedGenerator:
    """Reads the generator of a run folder, in float32.

    `checkpoint` is "best" (the one with the best score, the last one if none was scored), "last" or a step. With
    `ema`, the averaged weights if the run has them. Raises UserError if there is no such run or checkpoint, or its
    files are damaged.
    """
    folder = RunDir.open(run)
    config, record = folder.read_config(), folder.read_record()
    path = checkpoints.find(folder.checkpoints, str(checkpoint))
    arrays = checkpoints.read(path)
    environment.import_tensorflow()
    try:
        return from_arrays(config, record, arrays, ema)
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: does not hold the generator that config.json describes ({error})") from None


def from_arrays(
    config: TrainConfig,
    record: dict,
    arrays: Mapping[str, np.ndarray],
    ema: bool = True,
    network: "keras.Model | None" = None,
    checkpoint_sha256: str | None = None,
) -> TrainedGenerator:
    """The generator of a checkpoint's arrays, in float32.

    `network`, that of an earlier one of the same run, is given these weights; `checkpoint_sha256` saves hashing the
    arrays. Raises KeyError or ValueError if the arrays are not those of the networks that `config` describes.
    """
    from kgan.models.architectures import Shapes, build_generator

    if config.image_size is None or config.channels is None:
        raise ValueError("config.json does not say the images' size")
    num_classes = len(record["dataset"]["classes"]) if config.conditional else 0
    network = network or build_generator(config, Shapes(config.image_size, config.channels, num_classes))
    ema = ema and bool(config.ema_decay)
    for variable in network.variables:
        variable.assign(arrays[f"{'ema_generator' if ema else 'generator'}/{variable.path}"])
    sha256 = checkpoints.sha256(arrays) if checkpoint_sha256 is None else checkpoint_sha256
    return TrainedGenerator(config, network, num_classes, int(arrays["step"]), sha256, record, ema)


def sample(generator: "keras.Model", z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float32 images in [-1, 1] of latents (n, latent_dim) and labels (n,), ignored by an unconditional generator."""
    import tensorflow as tf

    from kgan.models.architectures import inputs_of

    with environment.full_float32():
        return _apply(generator)(inputs_of(generator, tf.constant(z), tf.constant(labels))).numpy()


def _apply(generator: "keras.Model"):
    """The generator as a graph function, made once and kept with the model.

    TensorFlow counts tracings by the code that is traced: a lambda here would be one for all generators of a process,
    and warned of as traced too often.
    """
    import tensorflow as tf

    if not hasattr(generator, "kgan_apply"):
        generator.kgan_apply = tf.function(functools.partial(generator, training=False), reduce_retracing=True)
    return generator.kgan_apply
