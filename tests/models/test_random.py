import numpy as np
import pytest
import tensorflow as tf

from kgan.models.layers import Dropout
from kgan.models.random import RandomStream, dropout_from


def test_replicas_draw_slices_of_the_same_numbers():
    whole = RandomStream.at(1, tf.constant(5))
    parts = [RandomStream.at(1, tf.constant(5), replica, 4) for replica in range(4)]
    for name in ("normal", "uniform", "bytes", "integers"):
        draw = getattr(RandomStream, name)
        if name == "integers":
            draw = lambda stream, shape: RandomStream.integers(stream, shape, 0, 1000)  # noqa: E731
        together = np.concatenate([draw(part.fold(name), (2, 3)) for part in parts])
        assert np.array_equal(draw(whole.fold(name), (8, 3)), together)


def test_seed_step_and_purpose_each_change_the_draw():
    draws = [
        RandomStream.at(0, tf.constant(0)).fold("a"),
        RandomStream.at(1, tf.constant(0)).fold("a"),
        RandomStream.at(0, tf.constant(1)).fold("a"),
        RandomStream.at(0, tf.constant(0)).fold("b"),
        RandomStream.at(0, tf.constant(0)).fold("a").fold("a"),
    ]
    assert len({draw.normal((4,)).numpy().tobytes() for draw in draws}) == len(draws)


def test_dropout_keeps_the_mean_and_repeats_itself():
    layer, ones = Dropout(0.3), tf.ones((64, 100))
    outputs = []
    for step in (0, 0, 1):
        with dropout_from(RandomStream.at(0, tf.constant(step))):
            outputs.append(layer(ones, training=True).numpy())
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])
    assert set(np.unique(outputs[0])) == {np.float32(0), np.float32(256 / (256 - 77))}  # 77 / 256 is 0.301
    assert outputs[0].mean() == pytest.approx(1.0, abs=0.05)
    assert np.array_equal(layer(ones), ones)


def test_xla_makes_the_same_numbers():
    def numbers(step):
        stream = RandomStream.at(1, step)
        return stream.uniform((8, 5)), stream.integers((8, 5), -3, 9), stream.bytes((8, 5)), stream.normal((8, 5))

    step = tf.constant(7, tf.int64)
    *exact, normal = numbers(step)
    *exact_xla, normal_xla = tf.function(numbers, jit_compile=True)(step)
    for plain, compiled in zip(exact, exact_xla, strict=True):
        assert np.array_equal(plain, compiled)
    np.testing.assert_allclose(normal, normal_xla, rtol=1e-4, atol=1e-5)


def test_the_distributions():
    stream = RandomStream.at(2, tf.constant(0))
    uniform, normal = stream.uniform((1000, 99), -1.0, 3.0).numpy(), stream.normal((1000, 99)).numpy()
    assert uniform.min() >= -1 and uniform.max() < 3
    assert (uniform.mean(), uniform.std()) == pytest.approx((1.0, 4 / 12**0.5), abs=0.02)
    assert (normal.mean(), normal.std()) == pytest.approx((0.0, 1.0), abs=0.02)
    assert (np.abs(normal) > 2).mean() == pytest.approx(0.0455, abs=0.005)
    assert np.abs(np.corrcoef(normal, rowvar=False) - np.eye(99)).max() < 0.2
    counts = np.unique(stream.integers((1000, 99), -2, 4), return_counts=True)
    assert counts[0].tolist() == list(range(-2, 5)) and counts[1].min() > 13_000
    assert np.bincount(stream.bytes((1000, 99)).numpy().ravel(), minlength=256).min() > 250


def test_dropout_outside_a_step_is_an_error():
    with pytest.raises(LookupError):
        Dropout(0.3)(tf.ones((1, 1)), training=True)
