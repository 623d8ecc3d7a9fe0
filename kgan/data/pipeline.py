"""The tf.data pipeline: raw batches in an order that is a pure function of (seed, step).

There is no shuffle buffer and no iterator state to save: to resume at a step is to start the pipeline there.
"""

import functools
import math

import numpy as np
import tensorflow as tf

_BLOCK_BYTES = 2**22  # of images gathered at once
_MAX_BLOCK = 32  # steps


def batches_per_epoch(num_images: int, batch_size: int) -> int:
    """Full batches in one pass; the few images left over differ from epoch to epoch."""
    return num_images // batch_size


def batch_indices(seed: int, batch: int, num_images: int, batch_size: int) -> np.ndarray:
    """The image indices (batch_size,) int64 of the batch with this number.

    It belongs to epoch batch // batches_per_epoch, and every epoch has a permutation of its own, drawn from
    (seed, epoch). No batch spans two epochs.
    """
    epoch, place = divmod(batch, batches_per_epoch(num_images, batch_size))
    return _permutation(seed, epoch, num_images)[place * batch_size : (place + 1) * batch_size]


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, num_images: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_images)


def step_batches(
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    rows: np.ndarray | None = None,
    seed: int,
    first_step: int,
    d_steps: int,
    batch_size: int,
    num_replicas: int = 1,
    replicas: range = range(1),
    num_parts: int = 1,
) -> tf.data.Dataset:
    """One element for each step and each of this worker's `replicas`, in that order.

    An element is (step int64 scalar, images uint8 (d_steps, b, h, w, c), labels int64 (d_steps, b)) with
    b = batch_size // num_replicas: replica r always gets rows r*b..(r+1)*b of each global batch. Where that is computed
    in `num_parts`, so it is with each part of it, and a replica has its rows of the first part first. Labels are 0 for
    unlabelled images. Only `rows`, indices into `images`, are trained on (None: all), and only their images are
    ever read: `images` may be mapped from a file. Python gathers the images of several small steps at once.
    """
    per_replica = batch_size // num_replicas
    num_images = len(images) if rows is None else len(rows)

    step_bytes = d_steps * batch_size * math.prod(images.shape[1:])
    block = int(np.clip(_BLOCK_BYTES // step_bytes, 1, _MAX_BLOCK))

    def indices(step: int) -> np.ndarray:
        """Those of the block of steps from this one on: (steps x replicas, d_steps, b)."""
        numbers = range(step * d_steps, (step + block) * d_steps)
        batches = np.stack([batch_indices(seed, number, num_images, batch_size) for number in numbers])
        shared = batches.reshape(block, d_steps, num_parts, num_replicas, -1)[:, :, :, replicas]
        chosen = shared.transpose(0, 3, 1, 2, 4).reshape(-1, d_steps, per_replica)
        return chosen if rows is None else rows[chosen]

    def gather(step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen = indices(int(step))
        pixels = images.take(chosen, axis=0)  # without holding up other Python threads, as indexing would
        return pixels, np.zeros(chosen.shape, np.int64) if labels is None else labels[chosen]

    def elements(step: tf.Tensor) -> tf.data.Dataset:
        pixels, classes = tf.numpy_function(gather, [step], (tf.uint8, tf.int64))
        shape = (block * len(replicas), d_steps, per_replica)
        pixels, classes = tf.ensure_shape(pixels, shape + images.shape[1:]), tf.ensure_shape(classes, shape)
        steps = tf.repeat(tf.range(step, step + block), len(replicas))
        return tf.data.Dataset.from_tensor_slices((steps, pixels, classes))

    starts = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max - block, block)
    # without its length, several workers would ask each other before every step whether any batch is left
    dataset = starts.flat_map(elements).apply(
        tf.data.experimental.assert_cardinality(tf.data.experimental.INFINITE_CARDINALITY)
    )
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options).prefetch(max(4, 2 * block * len(replicas)))


def copied_ahead(batches: tf.data.Dataset, device: str | None, count: int) -> tf.data.Dataset:
    """`batches`, of which the next `count` are copied to `device` ("/GPU:0") while it works on those before.

    As they are for None. Images stay uint8 until the step, so that what is copied is small.
    """
    if device is None:
        return batches
    return batches.apply(tf.data.experimental.prefetch_to_device(device, count))
