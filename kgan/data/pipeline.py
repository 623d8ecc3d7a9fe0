"""The tf.data pipeline: raw batches in an order that is a pure function of (seed, step).

There is no shuffle buffer and no iterator state to save: to resume at a step is to start the pipeline there.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf


def batches_per_epoch(num_images: int, batch_size: int) -> int:
    """Full batches in one pass; the few images left over differ from epoch to epoch."""
    return num_images // batch_size


def batch_indices(seed: int, first_batch: int, num_images: int, batch_size: int) -> Iterator[np.ndarray]:
    """Yields the image indices (batch_size,) int64 of batch `first_batch` and all later ones.

    Batch b belongs to epoch b // batches_per_epoch, and every epoch has a permutation of its own, drawn from
    (seed, epoch). No batch spans two epochs.
    """
    per_epoch = batches_per_epoch(num_images, batch_size)
    epoch, skip = divmod(first_batch, per_epoch)
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(num_images)
        yield from order[: per_epoch * batch_size].reshape(per_epoch, batch_size)[skip:]
        epoch, skip = epoch + 1, 0


def step_batches(
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    seed: int,
    first_step: int,
    d_steps: int,
    batch_size: int,
    num_replicas: int = 1,
    replicas: range = range(1),
) -> tf.data.Dataset:
    """One element for each step and each of this worker's `replicas`, in that order.

    An element is (step int64 scalar, images uint8 (d_steps, b, h, w, c), labels int64 (d_steps, b)) with
    b = batch_size // num_replicas: replica r always gets rows r*b..(r+1)*b of each global batch. Labels are 0
    for unlabelled images.
    """
    per_replica = batch_size // num_replicas
    labels = np.zeros(len(images), np.int64) if labels is None else labels

    def indices() -> Iterator[tuple[int, np.ndarray]]:
        batches = batch_indices(seed, first_step * d_steps, len(images), batch_size)
        step = first_step
        while True:
            rows = np.stack([next(batches) for _ in range(d_steps)])
            for replica in replicas:
                yield step, rows[:, replica * per_replica : (replica + 1) * per_replica]
            step += 1

    with tf.device("CPU"):
        all_images, all_labels = tf.constant(images), tf.constant(labels)
    signature = (tf.TensorSpec((), tf.int64), tf.TensorSpec((d_steps, per_replica), tf.int64))
    dataset = tf.data.Dataset.from_generator(indices, output_signature=signature)
    dataset = dataset.map(lambda step, rows: (step, tf.gather(all_images, rows), tf.gather(all_labels, rows)))
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options).prefetch(4)
