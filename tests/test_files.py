import errno
import fcntl
import os
import stat
import threading
import time

import pytest

from kgan import files


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    files.write_atomically(path, b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_a_link_stays_one_and_what_is_no_file_is_written_to(tmp_path):
    file, link, pipe = (tmp_path / name for name in ("file", "link", "pipe"))
    file.write_bytes(b"old")
    link.symlink_to(file)
    files.write_atomically(link, b"new")
    assert link.is_symlink() and file.read_bytes() == b"new"
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        files.write_atomically(pipe, b"content")
        assert reader.read() == b"content"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_waiter_whose_lock_file_is_gone_takes_the_new_one(tmp_path, monkeypatch):
    path, flock = tmp_path / "x.lock", fcntl.flock

    def after_a_wait(lock, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()  # by the one who held it
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", after_a_wait)
    with files.exclusive(path, "is here"), open(path) as other, pytest.raises(BlockingIOError):
        flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert list(tmp_path.iterdir()) == []


def test_one_at_a_time_is_inside(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(20):
            with files.exclusive(tmp_path / "x.lock", "is here"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)  # the others run
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80


def test_where_nothing_can_be_locked_all_go_ahead(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for path in (tmp_path / "x.lock", tmp_path / "nowhere" / "x.lock"):
        with files.exclusive(path, "is here") as is_alone:
            assert not is_alone
    assert list(tmp_path.iterdir()) == []
