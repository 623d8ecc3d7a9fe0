"""How much arithmetic a training step is, counted from the layers, and how fast the machine multiplies."""

import math
import time

import keras
import tensorflow as tf
from keras import layers

_SIDE = 2048  # of the matrices that are multiplied


def forward_flops(model: keras.Model) -> int:
    """Floating-point operations of one image's forward pass: two for each multiplication in dense and convolutional
    layers. What is cheaper by orders of magnitude (biases, normalisation, activations) is left out."""
    return sum(2 * _multiplications(layer) for layer in model.layers)


def step_flops(generator: keras.Model, discriminator: keras.Model) -> int:
    """Floating-point operations for each real image of a plain step, one discriminator and one generator update.

    A backward pass counts twice its forward pass: once for the inputs' gradient, once for the weights'. The generator
    runs forward and back once (3 passes); the discriminator runs forward and back on a real and on a generated image
    (6), and once more on the generated one, back to the image alone (2).
    """
    return 3 * forward_flops(generator) + 8 * forward_flops(discriminator)


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


def matmul_flops(precision: str, seconds: float = 0.5) -> float:
    """Floating-point operations a second of a product of two 2048x2048 matrices in `precision`, on the first device."""
    dtype = {"float32": tf.float32, "bfloat16": tf.bfloat16}[precision]
    matrix = tf.cast(tf.random.stateless_normal((_SIDE, _SIDE), (0, 0)), dtype)
    multiply = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)))
    multiply().numpy()
    begin, products = time.perf_counter(), 0
    while (taken := time.perf_counter() - begin) < seconds or not products:
        multiply().numpy()
        products += 1
    return products * 2 * _SIDE**3 / taken
