"""The adversarial objectives and the gradient penalties.

An objective is a function that returns an `Objective`, named in `choices.LOSSES`. Its two losses take logits and
return one loss an example, float32 (b,), to be summed and divided once by the global batch. D stands for the
discriminator's logit, s for the logistic function, E for the mean over the batch.
"""

import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from kgan.choices import LOSSES
from kgan.config import TrainConfig


class Objective(NamedTuple):
    """`discriminator(real_logits, fake_logits)`, of equal length, and `generator(fake_logits, real_logits)`.

    `real_logits` is None in the generator's loss unless `needs_real`; there may then be several generated images
    for each real one, next to each other: `fake_logits` is k times as long as `real_logits`.
    """

    discriminator: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    generator: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    needs_real: bool = False


def build_objective(config: TrainConfig) -> Objective:
    """The objective that `config` asks for."""
    loss = LOSSES[config.loss]
    function = pkgutil.resolve_name(loss.objective)
    return function(1.0 - config.label_smoothing) if loss.has_targets else function()


def ns(real_target: float = 1.0) -> Objective:
    """Non-saturating: D minimises E[-log s(D(x))] + E[-log(1 - s(D(G(z))))], G minimises E[-log s(D(G(z)))].

    Goodfellow et al. 2014 (arXiv:1406.2661), section 3. With a target t < 1 the real term is the cross-entropy
    with t (one-sided label smoothing, Salimans et al. 2016, arXiv:1606.03498).
    """
    return Objective(
        lambda real, fake: _cross_entropy(real, real_target) + _cross_entropy(fake, 0.0),
        lambda fake, _: _cross_entropy(fake, 1.0),
    )


def minimax(real_target: float = 1.0) -> Objective:
    """The game as first stated: D as for `ns`, and G minimises E[log(1 - s(D(G(z))))].

    Goodfellow et al. 2014 (arXiv:1406.2661), equation 1. Its gradient saturates when the discriminator is confident.
    """
    return ns(real_target)._replace(generator=lambda fake, _: -_cross_entropy(fake, 0.0))


def hinge() -> Objective:
    """D minimises E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))], G minimises -E[D(G(z))].

    Lim and Ye 2017 (arXiv:1705.02894); Miyato et al. 2018 (arXiv:1802.05957), equations 16 and 17.
    """
    return Objective(
        lambda real, fake: tf.nn.relu(1.0 - real) + tf.nn.relu(1.0 + fake),
        lambda fake, _: -fake,
    )


def lsgan(real_target: float = 1.0) -> Objective:
    """Least squares: D minimises E[(D(x) - 1)^2]/2 + E[D(G(z))^2]/2, G minimises E[(D(G(z)) - 1)^2]/2.

    Mao et al. 2017 (arXiv:1611.04076), equation 9.
    """
    return Objective(
        lambda real, fake: 0.5 * tf.square(real - real_target) + 0.5 * tf.square(fake),
        lambda fake, _: 0.5 * tf.square(fake - 1.0),
    )


def wgan() -> Objective:
    """D minimises E[D(G(z))] - E[D(x)], G minimises -E[D(G(z))]: the Wasserstein distance if D is 1-Lipschitz.

    Arjovsky et al. 2017 (arXiv:1701.07875). Give --gp_weight=10 or --spectral_norm to bound D.
    """
    return Objective(lambda real, fake: fake - real, lambda fake, _: -fake)


def rpgan() -> Objective:
    """Relativistic pairing: D minimises E[softplus(D(G(z)) - D(x))], G minimises E[softplus(D(x) - D(G(z)))].

    Jolicoeur-Martineau 2018 (arXiv:1807.00734), section 4; Huang et al. 2024 (arXiv:2501.05441), equation 2, who
    add --r1_weight and --r2_weight. In the generator's loss each real image meets all generated ones beside it.
    """
    return Objective(
        lambda real, fake: tf.nn.softplus(fake - real),
        lambda fake, real: tf.nn.softplus(tf.repeat(real, fake.shape[0] // real.shape[0]) - fake),
        needs_real=True,
    )


def zero_centred_penalty(gradients: tf.Tensor) -> tf.Tensor:
    """||dD/dx||^2 / 2 of each image's gradient (b, h, w, c): (b,).

    R1 at real images, R2 at generated ones. Mescheder et al. 2018 (arXiv:1801.04406), equation 9.
    """
    return 0.5 * _squared_norm(gradients)


def gradient_penalty(discriminate, real: tf.Tensor, fake: tf.Tensor, mix: tf.Tensor) -> tf.Tensor:
    """(||dD/dx|| - 1)^2 at mix * real + (1 - mix) * fake, (b,), for mix uniform in [0, 1), (b, 1, 1, 1).

    Gulrajani et al. 2017 (arXiv:1704.00028), equation 3. The root is guarded: its slope at 0 is infinite.
    """
    images = mix * real + (1.0 - mix) * fake
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = discriminate(images)
    return tf.square(tf.sqrt(_squared_norm(tape.gradient(logits, images)) + 1e-12) - 1.0)


def _cross_entropy(logits: tf.Tensor, target: float) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(tf.shape(logits), target), logits)


def _squared_norm(gradients: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(gradients), axis=(1, 2, 3))
