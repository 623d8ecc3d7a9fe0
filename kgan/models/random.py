"""Random numbers that are a pure function of (seed, step, purpose, position in the global batch).

Nothing here has state, so there is nothing to save in a checkpoint and nothing that the number of replicas
could change. Keras's SeedGenerator gives neither: its state is not checkpointed, and every replica sees the
same one. All numbers are made from random 32-bit words, because XLA draws the same words as TensorFlow's own
kernels but other floats.
"""

import contextlib
import contextvars
import math
import zlib
from dataclasses import dataclass, replace

import tensorflow as tf


@dataclass(frozen=True)
class RandomStream:
    """Random tensors for the share of a global batch that one replica computes at a time.

    `key` is an int64 tensor (2,); `share` is this share's number out of `num_shares`. A tensor of shape (b, ...) is the
    slice [share * b, (share + 1) * b) of the tensor for the whole global batch.
    """

    key: tf.Tensor
    share: tf.Tensor | int = 0
    num_shares: int = 1

    @classmethod
    def at(cls, seed: int, step: tf.Tensor, share: tf.Tensor | int = 0, num_shares: int = 1) -> "RandomStream":
        return cls(tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)]), share, num_shares)

    def fold(self, purpose: str) -> "RandomStream":
        """An independent stream for one named purpose."""
        return replace(self, key=tf.random.fold_in(self.key, zlib.crc32(purpose.encode()), alg="philox"))

    def uniform(self, shape, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
        """float32 of `shape` in [low, high), in steps of (high - low) / 2^24; the first axis is the local batch."""
        return low + (high - low) * _fractions(self._words(shape))

    def integers(self, shape, low: int, high: int) -> tf.Tensor:
        """int64 of `shape` in low..high, both included, for high - low < 2^16; the first axis is the local batch."""
        words = tf.cast(tf.bitwise.right_shift(self._words(shape), tf.constant(8, tf.uint32)), tf.int64)
        return low + tf.bitwise.right_shift(words * (high - low + 1), tf.constant(24, tf.int64))

    def bytes(self, shape) -> tf.Tensor:
        """uint8 of `shape` in 0..255; the first axis is the local batch."""
        local, length = shape[0], math.prod(shape[1:])
        four_a_word = tf.bitcast(self._words((local, -(-length // 4))), tf.uint8)
        return tf.reshape(tf.reshape(four_a_word, (local, -1))[:, :length], shape)

    def normal(self, shape) -> tf.Tensor:
        """Standard normal float32 of `shape`, at most 5.8 in size (Box and Muller 1958); the first axis is the local
        batch."""
        everyone, length = shape[0] * self.num_shares, math.prod(shape[1:])
        first, second = tf.unstack(_fractions(self._all_words((everyone, 2, -(-length // 2)))), axis=1)
        radius, angle = tf.sqrt(-2.0 * tf.math.log(1.0 - first)), 2.0 * math.pi * second
        pairs = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)
        return self._local(tf.reshape(pairs[:, :length], (everyone, *shape[1:])), shape)

    def _words(self, shape) -> tf.Tensor:
        """Random uint32; the first axis is the local batch."""
        return self._local(self._all_words((shape[0] * self.num_shares, *shape[1:])), shape)

    def _all_words(self, shape) -> tf.Tensor:
        """Random uint32; the first axis is the global batch."""
        return tf.random.stateless_uniform(shape, self.key, minval=None, maxval=None, dtype=tf.uint32, alg="philox")

    def _local(self, everyone: tf.Tensor, shape) -> tf.Tensor:
        if self.num_shares == 1:
            return everyone
        return tf.slice(everyone, [self.share * shape[0]] + [0] * (len(shape) - 1), shape)


def _fractions(words: tf.Tensor) -> tf.Tensor:
    """uint32 to float32 multiples of 2^-24 in [0, 1)."""
    return tf.cast(tf.bitwise.right_shift(words, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


_dropout_stream: contextvars.ContextVar[RandomStream] = contextvars.ContextVar("dropout_stream")


@contextlib.contextmanager
def dropout_from(stream: RandomStream):
    """Within this block, the Dropout layers of kgan's models take their masks from `stream`."""
    token = _dropout_stream.set(stream)
    try:
        yield
    finally:
        _dropout_stream.reset(token)


def current_dropout_stream() -> RandomStream:
    """Raises LookupError outside `dropout_from`."""
    return _dropout_stream.get()
