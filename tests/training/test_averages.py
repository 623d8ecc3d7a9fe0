"""Averaged weights are sampled with batch-norm statistics of their own."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import kgan
from kgan.latents import latents
from kgan.runs import checkpoint
from kgan.runs.generator import in_proportion
from kgan.training import averages
from kgan.training.averages import estimate_statistics


@pytest.fixture(params=["mlp", "dcgan"])
def run(request, folder, tmp_path):
    return kgan.train(
        dataset="folder", data_dir=str(folder), image_size=28, channels=1, arch=request.param, width=0.25,
        batch_size=8, steps=3, save_every=2, run_dir=tmp_path / "run",
    )  # fmt: skip


def test_they_are_means_over_batches_of_what_the_weights_make(run):
    trained = kgan.load(run)
    estimate_statistics(trained)
    layers = [layer for layer in trained.generator.layers if layer.name.startswith(("dense", "relu", "bn", "embed"))]
    normal = next(layer for layer in layers if layer.name.startswith("bn"))
    z = latents(trained.config.seed, range(2**63, 2**63 + 500), 100)
    labels = trained.labels_in_proportion(500)
    before = type(trained.generator)(trained.generator.inputs, normal.input)
    values = np.asarray(before([z, labels] if trained.num_classes else z)).reshape(5, 100, -1)
    np.testing.assert_allclose(normal.moving_mean, values.mean(axis=(0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(normal.moving_variance, values.var(axis=1).mean(axis=0), rtol=1e-3, atol=1e-6)


def test_every_checkpoint_has_them_and_the_live_weights_keep_theirs(run):
    for step in (2, 3):
        trained = kgan.load(run, step)
        arrays = checkpoint.read(checkpoint.find(run.path / "checkpoints", str(step)))
        means = {name for name in arrays if "/moving_" in name and name.startswith("ema_")}
        assert means
        for path, value in estimate_statistics(trained).items():
            np.testing.assert_allclose(arrays[f"ema_generator/{path}"], value, rtol=1e-4, atol=1e-6)
            assert not np.allclose(arrays[f"generator/{path}"], value, rtol=1e-2)


@pytest.mark.parametrize("classes", [2, 102, 750, 1200])
def test_all_classes_take_part_or_some_at_even_distances(classes):
    trained = SimpleNamespace(num_classes=classes, labels_in_proportion=partial(in_proportion, [7] * classes))
    labels = averages._labels(trained)
    assert labels.shape == (5, 100)
    seen = np.unique(labels)
    assert len(seen) == min(classes, 500) and seen[0] == 0 and seen[-1] >= classes - 1 - classes // 500
    assert np.ptp(np.diff(seen)) <= 1
