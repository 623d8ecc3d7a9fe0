"""Random numbers that are a pure function of (seed, step, purpose, position in the global batch).

Nothing here has state, so there is nothing to save in a checkpoint and nothing that the number of replicas
could change. Keras's SeedGenerator gives neither: its state is not checkpointed, and every replica sees the
same one.
"""

import contextlib
import contextvars
import zlib
from dataclasses import dataclass, replace

import tensorflow as tf


@dataclass(frozen=True)
class RandomStream:
    """Random tensors for the part of a global batch that one replica works on.

    `key` is an int64 tensor (2,); `replica` is this replica's number out of `num_replicas`. A tensor of shape
    (b, ...) is the slice [replica * b, (replica + 1) * b) of the tensor for the whole global batch.
    """

    key: tf.Tensor
    replica: tf.Tensor | int = 0
    num_replicas: int = 1

    @classmethod
    def at(cls, seed: int, step: tf.Tensor, replica: tf.Tensor | int = 0, num_replicas: int = 1) -> "RandomStream":
        return cls(tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)]), replica, num_replicas)

    def fold(self, purpose: str) -> "RandomStream":
        """An independent stream for one named purpose."""
        return replace(self, key=tf.random.fold_in(self.key, zlib.crc32(purpose.encode()), alg="philox"))

    def uniform(self, shape, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
        """float32 of `shape` in [low, high); the first axis is the local batch."""
        return self._local(tf.random.stateless_uniform, shape, minval=low, maxval=high)

    def normal(self, shape) -> tf.Tensor:
        """Standard normal float32 of `shape`; the first axis is the local batch."""
        return self._local(tf.random.stateless_normal, shape)

    def _local(self, sampler, shape, **options) -> tf.Tensor:
        local, *rest = shape
        everyone = sampler([local * self.num_replicas, *rest], self.key, alg="philox", **options)
        if self.num_replicas == 1:
            return everyone
        return tf.slice(everyone, [self.replica * local] + [0] * len(rest), shape)


@dataclass(frozen=True)
class ConcatenatedStream:
    """The streams of several batches of equal size that are processed as one: each part has its own numbers."""

    parts: tuple[RandomStream, ...]

    def fold(self, purpose: str) -> "ConcatenatedStream":
        return ConcatenatedStream(tuple(part.fold(purpose) for part in self.parts))

    def uniform(self, shape) -> tf.Tensor:
        """float32 of `shape` in [0, 1); the first axis is the parts' local batches, one after the other."""
        each = (shape[0] // len(self.parts), *shape[1:])
        return tf.concat([part.uniform(each) for part in self.parts], axis=0)


_dropout_stream: contextvars.ContextVar[RandomStream | ConcatenatedStream] = contextvars.ContextVar("dropout_stream")


@contextlib.contextmanager
def dropout_from(stream: RandomStream | ConcatenatedStream):
    """Within this block, the Dropout layers of kgan's models take their masks from `stream`."""
    token = _dropout_stream.set(stream)
    try:
        yield
    finally:
        _dropout_stream.reset(token)


def current_dropout_stream() -> RandomStream | ConcatenatedStream:
    """Raises LookupError outside `dropout_from`."""
    return _dropout_stream.get()
