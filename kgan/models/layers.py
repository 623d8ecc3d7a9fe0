"""The layers that Keras does not have in the form a GAN's step needs."""

import keras
import tensorflow as tf

from kgan.models.random import current_dropout_stream


class Dropout(keras.layers.Layer):
    """Dropout whose mask comes from `random.dropout_from`, so that it does not depend on history or on replicas."""

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, inputs, training=False):
        if not training:
            return inputs
        kept = current_dropout_stream().fold(self.name).uniform(inputs.shape) >= self.rate
        return tf.where(kept, inputs / (1.0 - self.rate), tf.zeros_like(inputs))


class _SpectralNorm:
    """Divides a layer's kernel by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

    The singular vectors are variables that only `power_iteration` moves, once a discriminator step, while the
    gradient flows through sigma = v^T W u. (keras.layers.SpectralNormalization instead overwrites its kernel on
    every training call and stops that gradient.)
    """

    def build(self, input_shape):
        super().build(input_shape)
        rows, columns = self._matrix().shape
        start = keras.initializers.RandomNormal(seed=self.kernel_initializer.seed)
        self.left = self.add_weight(shape=(rows,), initializer="zeros", trainable=False, name="left")
        self.right = self.add_weight(shape=(columns,), initializer=start, trainable=False, name="right")
        for _ in range(5):
            self.power_iteration()

    def power_iteration(self):
        """One step of the power method. Call it where variables may be assigned: not inside a replica."""
        matrix, right = self._matrix(), tf.convert_to_tensor(self.right)
        left = tf.math.l2_normalize(tf.linalg.matvec(matrix, right))
        self.left.assign(left)
        self.right.assign(tf.math.l2_normalize(tf.linalg.matvec(matrix, left, transpose_a=True)))

    def normalised_kernel(self):
        left, right = (tf.cast(tf.convert_to_tensor(vector), tf.float32) for vector in (self.left, self.right))
        sigma = tf.tensordot(left, tf.linalg.matvec(self._matrix(), right), 1)
        kernel = tf.convert_to_tensor(self.kernel)
        return kernel / tf.cast(sigma, kernel.dtype)

    def _matrix(self):
        """The kernel as a float32 (everything else, outputs) matrix."""
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), tf.float32)
        return tf.reshape(kernel, (-1, kernel.shape[-1]))


class SpectralConv2D(_SpectralNorm, keras.layers.Conv2D):
    """Conv2D with a spectrally normalised kernel."""

    def call(self, inputs):
        outputs = self.convolution_op(inputs, self.normalised_kernel())
        return outputs + self.bias if self.use_bias else outputs


class SpectralDense(_SpectralNorm, keras.layers.Dense):
    """Dense with a spectrally normalised kernel."""

    def call(self, inputs):
        outputs = tf.matmul(inputs, self.normalised_kernel())
        return outputs + self.bias if self.use_bias else outputs


def update_spectral_norms(model: keras.Model) -> None:
    """One power iteration for every spectrally normalised layer of `model`, nested ones included."""
    for layer in _all_layers(model):
        if isinstance(layer, _SpectralNorm):
            layer.power_iteration()


def has_batch_norm(model: keras.Model) -> bool:
    """Whether the output for one image depends on the others of its batch."""
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in _all_layers(model))


def _all_layers(model: keras.Model) -> list[keras.Layer]:
    """The layers of `model`, of the models in it, and those that layers hold."""
    return list(model._flatten_layers(include_self=False, recursive=True))
