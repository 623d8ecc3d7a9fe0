"""The adversarial objectives and the gradient penalties.

A loss takes logits and returns one loss an example, float32 (b,), to be summed and divided once by the global
batch. D stands for the discriminator's logit, s for the logistic function, E for the mean over the batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Objective(NamedTuple):
    """`discriminator(real logits, real target)`, `discriminator_fake(logits)` and `generator(fake logits)`.

    The real target is 1 - label_smoothing; hinge and wgan have no targets and ignore it.
    """

    real: Callable[[tf.Tensor, float], tf.Tensor]
    fake: Callable[[tf.Tensor], tf.Tensor]
    generator: Callable[[tf.Tensor], tf.Tensor]


def ns() -> Objective:
    """Non-saturating: D minimises E[-log s(D(x))] + E[-log(1 - s(D(G(z))))], G minimises E[-log s(D(G(z)))].

    Goodfellow et al. 2014 (arXiv:1406.2661), section 3. With a target t < 1 the real term is the cross-entropy
    with t (one-sided label smoothing, Salimans et al. 2016, arXiv:1606.03498).
    """
    return Objective(_cross_entropy, lambda fake: _cross_entropy(fake, 0.0), lambda fake: _cross_entropy(fake, 1.0))


def minimax() -> Objective:
    """The game as first stated: D as for `ns`, and G minimises E[log(1 - s(D(G(z))))].

    Goodfellow et al. 2014 (arXiv:1406.2661), equation 1. Its gradient fades while D is sure.
    """
    return Objective(_cross_entropy, lambda fake: _cross_entropy(fake, 0.0), lambda fake: -_cross_entropy(fake, 0.0))


def hinge() -> Objective:
    """D minimises E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))], G minimises -E[D(G(z))].

    Lim and Ye 2017 (arXiv:1705.02894); Miyato et al. 2018 (arXiv:1802.05957), equations 16 and 17.
    """
    return Objective(lambda real, _: tf.nn.relu(1.0 - real), lambda fake: tf.nn.relu(1.0 + fake), lambda fake: -fake)


def lsgan() -> Objective:
    """Least squares: D minimises E[(D(x) - 1)^2]/2 + E[D(G(z))^2]/2, G minimises E[(D(G(z)) - 1)^2]/2.

    Mao et al. 2017 (arXiv:1611.04076), equation 9.
    """
    return Objective(
        lambda real, target: 0.5 * tf.square(real - target),
        lambda fake: 0.5 * tf.square(fake),
        lambda fake: 0.5 * tf.square(fake - 1.0),
    )


def wgan() -> Objective:
    """D minimises E[D(G(z))] - E[D(x)], G minimises -E[D(G(z))]: the Wasserstein distance if D is 1-Lipschitz.

    Arjovsky et al. 2017 (arXiv:1701.07875). Give --gp_weight=10 or --spectral_norm to bound D.
    """
    return Objective(lambda real, _: -real, lambda fake: fake, lambda fake: -fake)


OBJECTIVES = {"ns": ns, "minimax": minimax, "hinge": hinge, "lsgan": lsgan, "wgan": wgan}


def r1_penalty(discriminate: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor) -> tf.Tensor:
    """||dD/dx||^2 / 2 at each real image, (b,). Mescheder et al. 2018 (arXiv:1801.04406), equation 9."""
    return 0.5 * _squared_gradient_norm(discriminate, real)


def gradient_penalty(discriminate, real: tf.Tensor, fake: tf.Tensor, mix: tf.Tensor) -> tf.Tensor:
    """(||dD/dx|| - 1)^2 at mix * real + (1 - mix) * fake, (b,), for mix uniform in [0, 1), (b, 1, 1, 1).

    Gulrajani et al. 2017 (arXiv:1704.00028), equation 3. The root is guarded: its slope at 0 is infinite.
    """
    squared = _squared_gradient_norm(discriminate, mix * real + (1.0 - mix) * fake)
    return tf.square(tf.sqrt(squared + 1e-12) - 1.0)


def _cross_entropy(logits: tf.Tensor, target: float) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(tf.shape(logits), target), logits)


def _squared_gradient_norm(discriminate, images: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(discriminate(images))
    return tf.reduce_sum(tf.square(tape.gradient(total, images)), axis=(1, 2, 3))
