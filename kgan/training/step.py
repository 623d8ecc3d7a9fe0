"""One training step, and the graph function that makes many of them.

The number of replicas does not change the maths: every random number depends on the position in the global batch,
losses are summed and divided once by the global batch, and gradients are clipped when they are summed over replicas.
"""

import keras
import tensorflow as tf

from kgan.config import TrainConfig
from kgan.models.layers import update_spectral_norms
from kgan.models.random import RandomStream, dropout_from
from kgan.training.augmentation import augment, prepare_real
from kgan.training.objectives import build_objective, gradient_penalty, zero_centred_penalty
from kgan.training.state import State

METRICS = ("d_loss", "g_loss", "d_penalty", "d_real", "d_fake", "d_grad_norm", "g_grad_norm")


class TrainStep:
    """Advances `state` by `config.d_steps` discriminator updates and one generator update at a time.

    Call it with an iterator over `pipeline.step_batches` and a number of steps as a tensor. It returns float32
    (steps, len(METRICS)), one row a step: the two losses without penalties, the penalties, the mean logits of
    real and of generated images, and the gradient norms before clipping; and the seconds it waited for data, which
    are 0 with --deterministic. `traces` counts how often the graph was built: once, however many steps a call makes.
    """

    def __init__(
        self, config: TrainConfig, state: State, strategy: tf.distribute.Strategy, xla: bool, conditional: bool
    ):
        self.config, self.state, self.strategy, self.conditional = config, state, strategy, conditional
        self.objective = build_objective(config)
        self.traces = 0
        # TensorFlow refuses to read the clock where every operation must be deterministic.
        self._clock = (lambda: tf.zeros((), tf.float64)) if config.deterministic else tf.timestamp
        plain = tf.autograph.experimental.do_not_convert(self._step)
        self._one_step = tf.function(plain, jit_compile=True) if xla else plain

    @tf.function(reduce_retracing=True)
    def __call__(self, iterator, num_steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        self.traces += 1
        rows = tf.TensorArray(tf.float32, num_steps, element_shape=(len(METRICS),))
        waited = tf.zeros((), tf.float64)
        for i in tf.range(num_steps):
            asked = self._clock()
            batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
                waited += self._clock() - asked
            rows = rows.write(i, self._one_step(*batch))
        return rows.stack(), waited

    def _step(self, step, images, labels) -> tf.Tensor:
        config, state = self.config, self.state
        with self.strategy.scope():
            update_spectral_norms(state.generator)
        for critic_step in range(config.d_steps - 1):
            with self.strategy.scope():
                update_spectral_norms(state.discriminator)
            self.strategy.run(self._critic_step, (step, images, labels, critic_step))
        with self.strategy.scope():
            update_spectral_norms(state.discriminator)
        metrics = self.strategy.run(self._update_both, (step, images, labels))
        with self.strategy.scope():
            if state.ema_generator:
                self._update_average(state.ema_generator)
            state.step.assign_add(1)
        return tf.stack([self._from_any_replica(metrics[name]) for name in METRICS])

    def _critic_step(self, step, images, labels, critic_step) -> None:
        """One of the discriminator updates before the last: it has generated images of its own."""
        stream = self._stream(step).fold(f"critic {critic_step}")
        real = prepare_real(images[critic_step], stream, self.config.flip, self.config.dequantize)
        fake = self._generate(labels[critic_step], stream.fold("generate"))
        self._update_discriminator(step, real, fake, labels[critic_step], stream)

    def _update_both(self, step, images, labels) -> dict[str, tf.Tensor]:
        """The last discriminator update and the generator's, on the same generated images.

        The generator makes `g_batch_multiplier` images for each real one, next to each other and with its label,
        and the discriminator is given the first of each.
        """
        multiplier, labels, stream = self.config.g_batch_multiplier, labels[-1], self._stream(step)
        critic, generator = stream.fold(f"critic {self.config.d_steps - 1}"), stream.fold("generator")
        real = prepare_real(images[-1], critic, self.config.flip, self.config.dequantize)
        fake_labels = tf.repeat(labels, multiplier)
        with tf.GradientTape() as tape:
            fake = self._generate(fake_labels, generator.fold("generate"))
        metrics = self._update_discriminator(step, real, fake[::multiplier], labels, critic)
        return metrics | self._update_generator(tape, fake, fake_labels, real, labels, generator)

    def _update_discriminator(self, step, real, fake, labels, stream: RandomStream) -> dict[str, tf.Tensor]:
        every = self.config.penalty_every
        if every == 1:
            gradients, sums = self._discriminator_gradients(real, fake, labels, stream, 1.0)
        else:
            gradients, sums = tf.cond(
                step % every == 0,
                lambda: self._discriminator_gradients(real, fake, labels, stream, float(every)),
                lambda: self._discriminator_gradients(real, fake, labels, stream, 0.0),
            )
        norm, sums = self._apply(self.state.d_optimizer, gradients, self.state.discriminator.trainable_variables, sums)
        return dict(zip(("d_loss", "d_penalty", "d_real", "d_fake"), sums, strict=True)) | {"d_grad_norm": norm}

    def _discriminator_gradients(self, real, fake, labels, stream: RandomStream, penalty_weight: float):
        """The gradients of loss and penalties, and this replica's shares of the means of what is reported."""
        with tf.GradientTape() as tape:
            real_logits, fake_logits, penalties = self._scores(real, fake, labels, stream, penalty_weight)
            losses = self.objective.discriminator(real_logits, fake_logits)
            loss = self._mean(losses + penalties)
        gradients = tape.gradient(loss, self.state.discriminator.trainable_variables, unconnected_gradients="zero")
        return gradients, [self._mean(values) for values in (losses, penalties, real_logits, fake_logits)]

    def _update_generator(self, generation: tf.GradientTape, fake, fake_labels, real, labels, stream: RandomStream):
        """`generation` is the tape that recorded the making of `fake`: the images are not made twice."""
        variables, real_logits = self.state.generator.trainable_variables, None
        if self.objective.needs_real:
            real = self._augment(real, stream.fold("augment real"))
            real_logits = self._discriminate(real, labels, stream.fold("dropout real"))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(fake)
            images = self._augment(fake, stream.fold("augment"))
            fake_logits = self._discriminate(images, fake_labels, stream.fold("dropout"))
            loss = self._mean(self.objective.generator(fake_logits, real_logits))
        gradients = generation.gradient(fake, variables, output_gradients=tape.gradient(loss, fake))
        norm, (loss,) = self._apply(self.state.g_optimizer, gradients, variables, [loss])
        return {"g_loss": loss, "g_grad_norm": norm}

    def _stream(self, step) -> RandomStream:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return RandomStream.at(self.config.seed, step, replica, self.strategy.num_replicas_in_sync)

    def _generate(self, labels, stream: RandomStream) -> tf.Tensor:
        z = stream.fold("z").normal((labels.shape[0], self.config.latent_dim))
        with dropout_from(stream.fold("dropout")):
            return self.state.generator([z, labels] if self.conditional else z, training=True)

    def _discriminate(self, images, labels, stream: RandomStream) -> tf.Tensor:
        with dropout_from(stream):
            logits = self.state.discriminator([images, labels] if self.conditional else images, training=True)
        return tf.squeeze(logits, axis=1)

    def _augment(self, images, stream: RandomStream) -> tf.Tensor:
        return augment(self.config.augment, images, stream)

    def _scores(self, real, fake, labels, stream: RandomStream, penalty_weight: float):
        """The logits (b,) of real and of generated images, and the penalties (b,), `penalty_weight` times.

        R1 and R2 are taken on these very logits, at the images as they are before augmentation.
        """
        config = self.config
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([real, fake])
            seen_real = self._augment(real, stream.fold("augment real"))
            seen_fake = self._augment(fake, stream.fold("augment fake"))
            real_logits = self._discriminate(seen_real, labels, stream.fold("dropout real"))
            fake_logits = self._discriminate(seen_fake, labels, stream.fold("dropout fake"))
        penalties = tf.zeros_like(real_logits)
        if not penalty_weight:
            return real_logits, fake_logits, penalties
        wanted = [(config.r1_weight, real_logits, real), (config.r2_weight, fake_logits, fake)]
        wanted = [(weight, logits, images) for weight, logits, images in wanted if weight]
        gradients = tape.gradient([logits for _, logits, _ in wanted], [images for *_, images in wanted])
        for (weight, *_), gradient in zip(wanted, gradients, strict=True):
            penalties += weight * zero_centred_penalty(gradient)
        if config.gp_weight:
            score = lambda images: self._discriminate(images, labels, stream.fold("dropout gp"))  # noqa: E731
            mix = stream.fold("mix").uniform((real.shape[0], 1, 1, 1))
            penalties += config.gp_weight * gradient_penalty(score, seen_real, seen_fake, mix)
        return real_logits, fake_logits, penalty_weight * penalties

    def _mean(self, values) -> tf.Tensor:
        """This replica's share of the mean over the global batch."""
        return tf.reduce_sum(values) / (values.shape[0] * self.strategy.num_replicas_in_sync)

    def _apply(self, optimizer, gradients, variables, shares):
        """Updates `variables` with the gradients summed over replicas, then clipped: clipped before, they would depend
        on how many replicas there are. Returns the norm before clipping, and the sums of `shares` over replicas.
        """
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]  # an embedding's are sparse
        if self.strategy.num_replicas_in_sync > 1:
            context = tf.distribute.get_replica_context()
            gradients, shares = context.all_reduce(tf.distribute.ReduceOp.SUM, [gradients, shares])
        norm = tf.linalg.global_norm(gradients)
        if self.config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.clip_norm, norm)
        optimizer.apply(gradients, variables)
        return norm, shares

    def _from_any_replica(self, value) -> tf.Tensor:
        return self.strategy.experimental_local_results(value)[0]

    def _update_average(self, average: keras.Model) -> None:
        """The averaged weights move by a rate that starts high, so that short runs are not an average of noise.

        Batch-norm statistics are copied: an average of the weights' history wants today's statistics.
        """
        made = tf.cast(self.state.step, tf.float32)
        decay = tf.minimum(self.config.ema_decay, (1.0 + made) / (10.0 + made))
        live = self.state.generator
        for mean, weight in zip(average.trainable_variables, live.trainable_variables, strict=True):
            self._assign(mean, lambda mean, weight, decay: mean.assign(weight + decay * (mean - weight)), weight, decay)
        for mean, weight in zip(average.non_trainable_variables, live.non_trainable_variables, strict=True):
            self._assign(mean, lambda mean, weight: mean.assign(weight), weight)

    def _assign(self, variable: keras.Variable, update, weight: keras.Variable, *others) -> None:
        self.strategy.extended.update(variable.value, update, args=(weight.value, *others), group=False)
