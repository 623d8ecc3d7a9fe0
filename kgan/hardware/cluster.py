"""Which processes train together: read from TF_CONFIG, or from the environment of a Slurm step."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.runs import environment, schema

_TYPES = ("chief", "worker")
_SLURM = (
    *("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURMD_NODENAME"),
)
"""The variables of a Slurm step that say where its tasks are."""
_FIRST_PORT, _PORTS_PER_STEP, _NUM_STEPS = 20000, 16, 750


@dataclass(frozen=True)
class Cluster:
    """The processes of one run, and which of them this one is.

    `addresses` has "host:port" of each task of a type ("chief", "worker"); `type` and `index` are this process's.
    """

    addresses: Mapping[str, Sequence[str]]
    type: str
    index: int

    @property
    def size(self) -> int:
        return sum(len(addresses) for addresses in self.addresses.values())

    @property
    def position(self) -> int:
        """This process's place among all, counted as TensorFlow does: the chief first."""
        return self.tasks().index((self.type, self.index))

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run folder. Without a task called chief, worker 0 does."""
        return self.position == 0

    def tasks(self) -> list[tuple[str, int]]:
        """The type and the index of each process, in the order of their positions."""
        return [(kind, index) for kind in _TYPES for index in range(len(self.addresses.get(kind, ())))]

    def name(self, position: int) -> str:
        """What a message calls the process at `position`, as in "worker 1 (node2:20000)"."""
        kind, index = self.tasks()[position]
        return f"{kind} {index} ({self.addresses[kind][index]})"


ALONE = Cluster({"worker": ["localhost:0"]}, "worker", 0)


def is_multiworker(config: TrainConfig) -> bool:
    """Whether a run with these settings trains together with other processes. Raises UserError like `read`."""
    if config.strategy not in ("auto", "multiworker"):
        return False
    if text := os.environ.get("TF_CONFIG"):
        return _from_tf_config(text).size > 1
    return _num_slurm_tasks() > 1


def read(config: TrainConfig) -> Cluster:
    """The cluster that this process belongs to, which may be of one. TF_CONFIG goes before Slurm's environment.

    Raises UserError if TF_CONFIG is not what `tf.distribute.MultiWorkerMirroredStrategy` needs. Imports TensorFlow in
    a Slurm step.
    """
    if not is_multiworker(config):
        return ALONE
    text = os.environ.get("TF_CONFIG")
    return _from_tf_config(text) if text else _from_slurm()


def _from_tf_config(text: str) -> Cluster:
    content = schema.parse(text.encode("utf-8", "surrogateescape"), dict, "TF_CONFIG")
    cluster, task = content.get("cluster"), content.get("task")
    if not isinstance(cluster, dict) or not cluster or not isinstance(task, dict):
        raise UserError(
            'TF_CONFIG: must be {"cluster": {"worker": ["host:port"]}, "task": {"type": "worker", "index": 0}}'
        )
    if unknown := [name for name in cluster if name not in _TYPES]:
        raise UserError(f"TF_CONFIG: the cluster has {unknown[0]!r}: kgan trains with chief and worker tasks only")
    for name, addresses in cluster.items():
        if not _are_addresses(addresses):
            raise UserError(f"TF_CONFIG: cluster.{name} must be a list of addresses, each host:port")
    _check_addresses(cluster)
    kind, index = task.get("type"), task.get("index")
    if not isinstance(kind, str) or kind not in cluster:
        raise UserError(f"TF_CONFIG: task.type is {kind!r}: must be one of {', '.join(cluster)}")
    if type(index) is not int or not 0 <= index < len(cluster[kind]):
        last = len(cluster[kind]) - 1
        raise UserError(f"TF_CONFIG: task.index is {index!r}: must be a whole number from 0 to {last}")
    return Cluster(cluster, kind, index)


def _are_addresses(value: object) -> bool:
    """A port without a colon before it, or out of range, would make TensorFlow's servers wait for ever."""
    if not isinstance(value, list) or not value or not all(isinstance(address, str) for address in value):
        return False
    ports = [address.rpartition(":") for address in value]
    return all(host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536 for host, _, port in ports)


def _check_addresses(cluster: Mapping[str, list[str]]) -> None:
    if len(cluster.get("chief", ())) > 1:
        raise UserError("TF_CONFIG: the cluster has more than one chief")
    addresses = [address for name in cluster for address in cluster[name]]
    if twice := [address for address in addresses if addresses.count(address) > 1]:
        raise UserError(f"TF_CONFIG: two tasks have the address {twice[0]}: each needs its own")


def _num_slurm_tasks() -> int:
    """Of the step that srun started this process in; 0 outside of steps, as in a batch script."""
    text = os.environ.get("SLURM_STEP_NUM_TASKS", "0")
    return int(text) if text.isascii() and text.isdecimal() else 0


def _of_slurm(name: str) -> str:
    """A variable that srun sets for each task. Raises UserError if it is missing, as where only some were passed on."""
    if not (value := os.environ.get(name)):
        raise UserError(f"SLURM_STEP_NUM_TASKS is set, {name} is not: start with srun, or give --strategy=single")
    return value


def _from_slurm() -> Cluster:
    """TensorFlow's resolver gives the addresses. It counts tasks node by node in the alphabetical order of the nodes,
    which need not be Slurm's (n10 comes before n2, and --distribution=cyclic deals tasks out in turn): this process
    looks for its own address instead of taking its rank. GPUs are Slurm's to assign."""
    values = {name: _of_slurm(name) for name in _SLURM}
    environment.import_tensorflow()
    import tensorflow as tf

    job, step, local = (int(values[name]) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_LOCALID"))
    port = _FIRST_PORT + _PORTS_PER_STEP * ((7 * job + step) % _NUM_STEPS)  # jobs share nodes, but hardly ports
    tasks = _num_slurm_tasks()
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=port, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
    )
    addresses = resolver.cluster_spec().as_dict()
    own = f"{values['SLURMD_NODENAME']}:{port + local}"
    return Cluster(addresses, "worker", addresses["worker"].index(own))
