import numpy as np
import pytest
import tensorflow as tf

from kgan.models.layers import Dropout
from kgan.models.random import RandomStream, dropout_from


def test_replicas_draw_slices_of_the_same_numbers():
    whole = RandomStream.at(1, tf.constant(5))
    parts = [RandomStream.at(1, tf.constant(5), replica, 4) for replica in range(4)]
    for name, draw in {"normal": RandomStream.normal, "uniform": RandomStream.uniform}.items():
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
    assert set(np.unique(outputs[0])) == {np.float32(0), np.float32(1 / 0.7)}
    assert outputs[0].mean() == pytest.approx(1.0, abs=0.05)
    assert np.array_equal(layer(ones), ones)


def test_dropout_outside_a_step_is_an_error():
    with pytest.raises(LookupError):
        Dropout(0.3)(tf.ones((1, 1)), training=True)
