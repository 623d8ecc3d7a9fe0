"""TF_CONFIG and Slurm: who writes the run folder, and any nonsense refused in one line."""

import json

import pytest
import tensorflow as tf
from hypothesis import strategies as st

from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.hardware import cluster, machine
from tests.fuzzing import fuzz, only_user_errors

CONFIG = TrainConfig()
WORKERS = {"worker": ["a:1", "b:2"]}


def task(monkeypatch, cluster_of, **of_task):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster_of, "task": of_task}))
    return cluster.read(CONFIG)


def test_one_process_is_the_chief(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert cluster.read(CONFIG).is_chief and not cluster.is_multiworker(CONFIG)
    assert cluster.read(CONFIG.replace(strategy="multiworker")).size == 1
    monkeypatch.setenv("TF_CONFIG", "nonsense")
    assert cluster.read(CONFIG.replace(strategy="single")).is_chief


def test_a_cluster_of_one_trains_as_a_process_without_one(monkeypatch):
    alone = task(monkeypatch, {"worker": ["localhost:1"]}, type="worker", index=0)
    assert alone.size == 1 and not cluster.is_multiworker(CONFIG)
    hardware = machine.set_up(CONFIG)
    assert hardware.strategy is tf.distribute.get_strategy()
    assert machine.set_up(CONFIG.replace(xla="on")).xla
    assert hardware.peers.exchange(7) == [7]


def test_exactly_one_process_writes(monkeypatch):
    assert task(monkeypatch, WORKERS, type="worker", index=0).is_chief
    assert not task(monkeypatch, WORKERS, type="worker", index=1).is_chief
    with_chief = WORKERS | {"chief": ["c:3"]}
    assert task(monkeypatch, with_chief, type="chief", index=0).is_chief
    assert not task(monkeypatch, with_chief, type="worker", index=0).is_chief


def test_workers_are_counted_after_the_chief(monkeypatch):
    workers = task(monkeypatch, WORKERS | {"chief": ["c:3"]}, type="worker", index=1)
    assert (workers.size, workers.position) == (3, 2)
    assert [workers.name(position) for position in range(3)] == ["chief 0 (c:3)", "worker 0 (a:1)", "worker 1 (b:2)"]


@pytest.mark.parametrize(
    "nodes, tasks_per_node, node, local, position",
    [
        ("n[1-2]", "1(x2)", "n2", 0, 1),
        ("n[1-2]", "2(x2)", "n1", 1, 1),
        ("n[9-10]", "1(x2)", "n9", 0, 1),  # Slurm's first, and the alphabet's last
        ("a,n[1-3]", "2,1(x3)", "n3", 0, 4),
    ],
)
def test_tasks_of_a_slurm_step_are_a_cluster(monkeypatch, nodes, tasks_per_node, node, local, position):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    size = sum(expand_tasks(tasks_per_node))
    step = {"STEP_NUM_TASKS": size, "STEP_NODELIST": nodes, "STEP_TASKS_PER_NODE": tasks_per_node, "STEP_ID": 0}
    for name, value in {**step, "JOB_ID": 12, "PROCID": 0, "LOCALID": local}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("SLURMD_NODENAME", node)
    workers = cluster.read(CONFIG)
    assert cluster.is_multiworker(CONFIG) and (workers.size, workers.position) == (size, position)
    assert workers.addresses["worker"][position].startswith(f"{node}:")
    assert len(set(workers.addresses["worker"])) == size
    assert cluster.read(CONFIG.replace(strategy="single")).size == 1


def test_a_slurm_step_without_its_variables_is_named(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with pytest.raises(UserError, match="SLURM_STEP_ID is not: start with srun, or give --strategy=single"):
        cluster.read(CONFIG)
    assert cluster.read(CONFIG.replace(strategy="single")).size == 1


def test_a_batch_script_and_a_step_of_one_task_train_alone(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert not cluster.is_multiworker(CONFIG)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert not cluster.is_multiworker(CONFIG)


def expand_tasks(text):
    """How many tasks each node has, from Slurm's notation, as in "2,1(x3)"."""
    for part in text.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        yield from [int(count)] * int(times or 1)


@pytest.mark.parametrize(
    "text, words",
    [
        ("nonsense", "TF_CONFIG: not readable"),
        ("[]", "TF_CONFIG: not readable"),
        ("{}", "TF_CONFIG: must be"),
        ('{"cluster": {}, "task": {"type": "worker", "index": 0}}', "TF_CONFIG: must be"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "the cluster has 'ps'"),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "cluster.worker must be a list"),
        ('{"cluster": {"worker": ["a:99999"]}, "task": {"type": "worker", "index": 0}}', "each host:port"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "each host:port"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', "task.type is 'chief'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": [], "index": 0}}', "task.type is"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "task.index is 1"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}',
            "must be a whole number from 0 to 0",
        ),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": true}}', "task.index is True"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "two tasks have .* a:1"),
        ('{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}', "more than one chief"),
    ],
)
def test_nonsense_is_named(monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=words) as caught:
        cluster.read(CONFIG)
    assert "\n" not in str(caught.value)


@fuzz(
    st.recursive(
        st.none() | st.integers() | st.sampled_from(["worker", "chief", "a:1", ":", "index"]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["cluster", "task", "worker", "chief", "type", "index"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_anything_else_is_a_task_or_refused(content):
    with pytest.MonkeyPatch.context() as patch, only_user_errors():
        patch.setenv("TF_CONFIG", json.dumps(content))
        workers = cluster.read(CONFIG)
        assert workers.size == 1 or workers.addresses == content["cluster"]
