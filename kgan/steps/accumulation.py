"""The training step in less memory: each batch in parts, whose gradients are summed before an update (--accumulate)."""

from collections.abc import Callable
from dataclasses import replace

import tensorflow as tf

from kgan.config import TrainConfig
from kgan.models.random import RandomStream
from kgan.steps.state import State
from kgan.steps.step import TrainStep


def build_step(config: TrainConfig, state: State, strategy: tf.distribute.Strategy, xla: bool) -> TrainStep:
    """The step that `config` asks for: whole batches, or parts one after the other."""
    kind = AccumulatedStep if config.accumulate > 1 else TrainStep
    return kind(config, state, strategy, xla=xla)


class AccumulatedStep(TrainStep):
    """A `TrainStep` that computes each batch in `config.accumulate` equal parts.

    Part p of R replicas is rows p*b..(p+1)*b of the global batch, and replica r has the r-th of R equal shares of it
    (see `pipeline.step_batches`): random numbers are those of the whole batch, and batch norm sees the same images
    however many replicas there are. The generator's update makes its images again, from the same latents, because all
    parts must have updated the discriminator before. The parts are a loop of the graph's: unrolled, they could run side
    by side, and XLA would keep what two of its passes have in common.
    """

    def _train_critic(self, step, images, labels, critic_step: int) -> None:
        def gradients(step, images, labels, stream):
            batch = self.gradients.critic_batch(images, labels, stream, critic_step)
            return self.gradients.of_discriminator(step, batch)

        self._train_discriminator(gradients, critic_step, step, images, labels)

    def _train_both(self, step, images, labels) -> dict[str, tf.Tensor]:
        last = self.config.d_steps - 1

        def d_gradients(step, images, labels, stream):
            batch, _ = self.gradients.last_batches(images, labels, stream)
            return self.gradients.of_discriminator(step, batch)

        def g_gradients(step, images, labels, stream):
            _, generated = self.gradients.last_batches(images, labels, stream)
            return self.gradients.of_generator(generated)

        metrics = self._train_discriminator(d_gradients, last, step, images, labels)
        total = self._total(g_gradients, self.state.generator, 1, last, step, images, labels)
        return metrics | self.strategy.run(self._update_generator, total)

    def _train_discriminator(self, gradients: Callable, critic_step: int, step, images, labels) -> dict[str, tf.Tensor]:
        total = self._total(gradients, self.state.discriminator, 4, critic_step, step, images, labels)
        return self.strategy.run(self._update_discriminator, total)

    def _total(self, gradients: Callable, network, num_means: int, critic_step: int, step, images, labels):
        """What `gradients(step, images, labels, stream)` returns at each part of a critic step's batch, summed, on each
        replica: the gradients of `network` and `num_means` scalars."""

        def zeros():
            return [tf.zeros(variable.shape) for variable in network.trainable_variables], [tf.zeros(())] * num_means

        def add(total, part, step, images, labels):
            rows = (self._rows(values[critic_step], part) for values in (images, labels))
            return tf.nest.map_structure(tf.add, total, gradients(step, *rows, self._stream_of(step, part)))

        def add_everywhere(part, total):
            return part + 1, self.strategy.run(add, (total, part, step, images, labels))

        start = tf.constant(0), self.strategy.run(zeros)
        is_left = lambda part, _: part < self.config.accumulate  # noqa: E731
        _, total = tf.while_loop(is_left, add_everywhere, start, parallel_iterations=1)
        return total

    def _stream_of(self, step, part: tf.Tensor) -> RandomStream:
        stream = self._stream(step)
        share = part * stream.num_shares + stream.share
        return replace(stream, share=share, num_shares=self.gradients.num_shares)

    def _rows(self, values: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
        """The rows (b / parts, ...) of `values` (b, ...) that belong to a part."""
        parts = self.config.accumulate
        return tf.reshape(values, (parts, values.shape[0] // parts, *values.shape[1:]))[part]
