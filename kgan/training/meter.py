"""What is measured between log lines: means of the training metrics, and what held-out images are rated."""

import functools
import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kgan.models.architectures import inputs_of
from kgan.models.random import RandomStream
from kgan.steps.augmentation import prepare_real
from kgan.training.plan import Plan

_SHARE, _LEAST, _MOST = 20, 8, 128


class Meter:
    """Means of the metrics since the last log line. They are in the checkpoint, so that a resumed run logs the same."""

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self._sums, self._count = np.zeros(len(self.names)), 0

    def add(self, rows: np.ndarray) -> None:
        """Takes rows (steps, len(names)), one for each step."""
        for row in rows:  # one by one: a sum over several rows would round by how the calls fell
            self._sums += row.astype(np.float64)
        self._count += len(rows)

    def read_and_reset(self) -> dict[str, float]:
        """The mean of each metric since the last call; nan before there is a row."""
        means = self._sums / self._count if self._count else np.full(len(self.names), np.nan)
        self._sums, self._count = np.zeros(len(self.names)), 0
        return dict(zip(self.names, means.tolist(), strict=True))

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"meter/sums": self._sums.copy(), "meter/count": np.array(self._count)}

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Raises KeyError or ValueError if they are not what `to_arrays` gave."""
        sums, count = arrays["meter/sums"], arrays["meter/count"]
        if sums.shape != (len(self.names),) or count.shape != () or count.dtype.kind != "i" or count < 0:
            raise ValueError("the sums since the last log line are not of these metrics")
        self._sums, self._count = sums.astype(np.float64), int(count)


class HeldoutMeter:
    """Rates held-out images between steps, as many as a twentieth of those trained on since the last log line (8 to
    128).

    Which images is a matter of the run's seed and the step alone, and nothing of the state is changed.
    """

    def __init__(self, plan: Plan, discriminator: keras.Model):
        self.plan, self.discriminator = plan, discriminator
        config = plan.config
        trained_on = (config.log_every or 1) * config.batch_size * config.d_steps
        self._count = min(len(plan.heldout), len(plan.training), int(np.clip(trained_on // _SHARE, _LEAST, _MOST)))
        # Partial for the reason that `TrainStep` gives.
        self._traced_gap = tf.function(functools.partial(self._gap), reduce_retracing=True)

    def measure(self, step: int, means: Mapping[str, float]) -> dict[str, float]:
        """`d_heldout`, the mean logit of held-out images on the footing of `d_real` in the same log line.

        It is `d_real`, a mean over many steps with dropout and augmentation, less what the discriminator now makes of
        training images over held-out ones, both as they are. {} where there are no held-out images.
        """
        if not self._count:
            return {}
        random = np.random.default_rng([self.plan.config.seed, step])
        rows = [np.sort(random.choice(part, self._count, False)) for part in (self.plan.training, self.plan.heldout)]
        chosen, labels = np.concatenate(rows), self.plan.data.labels
        classes = np.zeros(len(chosen), np.int64) if labels is None else labels[chosen]
        gap = float(self._traced_gap(tf.constant(self.plan.data.images[chosen]), tf.constant(classes)))
        return {"d_heldout": means["d_real"] - gap} if math.isfinite(gap) else {}

    def _gap(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """How much higher the first half is rated than the second."""
        prepared = prepare_real(images, RandomStream.at(0, tf.constant(0)), flip=False, dequantize=False)
        logits = self.discriminator(inputs_of(self.discriminator, prepared, labels), training=False)
        seen, unseen = tf.split(logits, 2)
        return tf.reduce_mean(seen) - tf.reduce_mean(unseen)
