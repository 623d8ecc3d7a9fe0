import keras
import numpy as np
import pytest
import tensorflow as tf

from kgan.steps.optimizers import Adam


def trained(optimizer, updates=6):
    """The values of the variables and of the optimizer's own after each update, and the latter's names."""
    variables = [keras.Variable(np.ones(shape, np.float32), name=f"v{len(shape)}") for shape in ((3, 4), (5,))]
    optimizer.build(variables)
    update = tf.function(lambda gradients: optimizer.apply(gradients, variables))
    random, rows = np.random.default_rng(0), []
    for _ in range(updates):
        update([tf.constant(random.normal(size=variable.shape), tf.float32) for variable in variables])
        rows.append([value.numpy().copy() for value in variables + optimizer.variables])
    return rows, [variable.name for variable in optimizer.variables]


DECAY = keras.optimizers.schedules.PolynomialDecay(0.01, 8, 0.0)


@pytest.mark.parametrize("rate", [0.01, DECAY], ids=["constant", "decay"])
def test_adam_is_that_of_keras_step_for_step(rate):
    expected, names = trained(keras.optimizers.Adam(rate, 0.5, 0.99))
    rows, same_names = trained(Adam(rate, 0.5, 0.99))
    assert same_names == names
    for row, expected_row in zip(rows, expected, strict=True):
        for value, other in zip(row, expected_row, strict=True):
            np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-7)
