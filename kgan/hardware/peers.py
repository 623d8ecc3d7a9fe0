"""What the workers of a run tell each other while it runs, and what is said when one of them is lost."""

import contextlib
import logging
import re
import signal
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from kgan.errors import LostWorker, UserError
from kgan.hardware.cluster import Cluster
from kgan.text import one_line

_FAILED = -1
_SECONDS_TO_TELL = 5
"""TensorFlow tells the others which worker is lost only while this one still answers; if it leaves at once, it may be
taken for the lost one itself."""
_TASK = re.compile(r"/job:(\w+)/replica:\d+/task:(\d+)")


def join(cluster: Cluster) -> tf.distribute.Strategy:
    """Connects this process with the others of its cluster, and returns when all are there.

    Raises UserError if this process cannot listen at its address; LostWorker.
    """
    tf.get_logger().setLevel(logging.WARNING)  # it reports every graph's collectives
    logging.getLogger("kgan").info("%s of %d: waiting for the others", cluster.name(cluster.position), cluster.size)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster.addresses),
        task_type=cluster.type,
        task_id=cluster.index,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    try:
        with _ended_by_ctrl_c():
            return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except tf.errors.OpError as error:
        if lost := _lost(cluster, error):
            raise LostWorker(f"{lost}; start all workers again") from None
        raise UserError(
            f"{cluster.name(cluster.position)} cannot join the others ({one_line(error.message)}): is its port free, "
            "and the address this machine's?"
        ) from None


class Peers:
    """The workers of this run. In a cluster of one there is nobody to talk to."""

    def __init__(self, cluster: Cluster, strategy: tf.distribute.Strategy):
        self.cluster, self.strategy = cluster, strategy
        self.chief = cluster.name(0)
        self._are_listening = True  # whether the others' next collective with this worker is an exchange

    def exchange(self, value: int) -> list[int]:
        """Gives `value`, from 0 to 2**40, to every worker, and returns all workers' values in the cluster's order.

        All workers must call it at the same point of the run. It costs one small all-reduce. Raises LostWorker if a
        worker is gone, or has failed.
        """
        if self.cluster.size == 1:
            return [value]
        self._are_listening = False
        values = self._gather(value)
        if _FAILED in values:
            raise LostWorker(f"{self.cluster.name(values.index(_FAILED))} failed: its own output says why")
        return values

    def check_same(self, value: int, what: str, advice: str) -> None:
        """Raises UserError, on all workers, unless `value` is the same for all. `what` says what of."""
        values = self.exchange(value)
        for position, other in enumerate(values):
            if other != values[0]:
                raise UserError(f"{self.cluster.name(position)} has {what} than {self.chief}: {advice}")

    def part(self) -> None:
        """After what all workers do together for the last time: a failure from here on concerns no other."""
        self._are_listening = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """For what all workers compute together. Raises LostWorker instead of TensorFlow's error about a connection,
        which names the task far down."""
        try:
            yield
        except tf.errors.OpError as error:
            if lost := _lost(self.cluster, error):
                time.sleep(_SECONDS_TO_TELL)
                raise LostWorker(lost) from None
            raise
        self._are_listening = True

    @contextlib.contextmanager
    def told_of_failure(self) -> Iterator[None]:
        """Around all of a run: an error here ends the others too, which would otherwise wait for this worker."""
        try:
            yield
        except BaseException:
            if self.cluster.size > 1 and self._are_listening:
                with contextlib.suppress(LostWorker):
                    self._gather(_FAILED)
            raise

    def _gather(self, value: int) -> list[int]:
        row = np.zeros(self.cluster.size)
        row[self.cluster.position] = value
        with self.watched():
            values = [round(number) for number in self._add_up(tf.constant(row)).numpy()]
        self._are_listening = False
        return values

    @tf.function
    def _add_up(self, row: tf.Tensor) -> tf.Tensor:
        """Sums over workers; the replicas of one worker have the same row. Thirds and sevenths are rounded."""
        share = row / (self.strategy.num_replicas_in_sync // self.cluster.size)
        shares = self.strategy.run(tf.identity, (share,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, shares, axis=None)


def _lost(cluster: Cluster, error: tf.errors.OpError) -> str | None:
    """Which worker is lost, if that is what the error is about: the first that its message names, for what a worker
    was told by another comes before its own words. A process without others calls itself /job:localhost."""
    others = [task for task in cluster.tasks() if task != (cluster.type, cluster.index)]
    for kind, index in _TASK.findall(error.message):
        if (task := (kind, int(index))) in others:
            return f"lost {cluster.name(cluster.tasks().index(task))}: its own output may say why"
    return None


@contextlib.contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """While TensorFlow waits, Python's own handler of Ctrl-C would not be run."""
    try:
        previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
