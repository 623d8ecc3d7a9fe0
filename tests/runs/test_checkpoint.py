import errno

import numpy as np
import pytest

from kgan.errors import UserError
from kgan.runs import checkpoint

ARRAYS = {"b": np.arange(4.0), "a/x": np.array(3, np.int64)}


def save(folder, step):
    return checkpoint.save(folder, step, ARRAYS | {"step": np.array(step)})


def test_what_is_saved_is_read(tmp_path):
    save(tmp_path / "c", 5)
    path, arrays = checkpoint.read_last(tmp_path / "c")
    assert checkpoint.step_of(path) == 5
    assert set(arrays) == {*ARRAYS, "step"}
    assert all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS)


def test_the_last_three_and_the_best_are_kept(tmp_path):
    for step in range(1, 6):
        save(tmp_path, step)
        checkpoint.keep_if_best(tmp_path, step, 2.0 + step)
        checkpoint.prune(tmp_path)
    assert [checkpoint.step_of(path) for path in checkpoint.paths(tmp_path)] == [1, 3, 4, 5]
    assert checkpoint.step_of(checkpoint.find(tmp_path, "best")) == 1
    assert checkpoint.step_of(checkpoint.find(tmp_path, "last")) == 5
    assert checkpoint.step_of(checkpoint.find(tmp_path, "4")) == 4
    with pytest.raises(UserError, match="--checkpoint=2: must be best, last or one of the steps 1, 3, 4, 5"):
        checkpoint.find(tmp_path, "2")


def test_the_former_best_goes_when_a_better_one_is_entered(tmp_path):
    for step, score in ((1, 5.0), (2, 9.0), (3, 9.0), (4, 9.0), (5, 4.0)):
        save(tmp_path, step)
        checkpoint.keep_if_best(tmp_path, step, score)
        checkpoint.prune(tmp_path)
    assert [checkpoint.step_of(path) for path in checkpoint.paths(tmp_path)] == [3, 4, 5]


def test_files_with_other_names_are_no_checkpoints(tmp_path):
    save(tmp_path, 5)
    for name in ("step-0000100 (copy).npz", "step-backup.npz", "step-7.npz", "step-.npz", "step-+000001.npz"):
        (tmp_path / name).touch()
    assert [path.name for path in checkpoint.paths(tmp_path)] == ["step-0000005.npz"]
    assert checkpoint.read_last(tmp_path)[0].name == "step-0000005.npz"


def test_without_a_score_the_best_is_the_last(tmp_path):
    with pytest.raises(UserError, match="no checkpoint yet"):
        checkpoint.find(tmp_path)
    save(tmp_path, 7)
    assert checkpoint.step_of(checkpoint.find(tmp_path)) == 7


def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path, monkeypatch):
    save(tmp_path, 1)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000001.npz"]
    assert checkpoint.read_last(tmp_path)[1]["a/x"] == 3


def test_a_damaged_checkpoint_is_passed_over_for_an_earlier_one(tmp_path):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    newest.write_bytes(newest.read_bytes()[:-40])
    assert checkpoint.step_of(checkpoint.read_last(tmp_path)[0]) == 1
    checkpoint.paths(tmp_path)[0].write_bytes(b"")
    with pytest.raises(UserError, match="; none of its 2 checkpoints can be read: put one back, or train"):
        checkpoint.read_last(tmp_path)
    newest.unlink()
    with pytest.raises(UserError, match="not a readable.*; it is the only one: put it back, or train anew"):
        checkpoint.read_last(tmp_path)


def test_objects_in_a_checkpoint_are_refused(tmp_path):
    np.savez(tmp_path / "step-0000001.npz", x=np.array([{}], object))
    with pytest.raises(UserError, match="not a readable checkpoint"):
        checkpoint.read_last(tmp_path)


def test_the_hash_is_of_names_and_values_not_of_the_file():
    assert checkpoint.sha256(ARRAYS) == checkpoint.sha256(dict(reversed(ARRAYS.items())))
    assert checkpoint.sha256(ARRAYS) != checkpoint.sha256(ARRAYS | {"b": np.arange(4.0) + 1})
    assert checkpoint.sha256(ARRAYS) != checkpoint.sha256({"c": ARRAYS["b"], "a/x": ARRAYS["a/x"]})
