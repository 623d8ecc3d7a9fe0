"""Does the discriminator know its training images by heart? What it makes of images it never saw tells.

Once it does, its gradients lead the generator to those images alone (Karras et al. 2020, arXiv:2006.06676).
"""

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf

from kgan.models.random import RandomStream
from kgan.steps.augmentation import prepare_real
from kgan.training.plan import Plan

WINDOW = 10
"""Log lines over which the ratio is taken: a single one has the logits of few images."""
THRESHOLD = 0.5
_STANDARD_ERRORS = 4
_SHARE, _LEAST, _MOST = 20, 8, 128


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
        gap = float(self._gap(tf.constant(self.plan.data.images[chosen]), tf.constant(classes)))
        return {"d_heldout": means["d_real"] - gap} if math.isfinite(gap) else {}

    @tf.function(reduce_retracing=True)
    def _gap(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """How much higher the first half is rated than the second."""
        prepared = prepare_real(images, RandomStream.at(0, tf.constant(0)), flip=False, dequantize=False)
        inputs = [prepared, labels] if len(self.discriminator.inputs) > 1 else prepared
        seen, unseen = tf.split(self.discriminator(inputs, training=False), 2)
        return tf.reduce_mean(seen) - tf.reduce_mean(unseen)


class OverfittingWatch:
    """Follows the log lines, those of a resumed run from its start, for the moment at which the gap opens."""

    def __init__(self, lines: Iterable[Mapping] = ()):
        self._lines: deque[Mapping] = deque(maxlen=WINDOW)
        self._opened = False
        for line in lines:
            self.follow(line)

    def follow(self, line: Mapping) -> float | None:
        """The ratio r_v of Karras et al. over the last WINDOW lines, the first time that it is above THRESHOLD.

        It is 0 where held-out images are rated like training images, and 1 where they are rated like generated ones.
        A gap that is not several times its standard error is none.
        """
        if self._opened or "d_heldout" not in line:
            return None
        self._lines.append(line)
        if len(self._lines) < WINDOW:
            return None
        gaps = [line["d_real"] - line["d_heldout"] for line in self._lines]
        whole = sum(line["d_real"] - line["d_fake"] for line in self._lines)
        error = statistics.stdev(gaps) / math.sqrt(WINDOW)
        self._opened = sum(gaps) > THRESHOLD * whole > 0 and statistics.mean(gaps) > _STANDARD_ERRORS * error
        return sum(gaps) / whole if self._opened else None


def advice(ratio: float, is_augmented: bool, run: object) -> str:
    """What to say once the gap is open."""
    remedy = "more images or fewer steps" if is_augmented else "--augment=diffaug, more images or fewer steps"
    return (
        f"the discriminator rates held-out images more like generated than like training images (r_v {ratio:.2f}): it "
        f"knows its training images by heart. {remedy} would help; kgan audit {run} says whether it copies them"
    )
