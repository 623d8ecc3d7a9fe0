"""TF_CONFIG: who writes the run folder, and any nonsense refused in one line."""

import json

import pytest
from hypothesis import strategies as st

from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.training import cluster
from tests.fuzzing import fuzz, only_user_errors

CONFIG = TrainConfig()
WORKERS = {"worker": ["a:1", "b:2"]}


def task(monkeypatch, cluster_of, **of_task):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster_of, "task": of_task}))
    return cluster.read_task(CONFIG)


def test_one_process_is_the_chief(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert cluster.read_task(CONFIG).is_chief and not cluster.is_multiworker(CONFIG)
    monkeypatch.setenv("TF_CONFIG", "nonsense")
    assert cluster.read_task(CONFIG.replace(strategy="single")).is_chief


def test_exactly_one_process_writes(monkeypatch):
    assert task(monkeypatch, WORKERS, type="worker", index=0).is_chief
    assert not task(monkeypatch, WORKERS, type="worker", index=1).is_chief
    with_chief = WORKERS | {"chief": ["c:3"]}
    assert task(monkeypatch, with_chief, type="chief", index=0).is_chief
    assert not task(monkeypatch, with_chief, type="worker", index=0).is_chief


@pytest.mark.parametrize(
    "text, words",
    [
        ("nonsense", "TF_CONFIG: not readable"),
        ("[]", "TF_CONFIG: not readable"),
        ("{}", "TF_CONFIG: must be"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "the cluster has 'ps'"),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "cluster.worker must be a list"),
        ('{"cluster": {"worker": ["a:99999"]}, "task": {"type": "worker", "index": 0}}', "each host:port"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "each host:port"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', "task.type is 'chief'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": [], "index": 0}}', "task.type is"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "task.index is 1"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}', "task.index is '0'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": true}}', "task.index is True"),
    ],
)
def test_nonsense_is_named(monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=words) as caught:
        cluster.read_task(CONFIG)
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
        task = cluster.read_task(CONFIG)
        assert task.type in content["cluster"] and task.index < len(content["cluster"][task.type])
