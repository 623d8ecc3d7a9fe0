"""The TF_CONFIG of a run on several machines, read without TensorFlow."""

import os
from dataclasses import dataclass

from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.runs import schema

_TYPES = ("chief", "worker")


@dataclass(frozen=True)
class Task:
    """This process's part: `type` is chief or worker; `has_chief` says whether the cluster names a chief."""

    type: str
    index: int
    has_chief: bool

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run folder. Without a task called chief, worker 0 does."""
        return self.type == "chief" if self.has_chief else self.index == 0


def is_multiworker(config: TrainConfig) -> bool:
    """Whether a run with these settings trains together with other processes."""
    return config.strategy == "multiworker" or (config.strategy == "auto" and bool(os.environ.get("TF_CONFIG")))


def read_task(config: TrainConfig) -> Task:
    """This process's task, from TF_CONFIG; a single process is the chief.

    Raises UserError if TF_CONFIG is not what `tf.distribute.MultiWorkerMirroredStrategy` needs.
    """
    if not is_multiworker(config):
        return Task("chief", 0, has_chief=True)
    text = os.environ.get("TF_CONFIG")
    if not text:
        return Task("worker", 0, has_chief=False)  # --strategy=multiworker alone is a cluster of one
    content = schema.parse(text.encode("utf-8", "surrogateescape"), dict, "TF_CONFIG")
    cluster, task = content.get("cluster"), content.get("task")
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise UserError(
            'TF_CONFIG: must be {"cluster": {"worker": ["host:port"]}, "task": {"type": "worker", "index": 0}}'
        )
    if unknown := [name for name in cluster if name not in _TYPES]:
        raise UserError(f"TF_CONFIG: the cluster has {unknown[0]!r}: kgan trains with chief and worker tasks only")
    for name, addresses in cluster.items():
        if not _are_addresses(addresses):
            raise UserError(f"TF_CONFIG: cluster.{name} must be a list of addresses, each host:port")
    kind, index = task.get("type"), task.get("index")
    if not isinstance(kind, str) or kind not in cluster:
        raise UserError(f"TF_CONFIG: task.type is {kind!r}: must be one of {', '.join(cluster)}")
    if type(index) is not int or not 0 <= index < len(cluster[kind]):
        raise UserError(f"TF_CONFIG: task.index is {index!r}: the cluster has {len(cluster[kind])} of {kind}")
    return Task(kind, index, has_chief="chief" in cluster)


def _are_addresses(value: object) -> bool:
    """A port without a colon before it, or out of range, would make TensorFlow's servers wait for ever."""
    if not isinstance(value, list) or not value or not all(isinstance(address, str) for address in value):
        return False
    ports = [address.rpartition(":") for address in value]
    return all(host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536 for host, _, port in ports)
