"""Files of a run that hold anything at all: read as declared, or refused in one line."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import strategies as st

from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.runs import checkpoint, results, schema
from kgan.runs.rundir import RunDir
from tests.fuzzing import JSON, damaged, fuzz, only_user_errors

RECORD = {
    "id": "a",
    "step": 5,
    "dataset": {"name": "x", "classes": {"cat": 3}},
    "device": {"names": ["cpu"], "xla": False},
}
TYPES = [schema.RunRecord, schema.MetricsLine, schema.Best, schema.Evaluation, schema.Audit]


@st.composite
def near(draw, kind):
    """A JSON object with the keys of the type, their values of any type."""
    keys = draw(st.sets(st.sampled_from(sorted(kind.__annotations__))))
    return {key: draw(JSON) for key in keys | set(kind.__required_keys__)}


@pytest.mark.parametrize("kind", TYPES)
@fuzz(st.data())
def test_what_is_accepted_has_the_declared_types(kind, data):
    value = data.draw(near(kind) | JSON)
    with only_user_errors():
        accepted = schema.parse(json.dumps(value).encode(), kind, "file")
        assert set(kind.__required_keys__) <= set(accepted)
        assert schema.mismatch(accepted, kind) is None


@fuzz(st.sampled_from(TYPES), damaged(json.dumps(RECORD).encode(), b'{"a":' * 5000, b'{"step": ' + b"9" * 5000 + b"}"))
def test_damaged_json_is_read_or_refused(kind, content):
    with only_user_errors():
        assert schema.mismatch(schema.parse(content, kind, "file"), kind) is None


@pytest.mark.parametrize(
    "value, words",
    [
        ({"step": "5"}, "step is a string, not a whole number"),
        ({"step": True}, "step is true or false, not a whole number"),
        ({"step": 2**70}, "step is too large"),
        ({"dataset": {"classes": {"cat": "many"}}}, "dataset.classes.cat is a string, not a whole number"),
        ({"dataset": []}, "dataset is a list, not a JSON object"),
        ({"device": {"names": ["a", 3]}}, r"device.names\[1\] is a whole number, not a string"),
        ({"git_revision": 3}, "git_revision is a whole number, not a string or null"),
        ({"versions": {"numpy": None}}, "versions.numpy is null, not a string"),
        ([], "it is a list, not a JSON object"),
    ],
)
def test_the_wrong_key_is_named(tmp_path, value, words):
    (tmp_path / "run.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match=rf"run.json: not readable \({words}\)"):
        RunDir(tmp_path).read_record()


@fuzz(st.data())
def test_settings_are_legal_or_refused(data):
    names = sorted(TrainConfig.__dataclass_fields__)
    values = data.draw(st.dictionaries(st.sampled_from(names), JSON, max_size=4))
    with only_user_errors():
        config = TrainConfig.from_json(json.dumps(values))
        assert TrainConfig.from_json(config.to_json()) == config


def test_damaged_files_are_named(tmp_path):
    run = RunDir(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="config.json: not readable"):
        run.read_config()
    (tmp_path / "config.json").write_text('{"batch_size": [3]}')
    with pytest.raises(UserError, match="config.json: --batch_size=.*must be int"):
        run.read_config()
    (tmp_path / "evaluation.json").write_text('{"scores": {"precision": "high"}, "protocol": {}}')
    with pytest.raises(UserError, match=r"evaluation.json: .*scores.precision is a string"):
        results.read(run, results.EVALUATION)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl, line 1: not readable \(d_fake is missing\)"):
        run.read_metrics()
    (tmp_path / "audit.json").mkdir()
    with pytest.raises(UserError, match="audit.json: not a regular file"):
        results.read(run, results.AUDIT)


def saved(arrays: dict, compress: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(buffer, **arrays)
    return buffer.getvalue()


GOOD = {"step": np.array(5), "x": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.arange(6).reshape(2, 3))}


def read(tmp_path, content: bytes):
    path = tmp_path / "step-0000005.npz"
    path.write_bytes(content)
    return checkpoint.read(path)


@fuzz(damaged(saved(GOOD), saved(GOOD, compress=True)))
def test_a_damaged_checkpoint_is_read_or_refused(tmp_path_factory, content):
    with only_user_errors():
        arrays = read(tmp_path_factory.getbasetemp(), content)
        assert all(array.dtype.kind in "biuf" for array in arrays.values()) and int(arrays["step"]) == 5


def member(header: str, body: bytes = b"") -> bytes:
    """A checkpoint with one array whose .npy header is this text."""
    text = header.encode().ljust(118 - 10) + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("step.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        saved(GOOD | {"step": np.array(6)}),
        saved(GOOD | {"step": np.array(-5)}),
        saved(GOOD | {"step": np.array([5])}),
        saved(GOOD | {"step": np.array(5.0)}),
        saved({"x": np.zeros(3)}),
        saved(GOOD | {"x": np.array(["text"])}),
        member("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"),
        member("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"),
        member("{'descr': '|O', 'fortran_order': False, 'shape': ()}", b"\x80\x04N."),
        member("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': ()}", bytes(8)),
        member("{'descr': (((((((((("),
        member("__import__('os').getpid()"),
        b"",
        b"PK\x05\x06" + bytes(18),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read(tmp_path, content)
    with only_user_errors():
        read(tmp_path, content)


def test_arrays_of_either_order_are_read(tmp_path):
    arrays = read(tmp_path, saved(GOOD))
    assert all(np.array_equal(arrays[name], GOOD[name]) for name in GOOD)
