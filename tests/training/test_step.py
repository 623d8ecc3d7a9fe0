import keras
import numpy as np
import pytest
import tensorflow as tf

from kgan import TrainConfig
from kgan.data.pipeline import step_batches
from kgan.models.architectures import Shapes
from kgan.training.objectives import OBJECTIVES
from kgan.training.state import create_state
from kgan.training.step import METRICS, TrainStep


def make(num_classes=0, size=28, xla=False, **settings):
    """A step function, its state, and an iterator over random images."""
    config = TrainConfig(dataset="folder", batch_size=4, **settings)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (12, size, size, 1), np.uint8)
    labels = random.integers(0, max(1, num_classes), 12)
    state = create_state(config, Shapes(size, 1, num_classes), 100, "float32")
    step = TrainStep(config, state, tf.distribute.get_strategy(), xla=xla, conditional=bool(num_classes))
    batches = step_batches(
        images, labels, seed=config.seed, first_step=0, d_steps=config.d_steps, batch_size=config.batch_size
    )
    return step, state, iter(batches)


def run(step, batches, count):
    rows, waited = step(batches, tf.constant(count))
    assert waited >= 0
    return dict(zip(METRICS, rows.numpy().T, strict=True))


# Objectives know nothing of networks: those of the largest are tried with the two that its paper has.
COMBINATIONS = [
    pytest.param(arch, loss, marks=[pytest.mark.slow] * (arch == "sndcgan" and loss not in ("ns", "hinge")))
    for arch in ("dcgan", "mlp", "sndcgan")
    for loss in OBJECTIVES
]


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("arch, loss", COMBINATIONS)
def test_every_combination_trains(arch, loss, conditional):
    step, state, batches = make(3 if conditional else 0, 32 if arch == "sndcgan" else 28, arch=arch, loss=loss)
    before = state.to_arrays()
    metrics = run(step, batches, 2)
    assert all(np.isfinite(values).all() for values in metrics.values())
    after = state.to_arrays()
    assert after["step"] == 2
    still = [name for name in before if np.array_equal(before[name], after[name])]
    still = {name for name in still if not name.endswith("learning_rate")}
    # A score has one output, so its right singular vector is 1; and for hinge and wgan the slopes in its bias cancel.
    assert all(name.startswith(("discriminator/score", "d_optimizer")) and "score" in name for name in still)


@pytest.mark.parametrize(
    "settings",
    [
        {"r1_weight": 1.0},
        {"gp_weight": 10.0, "loss": "wgan", "d_steps": 2},
        {"spectral_norm": True, "g_batch_multiplier": 2},
        {"augment": "diffaug", "flip": True, "dequantize": True},
        {"label_smoothing": 0.1, "lr_decay": "linear", "clip_norm": 0.1},
        {"ema_decay": 0.0, "init_stddev": 0.0},
    ],
)
def test_every_setting_trains(settings):
    step, _, batches = make(2, **settings)
    metrics = run(step, batches, 2)
    assert all(np.isfinite(values).all() for values in metrics.values())
    penalised = "r1_weight" in settings or "gp_weight" in settings
    assert (metrics["d_penalty"] > 0).all() == penalised


def test_xla_trains():
    step, _, batches = make(arch="mlp", xla=True)
    assert np.isfinite(run(step, batches, 2)["g_loss"]).all()


def test_it_never_retraces():
    step, state, batches = make(arch="mlp")
    for count in (1, 2, 1, 5, 3):
        step(batches, tf.constant(count))
    assert step.traces == 1
    assert state.step.numpy() == 12


def test_many_steps_in_one_call_are_the_same_steps():
    one_step, one_state, one_batches = make(arch="mlp", seed=4)
    many_step, many_state, many_batches = make(arch="mlp", seed=4)
    for _ in range(6):
        one_step(one_batches, tf.constant(1))
    many_step(many_batches, tf.constant(6))
    for name, value in one_state.to_arrays().items():
        np.testing.assert_allclose(many_state.to_arrays()[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_the_average_follows_with_a_rising_decay_and_live_statistics():
    step, state, batches = make(arch="mlp", ema_decay=0.5)
    kernel, mean = "ema_generator/dense_1/kernel", "ema_generator/bn_2/moving_mean"
    for made in range(4):
        before = state.to_arrays()
        step(batches, tf.constant(1))
        after = state.to_arrays()
        decay = min(0.5, (1 + made) / (10 + made))
        expected = decay * before[kernel] + (1 - decay) * after[kernel.removeprefix("ema_")]
        np.testing.assert_allclose(after[kernel], expected, rtol=1e-5, atol=1e-7)
        assert np.array_equal(after[mean], after[mean.removeprefix("ema_")])


def test_clipping_bounds_the_step_and_reports_the_norm_before_it():
    config = TrainConfig(dataset="folder", arch="mlp", batch_size=4, clip_norm=1e-3, g_lr=1.0, d_lr=1.0)
    state = create_state(config, Shapes(28, 1), 100, "float32", make_optimizer=keras.optimizers.SGD)
    step = TrainStep(config, state, tf.distribute.get_strategy(), xla=False, conditional=False)
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), np.uint8)
    batches = iter(step_batches(images, None, seed=0, first_step=0, d_steps=1, batch_size=4))
    before = [variable.numpy() for variable in state.discriminator.trainable_variables]
    metrics = run(step, batches, 1)
    after = [variable.numpy() for variable in state.discriminator.trainable_variables]
    moved = np.sqrt(sum(((new - old) ** 2).sum() for new, old in zip(after, before, strict=True)))
    assert metrics["d_grad_norm"][0] > 1e-3
    assert moved == pytest.approx(1e-3, rel=1e-2)


def test_linear_decay_ends_at_zero():
    _, state, _ = make(arch="mlp", lr_decay="linear", g_lr=0.5, d_steps=2)
    state.g_optimizer.iterations.assign(25)
    assert float(state.g_optimizer.learning_rate) == pytest.approx(0.375)
    state.d_optimizer.iterations.assign(200)
    assert float(state.d_optimizer.learning_rate) == 0.0
