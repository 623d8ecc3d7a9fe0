"""Latent recovery: a generator's own images are recovered, others are not, and the two groups are told apart."""

import keras
import numpy as np
import pytest

import kgan
from kgan.auditing import inputs, recovery
from kgan.config import TrainConfig
from kgan.provenance.marks import Origin
from kgan.runs.generator import TrainedGenerator
from tests.making import smooth_images


def generator(num_classes: int = 0) -> TrainedGenerator:
    """A smooth map from 4 latents (and a class, which makes it dark or bright) to 6x6 images."""
    z = keras.Input((4,))
    label = keras.Input((), dtype="int64")
    hidden = keras.layers.Dense(36, kernel_initializer=keras.initializers.RandomNormal(stddev=0.5, seed=1))(z)
    if num_classes:
        hidden = hidden + 4.0 * keras.ops.cast(label[:, None], "float32") - 2.0
    output = keras.layers.Reshape((6, 6, 1))(keras.layers.Activation("tanh")(hidden))
    model = keras.Model([z, label] if num_classes else z, output)
    return TrainedGenerator(TrainConfig(latent_dim=4), model, num_classes, 0, "", {}, False)


@pytest.mark.parametrize("num_classes", [0, 2])
def test_its_own_images_are_recovered_and_others_are_not(num_classes):
    trained = generator(num_classes)
    own = trained.generate(120, seed=5)
    labels = trained.labels_for(range(120))
    calls = []
    errors = recovery.recover(trained, own, labels, steps=200, progress=lambda *done: calls.append(done))
    assert np.median(errors) < 1e-3
    assert calls[-1] == (800, 800) and len(calls) == 800  # 2 blocks, 2 starts
    other = np.random.default_rng(0).integers(0, 256, own.shape, np.uint8)
    assert np.median(recovery.recover(trained, other, labels, starts=1, steps=50)) > 0.2
    if num_classes:
        assert np.median(recovery.recover(trained, own, 1 - labels, starts=1)) > np.median(errors) * 10


def test_training_images_that_are_recovered_better_are_noticed(monkeypatch):
    monkeypatch.setattr(recovery, "NUM_IMAGES", 100)
    trained, zeros = generator(), np.zeros(150, np.int64)
    own = trained.generate(150, seed=5)
    noise = np.random.default_rng(0).integers(-40, 41, own.shape)
    others = np.clip(own + noise, 0, 255).astype(np.uint8)
    found = recovery.latent_recovery(trained, (own, zeros), (others, zeros))
    assert found["num_train"] == found["num_heldout"] == 100
    assert found["recovers_training_images"] and found["p_value"] < 0.01 and found["gap"] > 0.1
    assert found["median_error_train"] < found["median_error_heldout"]
    alike = recovery.latent_recovery(trained, (own[:75], zeros[:75]), (own[75:], zeros[75:]))
    assert not alike["recovers_training_images"]
    worse = recovery.latent_recovery(trained, (others, zeros), (own, zeros))
    assert worse["p_value"] > 0.5 and worse["gap"] < 0


def test_latent_recovery_is_reported_and_has_no_bearing_on_the_verdict(monkeypatch, tmp_path):
    """A generator may reach its training images better without copying them, and may not be asked at all."""
    measured = {"p_value": 1e-9, "gap": 0.2, "recovers_training_images": True}
    train, heldout, samples = np.split(smooth_images(300), [100, 200])
    images = inputs.AuditImages(
        samples, train, heldout, {}, Origin("", "", "", "", False, {}), recover=lambda progress: measured
    )
    monkeypatch.setattr(inputs, "of_run", lambda *arguments, **settings: images)
    (tmp_path / "config.json").write_text("{}")
    alone, result = kgan.audit(tmp_path), kgan.audit(tmp_path, recover=True)
    assert alone.latent_recovery is None and result.latent_recovery == measured
    assert result.verdict == "no copying detected"
    for name in ("verdict", "reason", "p_values", "adjusted_p_values", "detection_limit"):
        assert getattr(result, name) == getattr(alone, name)
