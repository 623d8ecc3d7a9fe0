"""The gradients of both losses at a share of the global batch, before anything is summed or updated.

A share is what one replica computes at a time: all its images, or with --accumulate those of one part of the batch.
Losses are summed and divided by the size of the global batch, so that the shares' gradients add up to those of all.
"""

from typing import NamedTuple

import tensorflow as tf

from kgan.config import TrainConfig
from kgan.models.architectures import inputs_of
from kgan.models.random import RandomStream, dropout_from
from kgan.steps.augmentation import augment, prepare_real
from kgan.steps.objectives import build_objective, gradient_penalty, zero_centred_penalty
from kgan.steps.state import State


class CriticBatch(NamedTuple):
    """What a discriminator update sees: images (b, h, w, c) float32, their labels (b,), and its random numbers."""

    real: tf.Tensor
    fake: tf.Tensor
    labels: tf.Tensor
    stream: RandomStream


class GeneratorBatch(NamedTuple):
    """What a generator update sees: k generated images for each real one, and the tape that recorded their making."""

    fake: tf.Tensor
    fake_labels: tf.Tensor
    generation: tf.GradientTape
    real: tf.Tensor
    labels: tf.Tensor
    stream: RandomStream


class Gradients:
    """Computes the gradients of the networks in `state` at one of `num_shares` equal shares of the global batch.

    Both functions that give gradients return them, dense and in the order of the network's trainable variables, and
    the share's part of the means over the global batch of what is reported.
    """

    def __init__(self, config: TrainConfig, state: State, num_shares: int):
        self.config, self.state, self.num_shares = config, state, num_shares
        self.objective = build_objective(config)

    def critic_batch(self, images, labels, step_stream: RandomStream, critic_step: int) -> CriticBatch:
        """That of one of the discriminator updates before the last: it has generated images of its own.

        `images` is uint8 (b, h, w, c), `labels` int64 (b,).
        """
        stream = step_stream.fold(f"critic {critic_step}")
        real = prepare_real(images, stream, self.config.flip, self.config.dequantize)
        return CriticBatch(real, self._generate(labels, stream.fold("generate")), labels, stream)

    def last_batches(self, images, labels, step_stream: RandomStream) -> tuple[CriticBatch, GeneratorBatch]:
        """Those of the last discriminator update and of the generator's, with the same generated images.

        The generator makes `g_batch_multiplier` images for each real one, next to each other and with its label,
        and the discriminator is given the first of each.
        """
        multiplier = self.config.g_batch_multiplier
        critic, generator = step_stream.fold(f"critic {self.config.d_steps - 1}"), step_stream.fold("generator")
        real = prepare_real(images, critic, self.config.flip, self.config.dequantize)
        fake_labels = tf.repeat(labels, multiplier)
        with tf.GradientTape() as generation:
            fake = self._generate(fake_labels, generator.fold("generate"))
        return (
            CriticBatch(real, fake[::multiplier], labels, critic),
            GeneratorBatch(fake, fake_labels, generation, real, labels, generator),
        )

    def of_discriminator(self, step, batch: CriticBatch):
        """The gradients of loss and penalties; the means are of loss, penalties, real and generated images' logits."""
        every = self.config.penalties.penalty_every
        if every == 1:
            return self._of_discriminator(batch, 1.0)
        return tf.cond(
            step % every == 0,
            lambda: self._of_discriminator(batch, float(every)),
            lambda: self._of_discriminator(batch, 0.0),
        )

    def of_generator(self, batch: GeneratorBatch):
        """The gradients of the loss, whose mean it is. The images are not made twice: their tape is asked."""
        variables, real_logits, stream = self.state.generator.trainable_variables, None, batch.stream
        if self.objective.needs_real:
            real = self._augment(batch.real, stream.fold("augment real"))
            real_logits = self._discriminate(real, batch.labels, stream.fold("dropout real"))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch.fake)
            images = self._augment(batch.fake, stream.fold("augment"))
            fake_logits = self._discriminate(images, batch.fake_labels, stream.fold("dropout"))
            loss = self._mean(self.objective.generator(fake_logits, real_logits))
        slopes = tape.gradient(loss, batch.fake)
        gradients = batch.generation.gradient(batch.fake, variables, output_gradients=slopes)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], [loss]  # an embedding's are sparse

    def _of_discriminator(self, batch: CriticBatch, penalty_weight: float):
        with tf.GradientTape() as tape:
            real_logits, fake_logits, penalties = self._scores(batch, penalty_weight)
            losses = self.objective.discriminator(real_logits, fake_logits)
            loss = self._mean(losses + penalties)
        gradients = tape.gradient(loss, self.state.discriminator.trainable_variables, unconnected_gradients="zero")
        return gradients, [self._mean(values) for values in (losses, penalties, real_logits, fake_logits)]

    def _scores(self, batch: CriticBatch, penalty_weight: float):
        """The logits (b,) of real and of generated images, and the penalties (b,), `penalty_weight` times.

        R1 and R2 are taken on these very logits, at the images as they are before augmentation.
        """
        config, (real, fake, labels, stream) = self.config, batch
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([real, fake])
            seen_real = self._augment(real, stream.fold("augment real"))
            seen_fake = self._augment(fake, stream.fold("augment fake"))
            real_logits = self._discriminate(seen_real, labels, stream.fold("dropout real"))
            fake_logits = self._discriminate(seen_fake, labels, stream.fold("dropout fake"))
        penalties = tf.zeros_like(real_logits)
        if not penalty_weight:
            return real_logits, fake_logits, penalties
        r1_weight, r2_weight, _ = config.penalties
        wanted = [(r1_weight, real_logits, real), (r2_weight, fake_logits, fake)]
        wanted = [(weight, logits, images) for weight, logits, images in wanted if weight]
        gradients = tape.gradient([logits for _, logits, _ in wanted], [images for *_, images in wanted])
        for (weight, *_), gradient in zip(wanted, gradients, strict=True):
            penalties += weight * zero_centred_penalty(gradient)
        if config.gp_weight:
            score = lambda images: self._discriminate(images, labels, stream.fold("dropout gp"))  # noqa: E731
            mix = stream.fold("mix").uniform((real.shape[0], 1, 1, 1))
            penalties += config.gp_weight * gradient_penalty(score, seen_real, seen_fake, mix)
        return real_logits, fake_logits, penalty_weight * penalties

    def _generate(self, labels, stream: RandomStream) -> tf.Tensor:
        z = stream.fold("z").normal((labels.shape[0], self.config.latent_dim))
        with dropout_from(stream.fold("dropout")):
            return self.state.generator(inputs_of(self.state.generator, z, labels), training=True)

    def _discriminate(self, images, labels, stream: RandomStream) -> tf.Tensor:
        with dropout_from(stream):
            logits = self.state.discriminator(inputs_of(self.state.discriminator, images, labels), training=True)
        return tf.squeeze(logits, axis=1)

    def _augment(self, images, stream: RandomStream) -> tf.Tensor:
        return augment(self.config.augment, images, stream)

    def _mean(self, values) -> tf.Tensor:
        """This share's part of the mean over the global batch."""
        return tf.reduce_sum(values) / (values.shape[0] * self.num_shares)
