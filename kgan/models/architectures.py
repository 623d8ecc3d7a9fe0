"""The networks, as Keras functional models. `choices.ARCHITECTURES` names them.

A generator maps z (n, latent_dim), and labels (n,) int64 where it is conditional, to images (n, h, w, c) in
[-1, 1]; a discriminator maps images, and labels, to one logit an image (n, 1). Both return float32 whatever
precision they compute in.
"""

import contextlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from kgan.choices import ARCHITECTURES
from kgan.config import TrainConfig
from kgan.models.layers import Dropout, FusedBatchNormalization, SpectralConv2D, SpectralDense, scaled_by_class


@dataclass(frozen=True)
class Shapes:
    """What the data ask of the networks. `num_classes` is 0 for networks that take no label."""

    image_size: int
    channels: int
    num_classes: int = 0


@dataclass(frozen=True)
class Architecture:
    """The hidden layers of a pair of networks.

    `generator(make, x, shapes)` maps a tensor (n, k), the latent vectors, to (n, h, w, c) before the tanh, and
    `discriminator(make, images)` maps images (n, h, w, c) to features (n, m); `make` is a `LayerFactory`.
    `spectral_norm` says whether the discriminator has it unless --spectral_norm says otherwise. In a conditional
    generator x holds an embedding of the class beside the latent, unless `class_in_norm`: `make.class_batch_norm` has
    it then. `steps_per_call` is how many steps a CPU makes in one graph call, more than 1 where a step is so short that
    Python would hold it up.
    """

    generator: Callable
    discriminator: Callable
    spectral_norm: bool = False
    class_in_norm: bool = False
    steps_per_call: int = 1


def architecture(config: TrainConfig) -> Architecture:
    """The architecture that `config` asks for."""
    return pkgutil.resolve_name(ARCHITECTURES[config.arch])


def has_spectral_norm(config: TrainConfig) -> bool:
    """Whether the discriminator has it: what --spectral_norm says, else what suits the architecture."""
    return architecture(config).spectral_norm if config.spectral_norm is None else config.spectral_norm


def build_generator(
    config: TrainConfig,
    shapes: Shapes,
    name: str = "generator",
    precision: str = "float32",
    for_training: bool = False,
) -> keras.Model:
    """The generator that `config` asks for, with weights fixed by config.seed.

    One that is not for training computes the same, more slowly, with Keras's own layers alone, so that it can be
    saved for others.
    """
    with _policy(precision):
        z = keras.Input((config.latent_dim,), name="z")
        label = keras.Input((), dtype="int64", name="label") if shapes.num_classes else None
        make = LayerFactory(config, np.random.default_rng([config.seed, 1]), for_training, label, shapes.num_classes)
        inputs = z if label is None else [z, label]  # a list of one would have Keras warn of every call with z alone
        x = z if label is None or architecture(config).class_in_norm else make.with_label(z)
        images = architecture(config).generator(make, x, shapes)
        return keras.Model(inputs, layers.Activation("tanh", dtype="float32", name="images")(images), name=name)


def build_discriminator(config: TrainConfig, shapes: Shapes, precision: str = "float32") -> keras.Model:
    """The discriminator that `config` asks for, with weights fixed by config.seed.

    A conditional one scores <embedding(label), features> + dense(features), the projection of Miyato and
    Koyama 2018 (arXiv:1802.05637). From the features on it computes in float32: large logits need the digits.
    """
    with _policy(precision):
        make = LayerFactory(config, np.random.default_rng([config.seed, 2]), for_training=True)
        image = keras.Input((shapes.image_size, shapes.image_size, shapes.channels), name="image")
        features = architecture(config).discriminator(make, image)
        inputs, score = image, make.d_dense(1, name="score", dtype="float32")(features)
        if shapes.num_classes:
            label = keras.Input((), dtype="int64", name="label")
            one_hot = layers.CategoryEncoding(shapes.num_classes, output_mode="one_hot", name="one_hot")(label)
            embedded = make.d_dense(features.shape[-1], use_bias=False, name="label_features", dtype="float32")(one_hot)
            projection = layers.Dot(1, name="projection", dtype="float32")([embedded, features])
            inputs, score = [image, label], layers.Add(name="projected_score", dtype="float32")([score, projection])
        return keras.Model(inputs, score, name="discriminator")


def inputs_of(network: keras.Model, values, labels):
    """What a network is called with: latents or images, and their labels where it is conditional."""
    return [values, labels] if len(network.inputs) == 2 else values


class LayerFactory:
    """Makes layers with the width, initial weights, batch norm and spectral norm that a configuration asks for.

    `d_dense` and `d_conv` are for discriminators: they may be spectrally normalised. `label` is the Keras input of a
    conditional generator.
    """

    def __init__(
        self, config: TrainConfig, seeds: np.random.Generator, for_training: bool, label=None, num_classes: int = 0
    ):
        self.config, self._seeds = config, seeds
        self._label, self._num_classes = label, num_classes
        self._batch_norm = FusedBatchNormalization if for_training else layers.BatchNormalization
        self.spectral = has_spectral_norm(config)

    def channels(self, count: int) -> int:
        """The number of channels or units of a hidden layer that has `count` at --width=1."""
        return max(1, round(count * self.config.width))

    def initializer(self):
        seed = int(self._seeds.integers(2**30))
        if self.config.init_stddev == 0:
            return keras.initializers.GlorotUniform(seed=seed)
        return keras.initializers.RandomNormal(stddev=self.config.init_stddev, seed=seed)

    def dense(self, units, **options):
        return layers.Dense(units, kernel_initializer=self.initializer(), **options)

    def d_dense(self, units, **options):
        layer = SpectralDense if self.spectral else layers.Dense
        return layer(units, kernel_initializer=self.initializer(), **options)

    def d_conv(self, filters, kernel, strides, name):
        layer = SpectralConv2D if self.spectral else layers.Conv2D
        return layer(filters, kernel, strides, "same", kernel_initializer=self.initializer(), name=name)

    def conv(self, filters, kernel, name):
        return layers.Conv2D(filters, kernel, padding="same", kernel_initializer=self.initializer(), name=name)

    def upconv(self, filters, kernel, strides, use_bias, name):
        return layers.Conv2DTranspose(
            filters, kernel, strides, "same", use_bias=use_bias, kernel_initializer=self.initializer(), name=name
        )

    def batch_norm(self, name, **options):
        """A step with --accumulate moves the statistics as far as one without, in more passes: one for each part, and
        those of the generator's own update, for which its images are generated anew."""
        parts, d_steps = self.config.accumulate, self.config.d_steps
        passes = parts * (d_steps + 1) if parts > 1 else d_steps
        momentum = self.config.bn_momentum ** (d_steps / passes)
        return self._batch_norm(momentum=momentum, synchronized=True, name=name, **options)

    def class_batch_norm(self, x, name):
        """`x` after batch norm, with a scale and a shift for each class in a conditional generator."""
        if self._label is None:
            return self.batch_norm(name)(x)
        normal = self.batch_norm(name, center=False, scale=False)(x)
        return scaled_by_class(normal, self._label, self._num_classes, name)

    def with_label(self, z):
        """`z` (n, k) beside an embedding of the label, as long: (n, 2 k)."""
        embedding = layers.Embedding(
            self._num_classes, z.shape[-1], embeddings_initializer=self.initializer(), name="embedding"
        )
        return layers.Concatenate(name="z_and_label")([z, embedding(self._label)])


def doublings(size: int, least: int) -> tuple[int, int]:
    """The side of the smallest feature maps and how often it is doubled to reach `size`: a side of `least` or more,
    halved no further."""
    start = size
    while start % 2 == 0 and start // 2 >= least:
        start //= 2
    return start, (size // start).bit_length() - 1


def _dcgan_generator(make: LayerFactory, x, shapes: Shapes):
    """Radford et al. 2016 (arXiv:1511.06434), from 7 to 12 pixels on, with at most their 1,024 channels; 28 pixels
    without biases, the others with them."""
    start, levels = doublings(shapes.image_size, 7)
    use_bias = shapes.image_size != 28
    first, *widths = [make.channels(min(1024, 64 * 2**i)) for i in reversed(range(levels + 1))]
    x = make.dense(start * start * first, use_bias=False, name="dense")(x)
    x = layers.LeakyReLU(0.2, name="relu_0")(make.batch_norm("bn_0")(x))
    x = layers.Reshape((start, start, first), name="reshape")(x)
    for i, width in enumerate(widths, 1):
        x = make.upconv(width, 5, 1 if i == 1 else 2, use_bias, f"upconv_{i}")(x)
        x = layers.LeakyReLU(0.2, name=f"relu_{i}")(make.batch_norm(f"bn_{i}")(x))
    return make.upconv(shapes.channels, 5, 2, use_bias, f"upconv_{levels + 1}")(x)


def _dcgan_discriminator(make: LayerFactory, x):
    _, halvings = doublings(x.shape[1], 7)
    for i in range(halvings):
        x = make.d_conv(make.channels(64 * 2**i), 5, 2, f"conv_{i + 1}")(x)
        x = layers.LeakyReLU(0.2, name=f"relu_{i + 1}")(x)
        x = Dropout(0.3, name=f"dropout_{i + 1}")(x)
    return layers.Flatten(name="features")(x)


def _mlp_generator(make: LayerFactory, x, shapes: Shapes):
    for i, width in enumerate((128, 256, 512), 1):
        x = make.dense(make.channels(width), name=f"dense_{i}")(x)
        if i > 1:
            x = make.batch_norm(f"bn_{i}")(x)
        x = layers.LeakyReLU(0.2, name=f"relu_{i}")(x)
    x = make.dense(shapes.image_size**2 * shapes.channels, name="dense_4")(x)
    return layers.Reshape((shapes.image_size, shapes.image_size, shapes.channels), name="reshape")(x)


def _mlp_discriminator(make: LayerFactory, x):
    x = layers.Flatten(name="flatten")(x)
    for i, width in enumerate((512, 256), 1):
        x = layers.LeakyReLU(0.2, name=f"relu_{i}")(make.d_dense(make.channels(width), name=f"dense_{i}")(x))
    return x


def _sndcgan_generator(make: LayerFactory, x, shapes: Shapes):
    """The standard CNN of Miyato et al. 2018, table 3, from 4 to 7 pixels on; 28 pixels do without its widest level,
    and sizes from 64 repeat it."""
    start, levels = doublings(shapes.image_size, 4)
    first, *widths = map(make.channels, [512] * (levels - 2) + [256, 128, 64])
    x = layers.Reshape((start, start, first), name="reshape")(make.dense(start * start * first, name="dense")(x))
    x = layers.ReLU(name="relu_0")(make.batch_norm("bn_0")(x))
    for i, width in enumerate(widths, 1):
        x = layers.ReLU(name=f"relu_{i}")(make.batch_norm(f"bn_{i}")(make.upconv(width, 4, 2, True, f"upconv_{i}")(x)))
    return make.conv(shapes.channels, 3, "conv")(x)


def _sndcgan_discriminator(make: LayerFactory, x):
    x = layers.LeakyReLU(0.1, name="relu_0")(make.d_conv(make.channels(64), 3, 1, "conv_0")(x))
    _, halvings = doublings(x.shape[1], 4)
    widths = map(make.channels, [128, 256, 512] + [512] * (halvings - 3))
    for i, width in enumerate(widths, 1):
        x = layers.LeakyReLU(0.1, name=f"relu_{i}a")(make.d_conv(width, 4, 2, f"conv_{i}a")(x))
        x = layers.LeakyReLU(0.1, name=f"relu_{i}b")(make.d_conv(width, 3, 1, f"conv_{i}b")(x))
    return layers.Flatten(name="features")(x)


DCGAN = Architecture(_dcgan_generator, _dcgan_discriminator)
MLP = Architecture(_mlp_generator, _mlp_discriminator, steps_per_call=20)
SNDCGAN = Architecture(_sndcgan_generator, _sndcgan_discriminator, spectral_norm=True)


@contextlib.contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Layers made within this block compute in `precision`, with float32 variables."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy({"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
