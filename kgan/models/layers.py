"""The layers that Keras does not have in the form a GAN's step needs."""

import keras
import tensorflow as tf

from kgan.models.random import current_dropout_stream


class Dropout(keras.layers.Layer):
    """Dropout whose mask comes from `random.dropout_from`, so that it does not depend on history or on replicas.

    One random byte decides for one value, so the rate is rounded to a multiple of 1/256.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, inputs, training=False):
        if not training:
            return inputs
        dropped = round(256 * self.rate)
        kept = current_dropout_stream().fold(self.name).bytes(inputs.shape) >= tf.constant(dropped, tf.uint8)
        return inputs * (tf.cast(kept, inputs.dtype) * (256 / (256 - dropped)))


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation, in training by TensorFlow's fused kernel, which Keras 3 does not use.

    With several replicas it is Keras's own, for the kernel sees one device's batch. The moving variance is that of
    the batch, as in Keras; the kernel returns the unbiased one.
    """

    def call(self, inputs, training=False, mask=None):
        if not training or tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return super().call(inputs, training=training, mask=mask)
        images = inputs if inputs.shape.rank == 4 else inputs[:, None, None, :]
        values = images.shape.num_elements() // images.shape[-1]
        channels = images.shape[-1]
        fused = tf.raw_ops.FusedBatchNormV3(
            x=images,
            scale=self.gamma.value if self.scale else tf.ones(channels),
            offset=self.beta.value if self.center else tf.zeros(channels),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
        )
        self._move(self.moving_mean, fused.batch_mean)
        self._move(self.moving_variance, fused.batch_variance * ((values - 1) / values))
        return tf.reshape(fused.y, inputs.shape)

    def _move(self, average: keras.Variable, value: tf.Tensor) -> None:
        average.assign(self.momentum * average.value + (1.0 - self.momentum) * value)


def scaled_by_class(images, label, num_classes: int, name: str):
    """`images` (n, h, w, c) times the gamma and plus the beta (c,) of each one's class, `label` (n,).

    After a batch norm without scale and shift it makes the conditional batch norm of Dumoulin et al. 2017
    (arXiv:1610.07629) and de Vries et al. 2017 (arXiv:1707.00683). The layers are Keras's own, so that a generator with
    them can be saved for others.
    """
    channels, factors = images.shape[-1], {}
    for part, start in (("gamma", "ones"), ("beta", "zeros")):
        rows = keras.layers.Embedding(num_classes, channels, embeddings_initializer=start, name=f"{name}_{part}")(label)
        factors[part] = keras.layers.Reshape((1, 1, channels), name=f"{name}_{part}_row")(rows)
    scaled = keras.layers.Multiply(name=f"{name}_scaled")([images, factors["gamma"]])
    return keras.layers.Add(name=f"{name}_shifted")([scaled, factors["beta"]])


class GlobalSumPooling2D(keras.layers.Layer):
    """Sums images (n, h, w, c) over their pixels: (n, c)."""

    def call(self, images):
        return tf.reduce_sum(images, axis=(1, 2))


class _SpectralNorm(keras.layers.Layer):
    """Divides a layer's kernel by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

    The singular vectors are variables that only `power_iteration` moves, once a discriminator step, while the
    gradient flows through sigma = v^T W u. (keras.layers.SpectralNormalization instead overwrites its kernel on
    every training call and stops that gradient.) Vectors and sigma are float32 whatever the layer computes in.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, autocast=False, **kwargs)

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
        left, right = tf.convert_to_tensor(self.left), tf.convert_to_tensor(self.right)
        sigma = tf.tensordot(left, tf.linalg.matvec(self._matrix(), right), 1)
        return tf.cast(tf.convert_to_tensor(self.kernel) / sigma, self.compute_dtype)

    def call(self, inputs):
        outputs = self._multiply(tf.cast(inputs, self.compute_dtype), self.normalised_kernel())
        return outputs + tf.cast(tf.convert_to_tensor(self.bias), outputs.dtype) if self.use_bias else outputs

    def _matrix(self):
        """The kernel as a float32 (everything else, outputs) matrix."""
        return tf.reshape(tf.convert_to_tensor(self.kernel), (-1, self.kernel.shape[-1]))


class SpectralConv2D(_SpectralNorm, keras.layers.Conv2D):
    """Conv2D with a spectrally normalised kernel."""

    def _multiply(self, inputs, kernel):
        return self.convolution_op(inputs, kernel)


class SpectralDense(_SpectralNorm, keras.layers.Dense):
    """Dense with a spectrally normalised kernel."""

    def _multiply(self, inputs, kernel):
        return tf.matmul(inputs, kernel)


def update_spectral_norms(model: keras.Model) -> None:
    """One power iteration for every spectrally normalised layer of `model` that is trained, nested ones included."""
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, _SpectralNorm) and layer.trainable:
            layer.power_iteration()
