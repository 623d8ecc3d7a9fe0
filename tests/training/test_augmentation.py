import numpy as np
import pytest
import tensorflow as tf

from kgan.models.random import RandomStream
from kgan.training import augmentation
from kgan.training.augmentation import diffaug, prepare_real

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
    moved = augmentation._translate(IMAGES, STREAM).numpy()
    shifts = set()
    for before, after in zip(IMAGES.numpy(), moved, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)))
        windows = {(y, x): padded[y : y + 16, x : x + 16] for y in range(5) for x in range(5)}
        shifts |= {place for place, window in windows.items() if np.allclose(window, after, atol=1e-6)}
    assert len(shifts) > 5
    assert {y for y, _ in shifts} | {x for _, x in shifts} == set(range(5))


def test_cutout_blanks_a_square_of_half_the_side():
    blank = (augmentation._cutout(tf.ones_like(IMAGES), STREAM).numpy() == 0).all(axis=3)
    for image in blank:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert image.sum() == len(rows) * len(columns)
        assert 4 <= len(rows) <= 8 and 4 <= len(columns) <= 8


def test_diffaug_is_differentiable_repeatable_and_independent_of_replicas():
    with tf.GradientTape() as tape:
        tape.watch(IMAGES)
        augmented = diffaug(IMAGES, STREAM)
    assert augmented.shape == IMAGES.shape
    assert np.abs(tape.gradient(augmented, IMAGES)).sum() > 0
    assert np.array_equal(augmented, diffaug(IMAGES, STREAM))
    halves = [diffaug(IMAGES[8 * i : 8 * i + 8], RandomStream.at(0, tf.constant(3), i, 2)) for i in range(2)]
    np.testing.assert_allclose(np.concatenate(halves), augmented, atol=1e-6)
