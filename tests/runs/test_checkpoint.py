import errno
import json

import numpy as np
import pytest

from kgan.errors import UserError
from kgan.runs import checkpoint

ARRAYS = {"b": np.arange(4.0), "a/x": np.array(3, np.int64)}


def test_what_is_saved_is_read(tmp_path):
    checkpoint.save(tmp_path / "c", 5, ARRAYS)
    path, arrays = checkpoint.read_last(tmp_path / "c")
    assert checkpoint.step_of(path) == 5
    assert set(arrays) == set(ARRAYS)
    assert all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS)


def test_the_last_three_and_the_best_are_kept(tmp_path):
    for step in range(1, 6):
        checkpoint.save(tmp_path, step, ARRAYS)
        (tmp_path / "best.json").write_text(json.dumps({"step": 1, "score": 2.0}))
    assert [checkpoint.step_of(path) for path in checkpoint.paths(tmp_path)] == [1, 3, 4, 5]
    assert checkpoint.step_of(checkpoint.choose(tmp_path, "best")) == 1
    assert checkpoint.step_of(checkpoint.choose(tmp_path, "last")) == 5
    assert checkpoint.step_of(checkpoint.choose(tmp_path, "4")) == 4
    with pytest.raises(UserError, match="--checkpoint=2: must be best, last or one of the steps 1, 3, 4, 5"):
        checkpoint.choose(tmp_path, "2")


def test_without_a_score_the_best_is_the_last(tmp_path):
    with pytest.raises(UserError, match="no checkpoint yet"):
        checkpoint.choose(tmp_path)
    checkpoint.save(tmp_path, 7, ARRAYS)
    assert checkpoint.step_of(checkpoint.choose(tmp_path)) == 7


def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, ARRAYS)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError):
        checkpoint.save(tmp_path, 2, ARRAYS)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000001.npz"]
    assert checkpoint.read_last(tmp_path)[1]["a/x"] == 3


def test_a_damaged_checkpoint_is_passed_over_for_an_earlier_one(tmp_path):
    checkpoint.save(tmp_path, 1, ARRAYS)
    newest = checkpoint.save(tmp_path, 2, ARRAYS)
    newest.write_bytes(newest.read_bytes()[:-40])
    assert checkpoint.step_of(checkpoint.read_last(tmp_path)[0]) == 1
    checkpoint.paths(tmp_path)[0].write_bytes(b"")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        checkpoint.read_last(tmp_path)


def test_objects_in_a_checkpoint_are_refused(tmp_path):
    np.savez(tmp_path / "step-0000001.npz", x=np.array([{}], object))
    with pytest.raises(UserError, match="not a readable checkpoint"):
        checkpoint.read_last(tmp_path)


def test_the_hash_is_of_names_and_values_not_of_the_file():
    assert checkpoint.sha256(ARRAYS) == checkpoint.sha256(dict(reversed(ARRAYS.items())))
    assert checkpoint.sha256(ARRAYS) != checkpoint.sha256(ARRAYS | {"b": np.arange(4.0) + 1})
    assert checkpoint.sha256(ARRAYS) != checkpoint.sha256({"c": ARRAYS["b"], "a/x": ARRAYS["a/x"]})
