"""--accumulate: a batch in parts is the batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgan import TrainConfig
from kgan.data.pipeline import step_batches
from kgan.models.architectures import LayerFactory, Shapes
from kgan.steps.accumulation import build_step
from kgan.steps.state import create_state

BATCH = 8


def make(xla=False, **settings):
    """A state, its step function and an iterator over images of three classes."""
    config = TrainConfig(dataset="folder", batch_size=BATCH, conditional=True, **{"loss": "ns", **settings})
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (40, 28, 28, 1), np.uint8), random.integers(0, 3, 40)
    state = create_state(config, Shapes(28, 1, 3), 100, "float32", make_optimizer=keras.optimizers.SGD)
    batches = step_batches(
        images, labels, seed=0, first_step=0, d_steps=config.d_steps, batch_size=BATCH, num_parts=config.accumulate
    )
    return state, build_step(config, state, tf.distribute.get_strategy(), xla=xla), iter(batches)


@pytest.fixture
def smooth(monkeypatch):
    """Networks without batch norm, which is to see one part at a time, and without kinks, which make jumps out of
    rounding."""
    monkeypatch.setattr(LayerFactory, "batch_norm", lambda self, name: keras.layers.Activation("linear", name=name))
    monkeypatch.setattr(keras.layers.LeakyReLU, "call", lambda self, inputs: keras.ops.silu(inputs))


RPGAN = {"loss": "rpgan", "r1_weight": 0.1, "r2_weight": 0.1, "g_batch_multiplier": 2, "clip_norm": 0.5}
AUGMENTED = {"augment": "diffaug", "flip": True, "dequantize": True}
CRITICS = {"d_steps": 2, "loss": "hinge", "spectral_norm": True, "gp_weight": 1.0, "penalty_every": 2}


@pytest.mark.parametrize(
    "settings, xla, parts",
    [
        pytest.param(RPGAN | AUGMENTED | {"arch": "mlp"}, False, 4, id="rpgan"),
        pytest.param({}, False, 2, id="dropout"),
        pytest.param(CRITICS, False, 4, id="critics", marks=pytest.mark.slow),
        pytest.param({"arch": "mlp"}, True, 4, id="xla", marks=pytest.mark.slow),
    ],
)
def test_parts_add_up_to_the_whole_batch(smooth, settings, xla, parts):
    settings = {"width": 0.25, "init_stddev": 0.1, "g_lr": 0.1, "d_lr": 0.1} | settings
    results = []
    for accumulate in (1, parts):
        state, step, batches = make(xla and accumulate > 1, accumulate=accumulate, **settings)
        before = state.to_arrays()
        rows, _ = step(batches, tf.constant(3))
        results.append((rows.numpy(), state.to_arrays()))
        assert step.traces == 1
    (whole_rows, whole), (rows, state) = results
    np.testing.assert_allclose(rows, whole_rows, rtol=1e-3, atol=1e-5)
    for name, value in whole.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    kernels = [name for name in whole if name.startswith(("generator", "discriminator")) and name.endswith("kernel")]
    assert len(kernels) > 4 and all(np.abs(whole[name] - before[name]).max() > 1e-4 for name in kernels)


@pytest.mark.parametrize("accumulate, d_steps", [(1, 1), (4, 1), (1, 3), (2, 3)])
def test_the_parts_together_move_batch_norm_statistics_as_far_as_the_batch(accumulate, d_steps):
    state, step, batches = make(arch="mlp", accumulate=accumulate, d_steps=d_steps, bn_momentum=0.8)
    variance = state.generator.get_layer("bn_2").moving_variance
    variance.assign(tf.fill(variance.shape, 1e6))
    step(batches, tf.constant(1))
    np.testing.assert_allclose(variance, 1e6 * 0.8**d_steps, rtol=1e-3)
