import numpy as np
import pytest
import tensorflow as tf

from kgan.training.objectives import OBJECTIVES, gradient_penalty, r1_penalty

REAL, FAKE = tf.constant([2.0, -1.0, 0.0]), tf.constant([0.5, -3.0, 0.0])


def softplus(x):
    return np.log1p(np.exp(x))


R, F = REAL.numpy(), FAKE.numpy()


@pytest.mark.parametrize(
    "name, real, fake, generator",
    [
        ("ns", softplus(-R), softplus(F), softplus(-F)),
        ("minimax", softplus(-R), softplus(F), -softplus(F)),
        ("hinge", np.maximum(0, 1 - R), np.maximum(0, 1 + F), -F),
        ("lsgan", (R - 1) ** 2 / 2, F**2 / 2, (F - 1) ** 2 / 2),
        ("wgan", -R, F, -F),
    ],
)
def test_closed_forms(name, real, fake, generator):
    objective = OBJECTIVES[name]()
    np.testing.assert_allclose(objective.real(REAL, 1.0), real, rtol=1e-5)
    np.testing.assert_allclose(objective.fake(FAKE), fake, rtol=1e-5)
    np.testing.assert_allclose(objective.generator(FAKE), generator, rtol=1e-5)
    assert "arXiv" in OBJECTIVES[name].__doc__


def test_smoothing_moves_the_real_target_only():
    smoothed = 0.9 * softplus(-R) + 0.1 * softplus(R)
    np.testing.assert_allclose(OBJECTIVES["ns"]().real(REAL, 0.9), smoothed, rtol=1e-5)
    np.testing.assert_allclose(OBJECTIVES["lsgan"]().real(REAL, 0.9), (R - 0.9) ** 2 / 2, rtol=1e-5)


def test_penalties_of_a_linear_discriminator():
    weights = tf.random.stateless_normal((4, 4, 1), seed=(0, 0))
    squared = float(tf.reduce_sum(weights**2))
    score = lambda images: tf.reduce_sum(images * weights, axis=(1, 2, 3))  # noqa: E731
    real, fake, mix = tf.ones((3, 4, 4, 1)), tf.zeros((3, 4, 4, 1)), tf.fill((3, 1, 1, 1), 0.3)
    np.testing.assert_allclose(r1_penalty(score, real), [squared / 2] * 3, rtol=1e-5)
    np.testing.assert_allclose(gradient_penalty(score, real, fake, mix), [(squared**0.5 - 1) ** 2] * 3, rtol=1e-5)


def test_the_gradient_penalty_is_taken_between_real_and_generated():
    score = lambda images: tf.reduce_sum(images**2, axis=(1, 2, 3)) / 2  # noqa: E731
    real, fake, mix = tf.ones((1, 2, 2, 1)), -tf.ones((1, 2, 2, 1)), tf.fill((1, 1, 1, 1), 0.75)
    np.testing.assert_allclose(gradient_penalty(score, real, fake, mix), [0.0], atol=1e-6)  # |0.5| * 2 = 1


def test_the_gradient_penalty_has_a_gradient_at_a_flat_discriminator():
    weight = tf.Variable(0.0)
    with tf.GradientTape() as tape:
        score = lambda images: weight * tf.reduce_sum(images, axis=(1, 2, 3))  # noqa: E731
        penalty = gradient_penalty(score, tf.ones((1, 2, 2, 1)), tf.zeros((1, 2, 2, 1)), tf.fill((1, 1, 1, 1), 0.5))
    assert np.isfinite(tape.gradient(penalty, weight))
