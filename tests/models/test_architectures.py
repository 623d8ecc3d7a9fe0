import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgan import TrainConfig
from kgan.choices import ARCHITECTURES, IMAGE_SIZES
from kgan.models.architectures import Shapes, build_discriminator, build_generator
from kgan.models.layers import FusedBatchNormalization, update_spectral_norms


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def outputs(arch, size, channels, num_classes, precision="float32", width=1.0):
    config = TrainConfig(dataset="folder", arch=arch, width=width)
    shapes = Shapes(size, channels, num_classes)
    generator = build_generator(config, shapes, precision=precision)
    discriminator = build_discriminator(config, shapes, precision)
    z, label = tf.zeros((2, 100)), tf.constant([0, max(0, num_classes - 1)], tf.int64)
    images = generator([z, label] if num_classes else z)
    return images, discriminator([images, label] if num_classes else images)


def test_the_articles_networks_have_their_parameters():
    config = TrainConfig()
    assert build_generator(config, Shapes(28, 1)).count_params() == 2_330_944
    assert build_generator(config, Shapes(32, 3)).count_params() == 2_733_699
    assert build_discriminator(config, Shapes(32, 3)).count_params() == 217_985
    dense = TrainConfig(arch="mlp")
    assert count(build_generator(dense, Shapes(28, 1)).trainable_variables) == 581_264
    assert build_discriminator(dense, Shapes(28, 1)).count_params() == 533_505


# Parameters of generator and discriminator at three channels, and a checksum of their variables' names and shapes, as
# version 0.1 had them: its checkpoints are read by them.
FIRST_SIZES = {
    ("dcgan", 28, 0): (2_334_144, 216_065, 3061307248),
    ("dcgan", 28, 10): (3_589_544, 278_785, 1608707808),
    ("dcgan", 32, 0): (2_733_699, 217_985, 2598259315),
    ("dcgan", 64, 0): (7_715_715, 1_045_633, 2068602473),
    ("dcgan", 128, 0): (24_233_347, 4_339_329, 3177012096),
    ("mlp", 28, 0): (1_387_184, 1_336_321, 4276977559),
    ("mlp", 32, 10): (1_770_344, 1_707_521, 912657561),
    ("mlp", 64, 0): (6_484_352, 6_423_553, 1826736405),
    ("mlp", 128, 0): (25_395_584, 25_297_921, 1395179219),
    ("sndcgan", 32, 0): (3_585_923, 5_886_173, 840862217),
    ("sndcgan", 64, 10): (8_602_987, 12_544_743, 344788208),
    ("sndcgan", 128, 0): (11_979_651, 19_023_069, 3738978189),
}


@pytest.mark.parametrize("arch, size, num_classes", FIRST_SIZES)
def test_the_first_sizes_keep_their_networks(arch, size, num_classes):
    config = TrainConfig(dataset="folder", arch=arch)
    networks = [build(config, Shapes(size, 3, num_classes)) for build in (build_generator, build_discriminator)]
    names = "".join(f"{variable.path} {tuple(variable.shape)}\n" for model in networks for variable in model.variables)
    counts = (model.count_params() for model in networks)
    assert (*counts, zlib.crc32(names.encode())) == FIRST_SIZES[arch, size, num_classes]


@pytest.mark.parametrize("arch, size, first, last", [
    ("dcgan", 48, 12, 12), ("dcgan", 112, 7, 7), ("dcgan", 160, 10, 10), ("dcgan", 256, 8, 8),
    ("sndcgan", 48, 6, 6), ("sndcgan", 56, 7, 7), ("sndcgan", 160, 5, 5), ("sndcgan", 256, 4, 4),
])  # fmt: skip
def test_feature_maps_are_halved_to_the_last_whole_side_that_is_large_enough(arch, size, first, last):
    config, shapes = TrainConfig(dataset="folder", arch=arch, width=0.05), Shapes(size, 3)
    assert build_generator(config, shapes).get_layer("reshape").output.shape[1] == first
    features = build_discriminator(config, shapes).get_layer("features").input
    assert features.shape[1:3] == (last, last)


# Miyato et al. 2018: channels of a generator's dense layer and blocks (table 4, 5, 6, left), and of a discriminator's
# blocks with how many of them halve the side (right).
RESIDUAL = {
    32: ((256, 256, 256, 256), (128, 128, 128, 128), 2),
    48: ((512, 256, 128, 64), (64, 128, 256, 512, 1024), 4),
    128: ((1024, 1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024, 1024), 5),
}


@pytest.mark.parametrize("size", RESIDUAL)
def test_the_residual_networks_are_those_of_the_paper(size):
    (first, *ups), downs, halvings = RESIDUAL[size]
    config = TrainConfig(dataset="folder", arch="resnet", latent_dim=128)
    generator, discriminator = build_generator(config, Shapes(size, 3)), build_discriminator(config, Shapes(size, 3))
    start = size >> len(ups)
    assert generator.get_layer("reshape").output.shape[1:] == (start, start, first)
    assert generator.get_layer(f"block_{len(ups)}").output.shape[1:] == (size, size, ups[-1])
    last = size >> halvings
    assert discriminator.get_layer(f"block_{len(downs)}").output.shape[1:] == (last, last, downs[-1])

    def conv(side, before, after):
        return side * side * before * after + after

    expected, before = 128 * start * start * first + start * start * first, first
    for width in ups:  # scale and shift before each 3x3 convolution, and a 1x1 convolution around
        expected += 2 * before + conv(3, before, width) + 2 * width + conv(3, width, width) + conv(1, before, width)
        before = width
    assert count(generator.trainable_variables) == expected + 2 * before + conv(3, before, 3)
    expected, before = 0, 3
    for number, width in enumerate(downs):
        inner = before if number else width
        expected += conv(3, before, inner) + conv(3, inner, width)
        expected += conv(1, before, width) if number < halvings or before != width else 0
        before = width
    assert count(discriminator.trainable_variables) == expected + before + 1


def test_the_residual_networks_of_cifar_10_in_numbers():
    config = TrainConfig(dataset="cifar10", arch="resnet", latent_dim=128)
    generator, discriminator = build_generator(config, Shapes(32, 3)), build_discriminator(config, Shapes(32, 3))
    assert count(generator.trainable_variables) == 4_276_739
    assert count(discriminator.trainable_variables) == 1_053_825
    conditional = build_generator(config, Shapes(32, 3, 10))
    # Ten pairs of scale and shift in place of one, in two norms of three blocks; the last norm has one pair still.
    assert count(conditional.trainable_variables) == 4_276_739 + 9 * 2 * 256 * 6


def test_the_class_scales_and_shifts_in_conditional_batch_norm():
    config = TrainConfig(dataset="folder", arch="resnet", width=0.05)
    training, saved = (build_generator(config, Shapes(32, 3, 3), for_training=flag) for flag in (True, False))
    random = np.random.default_rng(0)
    assert [variable.path for variable in saved.variables] == [variable.path for variable in training.variables]
    values = {variable.path: random.uniform(0.5, 1.5, variable.shape) for variable in training.variables}
    for variable in (*training.variables, *saved.variables):
        if "kernel" not in variable.path:
            variable.assign(values[variable.path])
    z, labels = tf.random.stateless_normal((4, 100), (5, 6)), tf.constant([0, 2, 2, 1], tf.int64)
    images = saved([z, labels])
    np.testing.assert_allclose(training([z, labels]), images, rtol=1e-4, atol=1e-5)
    assert not np.allclose(saved([z, labels[::-1]])[0], images[0])

    inner = keras.Model(
        training.inputs, [training.get_layer(name).output for name in ("reshape", "block_1_bn_1_shifted")]
    )
    before, after = inner([z, labels], training=True)
    normal = (before - tf.reduce_mean(before, (0, 1, 2))) / tf.sqrt(tf.math.reduce_variance(before, (0, 1, 2)) + 1e-3)
    gamma, beta = (
        values[f"block_1_bn_1_{part}/embeddings"][labels.numpy()][:, None, None] for part in ("gamma", "beta")
    )
    np.testing.assert_allclose(after, gamma * normal + beta, rtol=1e-3, atol=1e-3)


def test_dcgan_is_never_wider_than_its_paper():
    config = TrainConfig(dataset="folder")
    generator = build_generator(config, Shapes(256, 3))
    widths = [generator.get_layer(name).output.shape[-1] for name in ("reshape", *(f"upconv_{i}" for i in range(1, 7)))]
    assert widths == [1024, 1024, 512, 256, 128, 64, 3]


@pytest.mark.parametrize("arch, size", [("dcgan", 28), ("mlp", 28), ("sndcgan", 64)])
def test_width_scales_every_hidden_layer(arch, size):
    networks = []
    for width in (1.0, 0.5):
        config = TrainConfig(dataset="folder", arch=arch, width=width)
        networks.append((build_generator(config, Shapes(size, 3)), build_discriminator(config, Shapes(size, 3))))
    for full, half in zip(*networks, strict=True):
        hidden = [layer for layer in full.layers if "conv" in layer.name or "dense" in layer.name]
        for layer in hidden:
            channels, halved = layer.output.shape[-1], half.get_layer(layer.name).output.shape[-1]
            is_output = full.name == "generator" and layer is hidden[-1]
            assert halved == (channels if is_output else channels / 2), layer.name
        assert half.output.shape == full.output.shape


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_size_fits(arch, size):
    channels, num_classes = ((3, 0), (1, 10))[IMAGE_SIZES.index(size) % 2]
    images, logits = outputs(arch, size, channels, num_classes, width=0.05)
    assert images.shape == (2, size, size, channels)
    assert logits.shape == (2, 1)
    assert np.abs(images).max() <= 1


def test_bfloat16_networks_return_float32():
    images, logits = outputs("sndcgan", 32, 3, 10, "bfloat16")
    assert images.dtype == logits.dtype == tf.float32
    assert keras.config.dtype_policy().name == "float32"


def test_the_seed_fixes_the_weights():
    weights = [build_generator(TrainConfig(seed=seed), Shapes(28, 1)).get_weights()[0] for seed in (1, 1, 2)]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
    assert weights[0].std() == pytest.approx(0.02, rel=0.01)


def test_the_label_reaches_both_networks():
    config = TrainConfig(init_stddev=0.5)
    generator, discriminator = (build(config, Shapes(28, 1, 3)) for build in (build_generator, build_discriminator))
    z, image, labels = tf.ones((2, 100)), tf.ones((2, 28, 28, 1)), tf.constant([0, 2], tf.int64)
    first, second = generator([z, labels]).numpy()
    assert not np.allclose(first, second)
    first, second = discriminator([image, labels]).numpy()
    assert not np.allclose(first, second)


def test_spectral_norm_is_the_largest_singular_value_and_carries_a_gradient():
    discriminator = build_discriminator(TrainConfig(spectral_norm=True), Shapes(28, 1, 3))
    for _ in range(200):
        update_spectral_norms(discriminator)
    layers = [layer for layer in discriminator.layers if hasattr(layer, "normalised_kernel")]
    assert len(layers) == 4
    for layer in layers:
        matrix = layer.normalised_kernel().numpy().reshape(-1, layer.kernel.shape[-1])
        assert np.linalg.svd(matrix, compute_uv=False)[0] == pytest.approx(1.0, abs=1e-3)
        with tf.GradientTape() as tape:
            scale = tf.reduce_sum(layer.normalised_kernel() * layer.kernel)
        # W / sigma(W) does not change when W grows, so <W / sigma(W), W> grows exactly in proportion.
        gradient = tape.gradient(scale, layer.kernel.value).numpy()
        assert (gradient * layer.kernel.numpy()).sum() == pytest.approx(scale.numpy(), rel=1e-3)


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("shape", [(6, 5), (6, 4, 4, 5)])
def test_fused_batch_norm_is_that_of_keras(shape, learns):
    inputs = tf.random.stateless_normal(shape, (1, 2), mean=3.0, stddev=2.0)
    results = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(momentum=0.9, center=learns, scale=learns)
        layer.build(shape)
        for variable, start in zip(layer.trainable_variables, (1.0, 0.0), strict=False):  # gamma, beta
            variable.assign(tf.range(start, start + 5.0))
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs**3)
        gradients = tape.gradient(loss, [inputs, *(variable.value for variable in layer.trainable_variables)])
        results.append([outputs, *gradients, *layer.get_weights(), layer(inputs)])
    for keras_value, value in zip(*results, strict=True):
        np.testing.assert_allclose(value, keras_value, rtol=1e-4, atol=1e-3)


def test_spectral_norm_in_bfloat16_divides_by_a_float32_norm():
    scores = []
    for precision in ("float32", "bfloat16"):
        config = TrainConfig(dataset="folder", arch="sndcgan")
        discriminator = build_discriminator(config, Shapes(32, 3), precision)
        layer = discriminator.get_layer("conv_0")
        assert layer.left.dtype == layer.right.dtype == layer.kernel.dtype == "float32"
        assert discriminator.get_layer("score").compute_dtype == "float32"
        images = tf.random.stateless_uniform((4, 32, 32, 3), (3, 4), -1.0, 1.0)
        scores.append(discriminator(images).numpy())
    np.testing.assert_allclose(scores[1], scores[0], rtol=0.1, atol=0.02 * np.abs(scores[0]).max())


def test_spectral_norm_moves_only_when_told():
    discriminator = build_discriminator(TrainConfig(arch="sndcgan", dataset="cifar10"), Shapes(32, 3))
    before = [np.array(value) for value in discriminator.get_weights()]
    for _ in range(3):
        discriminator(tf.ones((2, 32, 32, 3)), training=True)
    assert all(np.array_equal(old, new) for old, new in zip(before, discriminator.get_weights(), strict=True))
