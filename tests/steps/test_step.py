import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgan import TrainConfig
from kgan.choices import ARCHITECTURES, LOSSES, Loss
from kgan.data.pipeline import step_batches
from kgan.models.architectures import Architecture, Shapes
from kgan.models.layers import Dropout, SpectralDense
from kgan.steps.accumulation import build_step
from kgan.steps.objectives import Objective
from kgan.steps.state import create_state
from kgan.steps.step import METRICS


def make(num_classes=0, size=28, xla=False, precision="float32", make_optimizer=None, **settings):
    """A step function, its state, and an iterator over random images."""
    config = TrainConfig(dataset="folder", batch_size=4, **{"loss": "ns", **settings})
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (12, size, size, 1), np.uint8)
    labels = random.integers(0, max(1, num_classes), 12)
    state = create_state(config, Shapes(size, 1, num_classes), 100, precision, make_optimizer)
    step = build_step(config, state, tf.distribute.get_strategy(), xla=xla)
    batches = step_batches(
        images, labels, seed=config.seed, first_step=0, d_steps=config.d_steps, batch_size=config.batch_size
    )
    return step, state, iter(batches)


def run(step, batches, count):
    rows, waited = step(batches, tf.constant(count))
    assert waited >= 0
    return dict(zip(METRICS, rows.numpy().T, strict=True))


# Objectives know nothing of networks: the larger ones are tried with one or two that their paper has.
QUICK = {"sndcgan": ("ns", "hinge"), "resnet": ("hinge",)}
COMBINATIONS = [
    pytest.param(arch, loss, marks=[pytest.mark.slow] * (loss not in QUICK.get(arch, LOSSES)))
    for arch in ARCHITECTURES
    for loss in LOSSES
]


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("arch, loss", COMBINATIONS)
def test_every_combination_trains(arch, loss, conditional):
    width = 0.25 if arch == "resnet" else 1.0
    step, state, batches = make(3 if conditional else 0, arch=arch, loss=loss, width=width)
    before = state.to_arrays()
    metrics = run(step, batches, 2)
    assert all(np.isfinite(values).all() for values in metrics.values())
    after = state.to_arrays()
    assert after["step"] == 2
    # Vectors of one number are left out: a singular vector is then 1, and for hinge and wgan the slopes in the score's
    # bias cancel. So are the averaged generator's statistics: where it is used, it gets its own.
    changes = [name for name in before if before[name].size > 1 and not re.match("ema_generator/.*/moving_", name)]
    assert changes and not [name for name in changes if np.array_equal(before[name], after[name])]


@pytest.mark.parametrize(
    "settings",
    [
        {"r1_weight": 1.0},
        {"r2_weight": 1.0, "d_steps": 2},
        {
            "r1_weight": 1.0,
            "r2_weight": 1.0,
            "penalty_every": 1,
            "loss": "rpgan",
            "g_batch_multiplier": 2,
            "augment": "diffaug",
        },
        {"gp_weight": 10.0, "loss": "wgan", "d_steps": 2},
        {"spectral_norm": True, "g_batch_multiplier": 2},
        {"augment": "diffaug", "flip": True, "dequantize": True},
        {"label_smoothing": 0.1, "lr_decay": "linear", "clip_norm": 0.1},
        {"ema_decay": 0.0, "init_stddev": 0.0},
        {"accumulate": 2, "loss": "rpgan", "r1_weight": 1.0, "penalty_every": 1, "d_steps": 2, "width": 0.25},
    ],
)
def test_every_setting_trains(settings):
    step, _, batches = make(2, **settings)
    metrics = run(step, batches, 2)
    assert all(np.isfinite(values).all() for values in metrics.values())
    penalised = any(name in settings for name in ("r1_weight", "r2_weight", "gp_weight"))
    assert (metrics["d_penalty"] > 0).all() == penalised


def linear_discriminator(make, images):
    """Its gradient at an image is its weights, where dropout keeps them."""
    return Dropout(0.5)(keras.layers.Flatten()(images))


def constant_generator(make, x, shapes):
    pixels = keras.layers.Dense(shapes.image_size**2 * shapes.channels, bias_initializer="ones")(0.0 * x)
    return keras.layers.Reshape((shapes.image_size, shapes.image_size, shapes.channels))(100.0 * pixels)


LINEAR = Architecture(constant_generator, linear_discriminator)


@pytest.mark.parametrize("penalties", [("r1_weight",), ("r2_weight",), ("r1_weight", "r2_weight")])
def test_r1_and_r2_are_the_gradients_of_the_logits_in_the_loss(monkeypatch, penalties):
    monkeypatch.setitem(ARCHITECTURES, "linear", f"{__name__}:LINEAR")
    step, state, _ = make(arch="linear", loss="wgan", **dict.fromkeys(penalties, 1.0))
    kernel = state.discriminator.get_layer("score").kernel
    kernel.assign(tf.fill(kernel.shape, 0.01))
    white = np.full((4, 28, 28, 1), 255, np.uint8)
    metrics = run(step, iter(step_batches(white, None, seed=0, first_step=0, d_steps=1, batch_size=4)), 1)
    # Every pixel is 1, so a logit is 0.02 for each pixel that dropout keeps, and the squared gradient 0.02^2.
    logits = {"r1_weight": metrics["d_real"], "r2_weight": metrics["d_fake"]}
    expected = sum(0.5 * 0.02 * logits[name][0] for name in penalties)
    assert metrics["d_penalty"][0] == pytest.approx(expected, rel=1e-4)
    assert metrics["d_real"][0] != metrics["d_fake"][0]  # each with a dropout of its own


def test_r1_is_taken_before_augmentation(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "linear", f"{__name__}:LINEAR")
    monkeypatch.setattr(Dropout, "call", lambda self, inputs, training=False: inputs)
    monkeypatch.setattr("kgan.steps.gradients.augment", lambda policy, images, stream: 2.0 * images)
    step, state, batches = make(arch="linear", loss="wgan", r1_weight=1.0, augment="diffaug")
    squared = np.sum((2.0 * state.discriminator.get_layer("score").kernel.numpy()) ** 2)
    assert run(step, batches, 1)["d_penalty"][0] == pytest.approx(0.5 * squared, rel=1e-4)


@pytest.mark.parametrize("settings", [{}, {"d_steps": 2}])
def test_the_generator_is_updated_through_the_images_that_the_discriminator_saw(settings):
    step, _, batches = make(arch="mlp", loss="wgan", d_lr=1e-9, **settings)
    metrics = run(step, batches, 3)
    np.testing.assert_allclose(metrics["g_loss"], -metrics["d_fake"], rtol=1e-3)


def test_penalties_at_every_third_step_have_three_times_the_weight():
    rows = []
    for every in (1, 3):
        step, _, batches = make(2, arch="mlp", r1_weight=0.1, gp_weight=0.1, penalty_every=every, d_lr=1e-9)
        rows.append(run(step, batches, 4)["d_penalty"])
    np.testing.assert_allclose(rows[1], rows[0] * [3, 0, 0, 3], rtol=1e-3)


def made_up_objective():
    return Objective(lambda real, fake: tf.square(real - fake - 1.0), lambda fake, _: tf.square(fake))


def nested_generator(make, x, shapes):
    """With layers in a model of its own: spectral norm, batch norm, and dropout."""
    inner = keras.Input((x.shape[-1],))
    hidden = make.batch_norm("inner_bn")(SpectralDense(16, kernel_initializer=make.initializer())(inner))
    hidden = Dropout(0.1, name="inner_dropout")(hidden)
    return constant_generator(make, keras.Model(inner, hidden, name="inner")(x), shapes)


def normalised_discriminator(make, images):
    return make.batch_norm("statistics")(keras.layers.Flatten()(images))


NESTED = Architecture(nested_generator, normalised_discriminator)


def test_a_new_objective_and_a_new_architecture_are_an_entry_each(monkeypatch):
    monkeypatch.setitem(LOSSES, "made_up", Loss(f"{__name__}:made_up_objective", "made up"))
    monkeypatch.setitem(ARCHITECTURES, "nested", f"{__name__}:NESTED")
    step, state, batches = make(loss="made_up", arch="nested")
    inner = next(layer for layer in state.generator.get_layer("inner").layers if isinstance(layer, SpectralDense))
    before = inner.right.numpy()
    assert np.isfinite(run(step, batches, 2)["g_loss"]).all()
    assert not np.array_equal(before, inner.right)


XLA_CASES = [
    {"arch": "mlp"},
    pytest.param({"arch": "mlp", "precision": "bfloat16", "num_classes": 3}, marks=pytest.mark.slow),
    pytest.param({"loss": "rpgan", "r1_weight": 0.1, "r2_weight": 0.1, "augment": "diffaug"}, marks=pytest.mark.slow),
    pytest.param({"num_classes": 3, "loss": "wgan", "gp_weight": 10.0, "d_steps": 2}, marks=pytest.mark.slow),
    pytest.param({"num_classes": 3, "precision": "bfloat16", "r1_weight": 0.1}, marks=pytest.mark.slow),
    pytest.param({"arch": "sndcgan", "size": 32, "loss": "hinge", "num_classes": 3}, marks=pytest.mark.slow),
    pytest.param(
        {"arch": "sndcgan", "size": 32, "width": 0.5, "r1_weight": 0.1, "r2_weight": 0.1, "penalty_every": 2},
        marks=pytest.mark.slow,
    ),
    pytest.param({"arch": "sndcgan", "size": 32, "precision": "bfloat16", "flip": True}, marks=pytest.mark.slow),
    pytest.param(
        {"arch": "resnet", "size": 32, "width": 0.1, "num_classes": 3, "r1_weight": 0.1}, marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize("case", XLA_CASES, ids=str)
def test_the_step_that_xla_compiles_is_the_plain_step(case):
    """What runs on a GPU. Random numbers are the same, so that only the order of sums differs.

    With SGD: Adam makes a step of full length of a gradient that is nothing but rounding.
    """
    settings = {"make_optimizer": keras.optimizers.SGD, "g_lr": 0.01, "d_lr": 0.01, **case}
    (plain, expected, batches), (compiled, state, same) = (make(xla=xla, **settings) for xla in (False, True))
    before = state.to_arrays()
    rows, metrics = run(plain, batches, 1), run(compiled, same, 1)
    tolerance = 0.1 if case.get("precision") == "bfloat16" else 1e-3
    for name in METRICS:
        np.testing.assert_allclose(metrics[name], rows[name], rtol=tolerance, atol=tolerance, err_msg=name)
    after, moved = state.to_arrays(), {name: value - before[name] for name, value in expected.to_arrays().items()}
    largest = max(np.abs(update).max() for name, update in moved.items() if not name.startswith(("step", "g_", "d_")))
    for name, update in moved.items():
        error = np.abs(after[name] - before[name] - update).max()
        assert error <= tolerance * (2 * np.abs(update).max() + 0.1 * largest), name
    run(compiled, same, 2)
    assert compiled.traces == 1 and state.step.numpy() == 3
    assert not [name for name, variable in state.variables().items() if variable.dtype in ("int32", tf.int32)]


def test_the_compiled_step_never_talks_to_the_host():
    step, _, batches = make(2, xla=True, arch="mlp", loss="rpgan", r1_weight=0.1, augment="diffaug", flip=True)
    program = step._one_step.experimental_get_compiler_ir(*next(batches))(stage="optimized_hlo")
    assert "parameter(" in program
    assert not re.search(r"\b(infeed|outfeed|send|recv|custom-call)\(", program)


def test_bfloat16_computes_logits_and_penalties_like_float32():
    rows = []
    for precision in ("float32", "bfloat16"):
        step, _, batches = make(
            3, arch="dcgan", precision=precision, r1_weight=1.0, r2_weight=1.0, spectral_norm=True, init_stddev=0.2
        )
        rows.append(run(step, batches, 1))
    for name in METRICS:
        np.testing.assert_allclose(rows[1][name], rows[0][name], rtol=0.1, atol=0.02, err_msg=name)


def test_many_trainings_in_one_process_bring_no_warning_of_retracing(caplog):
    for _ in range(6):
        step, _, batches = make(arch="mlp", width=0.1, latent_dim=2)
        step(batches, tf.constant(1))
    assert "retracing" not in caplog.text


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


def test_the_average_of_weights_follows_with_a_rising_decay():
    step, state, batches = make(arch="mlp", ema_decay=0.5)
    for made in range(4):
        before = state.to_arrays()
        step(batches, tf.constant(1))
        after = state.to_arrays()
        decay = min(0.5, (1 + made) / (10 + made))
        for name in ("dense_1/kernel", "bn_2/gamma"):
            average, live = f"ema_generator/{name}", after[f"generator/{name}"]
            expected = decay * before[average] + (1 - decay) * live
            np.testing.assert_allclose(after[average], expected, rtol=1e-5, atol=1e-7, err_msg=name)


def test_clipping_bounds_the_step_and_reports_the_norm_before_it():
    config = TrainConfig(dataset="folder", arch="mlp", loss="ns", batch_size=4, clip_norm=1e-3, g_lr=1.0, d_lr=1.0)
    state = create_state(config, Shapes(28, 1), 100, "float32", make_optimizer=keras.optimizers.SGD)
    step = build_step(config, state, tf.distribute.get_strategy(), xla=False)
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
