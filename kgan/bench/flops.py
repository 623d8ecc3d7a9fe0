"""How much arithmetic a training step is, counted from the layers, and how fast the machine multiplies."""

import math
import time

import keras
import tensorflow as tf
from keras import layers

_SIDE = 2048  # of the matrices that are multiplied
_SECONDS = 0.5  # for how long at least

# Passes through the generator and the discriminator for each real image, one update of each. A backward pass counts
# twice a forward one: once for the inputs' gradient, once for the weights'. All generators run forward and back once.
KGAN = 3, 8
"""The discriminator runs forward and back on a real and on a generated image, and once more on the generated one, back
to the image alone."""
GRAPH_LOOP = 3, 7
"""One forward pass on the generated image serves both updates."""
FIT_LOOP = 4, 8
"""As kgan, and images are generated once more for the discriminator."""
TORCH_LOOP = 3, 9
"""As kgan, and the generator's update also computes the gradient of the discriminator's weights."""


def forward_flops(model: keras.Model) -> int:
    """Floating-point operations of one image's forward pass: two for each multiplication in dense and convolutional
    layers. What is cheaper by orders of magnitude (biases, normalisation, activations) is left out."""
    return sum(2 * _multiplications(layer) for layer in model.layers)


def of_passes(generator: keras.Model, discriminator: keras.Model, passes: tuple[int, int]) -> int:
    """Floating-point operations for each real image of a step that makes `passes` through the two networks."""
    return passes[0] * forward_flops(generator) + passes[1] * forward_flops(discriminator)


def _multiplications(layer) -> int:
    if isinstance(layer, layers.Dense):
        return math.prod(layer.kernel.shape)
    if isinstance(layer, layers.Conv2DTranspose):  # every input pixel meets the whole kernel; so does every output's
        _, height, width, _ = layer.input.shape
        return height * width * math.prod(layer.kernel.shape)
    if isinstance(layer, layers.Conv2D):
        _, height, width, _ = layer.output.shape
        return height * width * math.prod(layer.kernel.shape)
    return 0


def matmul_flops(precision: str) -> float:
    """Floating-point operations a second of a product of two 2048x2048 matrices in `precision`, on the first device."""
    dtype = {"float32": tf.float32, "bfloat16": tf.bfloat16}[precision]
    matrix = tf.cast(tf.random.stateless_normal((_SIDE, _SIDE), (0, 0)), dtype)
    multiply = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)))
    multiply().numpy()
    begin, products = time.perf_counter(), 0
    while (taken := time.perf_counter() - begin) < _SECONDS or not products:
        multiply().numpy()
        products += 1
    return products * 2 * _SIDE**3 / taken
