"""What workers tell each other arrives whole, and an error names the worker that is lost, if one is."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from kgan.errors import LostWorker
from kgan.hardware.cluster import ALONE, Cluster
from kgan.hardware.peers import Peers

SECOND = Cluster({"chief": ["c:3"], "worker": ["a:1", "b:2"]}, "worker", 0)


def strategy_of(replicas: int) -> SimpleNamespace:
    """The second worker's, when the others give zeros: its replicas are added one by one."""

    def reduce(_, share, axis):
        return sum([share] * (replicas - 1), start=share)

    total = replicas * SECOND.size
    return SimpleNamespace(num_replicas_in_sync=total, run=lambda function, args: function(*args), reduce=reduce)


@pytest.mark.parametrize("replicas", range(1, 17))
def test_a_number_arrives_as_it_was_given_whatever_the_number_of_replicas(replicas):
    peers = Peers(SECOND, strategy_of(replicas))
    for value in (0, 1, 7, 2**32 - 1, 2**40):
        assert peers.exchange(value) == [0, value, 0]


def name_lost(cluster: Cluster, task: str) -> None:
    with Peers(cluster, strategy_of(1)).watched():
        raise tf.errors.UnavailableError(None, None, f"from /job:{task}/device:CPU:0: gone")


def test_a_lost_worker_is_named(monkeypatch):
    monkeypatch.setattr("kgan.hardware.peers._SECONDS_TO_TELL", 0)
    with pytest.raises(LostWorker, match=r"lost worker 1 \(b:2\)"):
        name_lost(SECOND, "worker/replica:0/task:1")
    with pytest.raises(LostWorker, match=r"lost chief 0 \(c:3\)"):
        name_lost(SECOND, "chief/replica:0/task:0")


@pytest.mark.parametrize("cluster, task", [(ALONE, "localhost"), (ALONE, "worker"), (SECOND, "worker")])
def test_an_error_of_ones_own_stays_what_it_is(cluster, task):
    with pytest.raises(tf.errors.UnavailableError):
        name_lost(cluster, f"{task}/replica:0/task:0")
