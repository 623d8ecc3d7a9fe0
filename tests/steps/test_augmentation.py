import numpy as np
import pytest
import tensorflow as tf

from kgan import TrainConfig
from kgan.errors import UserError
from kgan.models.random import RandomStream
from kgan.steps.augmentation import augment, cutout, prepare_real, recolour, translate

STREAM = RandomStream.at(0, tf.constant(3))
IMAGES = tf.random.stateless_uniform((16, 16, 16, 3), (1, 2), minval=-1, maxval=1)


def test_real_images_become_floats():
    levels = tf.constant(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1))
    plain = prepare_real(levels, STREAM, flip=False, dequantize=False).numpy().ravel()
    assert plain.tolist() == pytest.approx((np.arange(256) / 127.5 - 1).tolist(), abs=1e-6)
    noisy = prepare_real(levels, STREAM, flip=False, dequantize=True).numpy().ravel()
    assert noisy.min() >= -1 and noisy.max() < 1
    assert ((np.diff(noisy) > -0.01) & (np.diff(noisy) < 0.03)).all()


def test_half_of_the_images_are_mirrored():
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (200, 4, 4, 1), np.uint8))
    flipped = prepare_real(images, STREAM, flip=True, dequantize=False).numpy()
    plain = prepare_real(images, STREAM, flip=False, dequantize=False).numpy()
    same = (flipped == plain).all(axis=(1, 2, 3))
    mirrored = (flipped == plain[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same | mirrored).all()
    assert 70 < same.sum() < 130


def test_translation_moves_every_pixel_the_same_way():
    moved = translate(IMAGES, STREAM).numpy()
    shifts = set()
    for before, after in zip(IMAGES.numpy(), moved, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)))
        windows = {(y, x): padded[y : y + 16, x : x + 16] for y in range(5) for x in range(5)}
        shifts |= {place for place, window in windows.items() if np.allclose(window, after, atol=1e-6)}
    assert len(shifts) > 5
    assert {y for y, _ in shifts} | {x for _, x in shifts} == set(range(5))


def test_cutout_blanks_a_square_of_half_the_side():
    blank = (cutout(tf.ones_like(IMAGES), STREAM).numpy() == 0).all(axis=3)
    for image in blank:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert image.sum() == len(rows) * len(columns)
        assert 4 <= len(rows) <= 8 and 4 <= len(columns) <= 8


def test_diffaug_is_differentiable_repeatable_and_independent_of_replicas():
    with tf.GradientTape() as tape:
        tape.watch(IMAGES)
        augmented = augment("diffaug", IMAGES, STREAM)
    assert augmented.shape == IMAGES.shape
    assert np.abs(tape.gradient(augmented, IMAGES)).sum() > 0
    assert np.array_equal(augmented, augment("diffaug", IMAGES, STREAM))
    halves = [augment("diffaug", IMAGES[8 * i : 8 * i + 8], RandomStream.at(0, tf.constant(3), i, 2)) for i in range(2)]
    np.testing.assert_allclose(np.concatenate(halves), augmented, atol=1e-6)


def test_a_policy_is_what_it_names_in_one_order():
    """Each part draws what it draws within diffaug, whatever else is named."""
    assert np.array_equal(augment("none", IMAGES, STREAM), IMAGES)
    for name, alone in {"color": recolour, "translation": translate, "cutout": cutout}.items():
        assert np.array_equal(augment(name, IMAGES, STREAM), alone(IMAGES, STREAM))
        assert not np.array_equal(augment(name, IMAGES, STREAM), IMAGES)
    expected = cutout(recolour(IMAGES, STREAM), STREAM)
    assert np.array_equal(augment("cutout,color", IMAGES, STREAM), expected)
    assert np.array_equal(
        augment("diffaug", IMAGES, STREAM), cutout(translate(recolour(IMAGES, STREAM), STREAM), STREAM)
    )


def test_diffaug_draws_what_it_always_drew():
    """To the digits that version 0.2 began with: runs that are resumed go on with the same numbers."""
    pixels, places = (
        augment("diffaug", IMAGES, STREAM).numpy(),
        ([0, 5, 9, 15], [3, 8, 12, 4], [7, 2, 9, 6], [0, 1, 2, 0]),
    )
    np.testing.assert_allclose(pixels[places], [0.1262944, 0.38290805, 1.0054519, -0.7069725], atol=1e-5)


@pytest.mark.parametrize(
    "given, kept",
    [
        ("none", "none"),
        ("diffaug", "diffaug"),
        ("cutout,color,translation", "diffaug"),
        ("cutout,color", "color,cutout"),
        ("cutout,cutout", "cutout"),
    ],
)
def test_a_policy_is_kept_in_one_spelling(given, kept):
    assert TrainConfig(augment=given).augment == kept


@pytest.mark.parametrize("policy", ["", "colour", "color,", "none,color", "color, cutout", "diffaug,color"])
def test_what_is_no_policy_is_refused(policy):
    with pytest.raises(UserError, match="must be none, diffaug or some of color,translation,cutout"):
        TrainConfig(augment=policy)
