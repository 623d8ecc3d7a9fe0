import pkgutil

import numpy as np
import pytest
import tensorflow as tf

from kgan import TrainConfig
from kgan.choices import LOSSES
from kgan.errors import UserError
from kgan.steps.objectives import build_objective, gradient_penalty, zero_centred_penalty

REAL, FAKE = tf.constant([2.0, -1.0, 0.0]), tf.constant([0.5, -3.0, 0.0])


def softplus(x):
    return np.log1p(np.exp(x))


R, F = REAL.numpy(), FAKE.numpy()


@pytest.mark.parametrize(
    "name, discriminator, generator",
    [
        ("ns", softplus(-R) + softplus(F), softplus(-F)),
        ("minimax", softplus(-R) + softplus(F), -softplus(F)),
        ("hinge", np.maximum(0, 1 - R) + np.maximum(0, 1 + F), -F),
        ("lsgan", (R - 1) ** 2 / 2 + F**2 / 2, (F - 1) ** 2 / 2),
        ("wgan", F - R, -F),
        ("rpgan", softplus(F - R), softplus(R - F)),
    ],
)
def test_closed_forms(name, discriminator, generator):
    objective = build_objective(TrainConfig(loss=name))
    np.testing.assert_allclose(objective.discriminator(REAL, FAKE), discriminator, rtol=1e-5)
    needed = REAL if objective.needs_real else None
    np.testing.assert_allclose(objective.generator(FAKE, needed), generator, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_every_objective_names_its_paper(name):
    assert "arXiv" in pkgutil.resolve_name(LOSSES[name].objective).__doc__


def test_more_generated_images_than_real_ones_are_paired_with_those_beside_them():
    objective = build_objective(TrainConfig(loss="rpgan"))
    losses = objective.generator(tf.constant([1.0, 2.0, 3.0, 4.0]), tf.constant([0.0, 10.0]))
    np.testing.assert_allclose(losses, softplus(np.array([-1.0, -2.0, 7.0, 6.0])), rtol=1e-5)


def test_smoothing_moves_the_real_target_only():
    smoothed = 0.9 * softplus(-R) + 0.1 * softplus(R)
    for name in ("ns", "minimax"):
        objective = build_objective(TrainConfig(loss=name, label_smoothing=0.1))
        np.testing.assert_allclose(objective.discriminator(REAL, FAKE), smoothed + softplus(F), rtol=1e-5)
    objective = build_objective(TrainConfig(loss="lsgan", label_smoothing=0.1))
    np.testing.assert_allclose(objective.discriminator(REAL, FAKE), (R - 0.9) ** 2 / 2 + F**2 / 2, rtol=1e-5)


@pytest.mark.parametrize("name", ["hinge", "wgan", "rpgan"])
def test_smoothing_is_refused_where_there_is_no_target(name):
    with pytest.raises(UserError, match="label_smoothing"):
        TrainConfig(loss=name, label_smoothing=0.1)


def test_penalties_of_a_linear_discriminator():
    weights = tf.random.stateless_normal((4, 4, 1), seed=(0, 0))
    squared = float(tf.reduce_sum(weights**2))
    score = lambda images: tf.reduce_sum(images * weights, axis=(1, 2, 3))  # noqa: E731
    real, fake, mix = tf.ones((3, 4, 4, 1)), tf.zeros((3, 4, 4, 1)), tf.fill((3, 1, 1, 1), 0.3)
    with tf.GradientTape() as tape:
        tape.watch(real)
        logits = score(real)
    np.testing.assert_allclose(zero_centred_penalty(tape.gradient(logits, real)), [squared / 2] * 3, rtol=1e-5)
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
