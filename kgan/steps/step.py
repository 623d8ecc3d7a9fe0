"""One training step, and the graph function that makes many of them.

The number of replicas does not change the maths: every random number depends on the position in the global batch,
losses are summed and divided once by the global batch, and gradients are clipped when they are summed over replicas.
"""

import functools

import keras
import tensorflow as tf

from kgan.config import TrainConfig
from kgan.models.layers import update_spectral_norms
from kgan.models.random import RandomStream
from kgan.steps.gradients import Gradients
from kgan.steps.state import State

METRICS = ("d_loss", "g_loss", "d_penalty", "d_real", "d_fake", "d_grad_norm", "g_grad_norm")


class TrainStep:
    """Advances `state` by `config.d_steps` discriminator updates and one generator update at a time.

    Call it with an iterator over `pipeline.step_batches` and a number of steps as a tensor. It returns float32
    (steps, len(METRICS)), one row a step: the two losses without penalties, the penalties, the mean logits of
    real and of generated images, and the gradient norms before clipping; and the seconds it waited for data, which
    are 0 with --deterministic. `traces` counts how often the graph was built: once, however many steps a call makes.
    """

    def __init__(self, config: TrainConfig, state: State, strategy: tf.distribute.Strategy, xla: bool):
        self.config, self.state, self.strategy = config, state, strategy
        num_shares = config.accumulate * strategy.num_replicas_in_sync
        self.gradients = Gradients(config, state, num_shares)
        self.traces = 0
        self._clock = tf.timestamp if _may_read_the_clock() else lambda: tf.zeros((), tf.float64)
        plain = tf.autograph.experimental.do_not_convert(self._step)
        # Partial: TensorFlow counts tracings by the code that is traced, and would warn of those of several trainings.
        self._one_step = tf.function(functools.partial(plain), jit_compile=True) if xla else plain
        self._several = tf.function(functools.partial(self._steps), reduce_retracing=True)

    def __call__(self, iterator, num_steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._several(iterator, num_steps)

    def _steps(self, iterator, num_steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        self.traces += 1
        rows = tf.TensorArray(tf.float32, num_steps, element_shape=(len(METRICS),))
        waited = tf.zeros((), tf.float64)
        for i in tf.range(num_steps):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            asked = self._clock()
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
                came = self._clock()
            if self.strategy.num_replicas_in_sync == 1:  # identities of several would lie on the first device
                with tf.control_dependencies([came]):  # else the step may be made before the clock is read
                    batch = tf.nest.map_structure(tf.identity, batch)
            waited += came - asked
            rows = rows.write(i, self._one_step(*batch))
        return rows.stack(), waited

    def _step(self, step, images, labels) -> tf.Tensor:
        config, state = self.config, self.state
        with self.strategy.scope():
            update_spectral_norms(state.generator)  # none of ours has any; an added one may, as SAGAN's
        for critic_step in range(config.d_steps - 1):
            with self.strategy.scope():
                update_spectral_norms(state.discriminator)
            self._train_critic(step, images, labels, critic_step)
        with self.strategy.scope():
            update_spectral_norms(state.discriminator)
        metrics = self._train_both(step, images, labels)
        with self.strategy.scope():
            if state.ema_generator:
                self._update_average(state.ema_generator)
            state.step.assign_add(1)
        return tf.stack([self._from_any_replica(metrics[name]) for name in METRICS])

    def _train_critic(self, step, images, labels, critic_step: int) -> None:
        """One of the discriminator updates before the last."""

        def update(step, images, labels):
            batch = self.gradients.critic_batch(
                images[critic_step], labels[critic_step], self._stream(step), critic_step
            )
            self._update_discriminator(*self.gradients.of_discriminator(step, batch))

        self.strategy.run(update, (step, images, labels))

    def _train_both(self, step, images, labels) -> dict[str, tf.Tensor]:
        """The last discriminator update and the generator's, on the same generated images."""

        def update(step, images, labels):
            batch, generated = self.gradients.last_batches(images[-1], labels[-1], self._stream(step))
            metrics = self._update_discriminator(*self.gradients.of_discriminator(step, batch))
            return metrics | self._update_generator(*self.gradients.of_generator(generated))

        return self.strategy.run(update, (step, images, labels))

    def _stream(self, step) -> RandomStream:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return RandomStream.at(self.config.seed, step, replica, self.strategy.num_replicas_in_sync)

    def _update_discriminator(self, gradients, means) -> dict[str, tf.Tensor]:
        variables = self.state.discriminator.trainable_variables
        norm, means = self._apply(self.state.d_optimizer, gradients, variables, means)
        return dict(zip(("d_loss", "d_penalty", "d_real", "d_fake"), means, strict=True)) | {"d_grad_norm": norm}

    def _update_generator(self, gradients, means) -> dict[str, tf.Tensor]:
        norm, (loss,) = self._apply(self.state.g_optimizer, gradients, self.state.generator.trainable_variables, means)
        return {"g_loss": loss, "g_grad_norm": norm}

    def _apply(self, optimizer, gradients, variables, means):
        """Updates `variables` with the gradients summed over replicas, then clipped: clipped before, they would depend
        on how many replicas there are. Returns the norm before clipping, and `means` summed over replicas.
        """
        if self.strategy.num_replicas_in_sync > 1:
            context = tf.distribute.get_replica_context()
            gradients, means = context.all_reduce(tf.distribute.ReduceOp.SUM, [gradients, means])
        norm = tf.linalg.global_norm(gradients)
        if self.config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.clip_norm, norm)
        optimizer.apply(gradients, variables)
        return norm, means

    def _from_any_replica(self, value) -> tf.Tensor:
        return self.strategy.experimental_local_results(value)[0]

    def _update_average(self, average: keras.Model) -> None:
        """The averaged weights move by a rate that starts high, so that short runs are not an average of noise.

        Batch-norm statistics are left: where averages are used they get their own (training/averages.py).
        """
        made = tf.cast(self.state.step, tf.float32)
        decay = tf.minimum(self.config.ema_decay, (1.0 + made) / (10.0 + made))
        for mean, live in zip(average.trainable_variables, self.state.generator.trainable_variables, strict=True):
            self.strategy.extended.update(
                mean.value,
                lambda mean, live, decay: mean.assign(live + decay * (mean - live)),
                args=(live.value, decay),
                group=False,
            )
        update_spectral_norms(average)


def _may_read_the_clock() -> bool:
    """TensorFlow refuses where every operation must be deterministic, for as long as the process lives."""
    try:
        tf.timestamp()
    except tf.errors.OpError:
        return False
    return True
