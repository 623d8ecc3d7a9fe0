"""Every size and architecture goes the whole way: trained, saved, resumed, and exported for plain Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kgan
from kgan.choices import IMAGE_SIZES
from kgan.images import to_uint8
from kgan.latents import latents
from tests.conftest import draw_folder


def slow(arch, size):
    return pytest.param(arch, size, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "arch, size",
    [
        ("dcgan", 40),
        ("mlp", 56),
        *(slow("dcgan", size) for size in IMAGE_SIZES if size != 40),
        *(slow(arch, size) for arch in ("sndcgan", "resnet") for size in (32, 48, 160)),
    ],
)
def test_a_size_goes_the_whole_way(tmp_path, arch, size):
    conditional, num = arch == "resnet", 4
    data = draw_folder(tmp_path / "images", 24, size, channels=3)
    run = kgan.train(
        dataset="folder", data_dir=str(data), image_size=size, arch=arch, conditional=conditional, width=0.05,
        batch_size=4, accumulate=2 if arch == "resnet" else 1, steps=2, run_dir=tmp_path / "run",
    )  # fmt: skip
    assert kgan.train(run_dir=run.path, resume=True, steps=3).step == 3
    kgan.export(run, out=tmp_path / "out", license="CC-BY-4.0")

    labels = np.arange(num) % 2
    images = kgan.load(run).generate(num, seed=5, labels=labels if conditional else None)
    assert images.shape == (num, size, size, 3)
    inputs = [latents(5, range(num), 100), labels] if conditional else [latents(5, range(num), 100)]
    archive = keras.saving.load_model(tmp_path / "out" / "generator.keras", safe_mode=True)
    saved_model = tf.saved_model.load(tmp_path / "out" / "saved_model")
    for made in (archive(inputs if conditional else inputs[0]), saved_model.serve(*map(tf.constant, inputs))):
        assert np.abs(to_uint8(made).astype(int) - images).max() <= 1
