import numpy as np
import tensorflow as tf

from kgan.data.pipeline import batch_indices, copied_ahead, step_batches

IMAGES = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)


def taken(count, **options):
    settings = {"seed": 3, "first_step": 0, "d_steps": 1, "batch_size": 8} | options
    return list(step_batches(IMAGES, None, **settings).take(count).as_numpy_iterator())


def test_an_epoch_shows_each_image_at_most_once_and_epochs_differ():
    batches = [batch_indices(0, number, 50, 8) for number in range(12)]
    first, second = np.concatenate(batches[:6]), np.concatenate(batches[6:])
    assert len(set(first)) == len(set(second)) == 48
    assert not np.array_equal(first, second)


def test_the_order_is_a_function_of_seed_and_step():
    whole = [images for _, images, _ in taken(20)]
    for start in (1, 6, 13):
        rest = [images for _, images, _ in taken(20 - start, first_step=start)]
        assert np.array_equal(whole[start:], rest)
    assert not np.array_equal(whole, [images for _, images, _ in taken(20, seed=4)])


def test_critic_steps_take_consecutive_batches():
    one_each = np.concatenate([images for _, images, _ in taken(9)])
    three_each = np.concatenate([images for _, images, _ in taken(3, d_steps=3)])
    assert np.array_equal(one_each, three_each)


def test_replicas_share_out_the_global_batch():
    whole = taken(6)
    parts = taken(12, num_replicas=2, replicas=range(2))
    for (step, images, _), left, right in zip(whole, parts[::2], parts[1::2], strict=True):
        assert step == left[0] == right[0]
        assert np.array_equal(images, np.concatenate([left[1], right[1]], axis=1))
    second_worker = taken(6, num_replicas=2, replicas=range(1, 2))
    assert all(np.array_equal(mine[1], part[1]) for mine, part in zip(second_worker, parts[1::2], strict=True))


class Watched(np.ndarray):
    """Images that note which rows are read."""

    reads: list

    def take(self, rows, axis):
        self.reads.append(rows)
        return super().take(rows, axis=axis)


def test_a_worker_reads_only_the_rows_of_its_own_replicas():
    images = IMAGES.view(Watched)
    images.reads = []
    rows = np.arange(1, 50)  # all but one, as if that were held out
    part = step_batches(
        images, None, rows=rows, seed=3, first_step=0, d_steps=1, batch_size=8, num_replicas=4, replicas=range(1, 3)
    )
    assert len(list(part.take(12))) == 12
    for number, batch in enumerate(images.reads[0].reshape(-1, 4)):
        assert np.array_equal(batch, rows[batch_indices(3, number, 49, 8)[2:6]])
    assert len(images.reads[0]) >= 12


def test_batches_copied_ahead_to_a_device_are_the_same_in_the_same_order():
    batches = step_batches(IMAGES, None, seed=3, first_step=5, d_steps=2, batch_size=8)
    for plain, copied in zip(batches.take(20), copied_ahead(batches, "/CPU:0", 4).take(20), strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(plain, copied, strict=True))
    assert copied_ahead(batches, None, 4) is batches
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY  # else several workers would ask each other


def test_replicas_share_out_each_part_of_the_global_batch():
    whole = taken(6)
    shares = taken(12, num_replicas=2, replicas=range(2), num_parts=2)
    for (_, images, labels), left, right in zip(whole, shares[::2], shares[1::2], strict=True):
        for place, everyone in ((1, images), (2, labels)):
            parts = [share[place].reshape(1, 2, -1, *everyone.shape[2:]) for share in (left, right)]
            assert np.array_equal(np.concatenate(parts, axis=2).reshape(everyone.shape), everyone)
