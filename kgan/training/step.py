"""One training step, and the graph function that makes many of them.

The number of replicas does not change the maths: every draw depends on the position in the global batch, losses are
summed and divided once by the global batch, and gradients are clipped when they are summed over replicas.
"""

import keras
import tensorflow as tf

from kgan.config import TrainConfig
from kgan.models.draws import Draws, dropout_from
from kgan.models.layers import update_spectral_norms
from kgan.training.augmentation import diffaug, prepare_real
from kgan.training.objectives import OBJECTIVES, gradient_penalty, r1_penalty
from kgan.training.state import State

METRICS = ("d_loss", "g_loss", "d_penalty", "d_real", "d_fake", "d_grad_norm", "g_grad_norm")


class TrainStep:
    """Calls `state` through `config.d_steps` discriminator updates and one generator update at a time.

    Call it with an iterator over `pipeline.step_batches` and a number of steps as a tensor. It returns float32
    (steps, len(METRICS)), one row a step: the two losses without penalties, the penalties, the mean logits of
    real and of generated images, and the gradient norms before clipping; and the seconds it waited for data, which
    are 0 with --deterministic. `traces` counts how often the graph was built: once, however many steps a call makes.
    """

    def __init__(
        self, config: TrainConfig, state: State, strategy: tf.distribute.Strategy, xla: bool, conditional: bool
    ):
        self.config, self.state, self.strategy, self.conditional = config, state, strategy, conditional
        self.objective = OBJECTIVES[config.loss]()
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
        for critic_step in range(config.d_steps):
            with self.strategy.scope():
                update_spectral_norms(state.discriminator)
            d_metrics = self.strategy.run(self._update_discriminator, (step, images, labels, critic_step))
        g_metrics = self.strategy.run(self._update_generator, (step, labels))
        with self.strategy.scope():
            if state.ema_generator:
                self._update_average()
            state.step.assign_add(1)
        metrics = {name: self._from_any_replica(value) for name, value in (d_metrics | g_metrics).items()}
        return tf.stack([metrics[name] for name in METRICS])

    def _update_discriminator(self, step, images, labels, critic_step):
        config, state = self.config, self.state
        draws = self._draws(step).fold(f"critic {critic_step}")
        images, labels = images[critic_step], labels[critic_step]
        real = prepare_real(images, draws, config.flip, config.dequantize)
        fake = self._generate(draws.fold("z"), labels)
        real, fake = self._augment(real, draws.fold("augment real")), self._augment(fake, draws.fold("augment fake"))
        with tf.GradientTape() as tape:
            real_logits = self._discriminate(real, labels, draws.fold("dropout real"))
            fake_logits = self._discriminate(fake, labels, draws.fold("dropout fake"))
            losses = self.objective.real(real_logits, 1.0 - config.label_smoothing) + self.objective.fake(fake_logits)
            penalties = self._penalties(real, fake, labels, draws)
            loss = self._mean(losses + penalties)
        gradients = tape.gradient(loss, state.discriminator.trainable_variables)
        sums = [self._mean(values) for values in (losses, penalties, real_logits, fake_logits)]
        norm, sums = self._apply(state.d_optimizer, gradients, state.discriminator.trainable_variables, sums)
        names = ("d_loss", "d_penalty", "d_real", "d_fake")
        return dict(zip(names, sums, strict=True)) | {"d_grad_norm": norm}

    def _update_generator(self, step, labels):
        config, state = self.config, self.state
        draws = self._draws(step).fold("generator")
        labels = tf.repeat(labels[-1], config.g_batch_multiplier)
        with tf.GradientTape() as tape:
            fake = self._augment(self._generate(draws.fold("z"), labels), draws.fold("augment"))
            losses = self.objective.generator(self._discriminate(fake, labels, draws.fold("dropout")))
            loss = self._mean(losses)
        gradients = tape.gradient(loss, state.generator.trainable_variables)
        norm, (loss,) = self._apply(state.g_optimizer, gradients, state.generator.trainable_variables, [loss])
        return {"g_loss": loss, "g_grad_norm": norm}

    def _draws(self, step) -> Draws:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return Draws.at(self.config.seed, step, replica, self.strategy.num_replicas_in_sync)

    def _generate(self, draws: Draws, labels) -> tf.Tensor:
        z = draws.normal((labels.shape[0], self.config.latent_dim))
        return self.state.generator([z, labels] if self.conditional else z, training=True)

    def _discriminate(self, images, labels, draws: Draws) -> tf.Tensor:
        with dropout_from(draws):
            logits = self.state.discriminator([images, labels] if self.conditional else images, training=True)
        return tf.squeeze(logits, axis=1)

    def _augment(self, images, draws: Draws) -> tf.Tensor:
        return diffaug(images, draws) if self.config.augment == "diffaug" else images

    def _penalties(self, real, fake, labels, draws: Draws) -> tf.Tensor:
        penalties = tf.zeros(real.shape[0])
        if self.config.r1_weight:
            score = lambda images: self._discriminate(images, labels, draws.fold("dropout r1"))  # noqa: E731
            penalties += self.config.r1_weight * r1_penalty(score, real)
        if self.config.gp_weight:
            score = lambda images: self._discriminate(images, labels, draws.fold("dropout gp"))  # noqa: E731
            mix = draws.fold("mix").uniform((real.shape[0], 1, 1, 1))
            penalties += self.config.gp_weight * gradient_penalty(score, real, fake, mix)
        return penalties

    def _mean(self, values) -> tf.Tensor:
        """This replica's share of the mean over the global batch."""
        return tf.reduce_sum(values) / (values.shape[0] * self.strategy.num_replicas_in_sync)

    def _apply(self, optimizer, gradients, variables, shares):
        """Updates `variables` with the gradients summed over replicas, then clipped: clipped before, they would depend
        on how many replicas there are. Returns the norm before clipping, and the sums of `shares` over replicas.

        Keras's optimizers sum over replicas by themselves, after any clipping of theirs; what is already summed is
        therefore divided by their number.
        """
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]  # an embedding's are sparse
        replicas = self.strategy.num_replicas_in_sync
        if replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients, shares = context.all_reduce(tf.distribute.ReduceOp.SUM, [gradients, shares])
        norm = tf.linalg.global_norm(gradients)
        if self.config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.clip_norm, norm)
        optimizer.apply([gradient / replicas for gradient in gradients] if replicas > 1 else gradients, variables)
        return norm, shares

    def _from_any_replica(self, value) -> tf.Tensor:
        return self.strategy.experimental_local_results(value)[0]

    def _update_average(self) -> None:
        """The averaged weights move by a rate that starts high, so that short runs are not an average of noise.

        Batch-norm statistics are copied: an average of the weights' history wants today's statistics.
        """
        made = tf.cast(self.state.step, tf.float32)
        decay = tf.minimum(self.config.ema_decay, (1.0 + made) / (10.0 + made))
        live, average = self.state.generator, self.state.ema_generator
        for mean, weight in zip(average.trainable_variables, live.trainable_variables, strict=True):
            self._assign(mean, lambda mean, weight, decay: mean.assign(weight + decay * (mean - weight)), weight, decay)
        for mean, weight in zip(average.non_trainable_variables, live.non_trainable_variables, strict=True):
            self._assign(mean, lambda mean, weight: mean.assign(weight), weight)

    def _assign(self, variable: keras.Variable, update, weight: keras.Variable, *others) -> None:
        self.strategy.extended.update(variable.value, update, args=(weight.value, *others), group=False)
