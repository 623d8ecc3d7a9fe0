"""Folders of images are decoded once, and what is in the way of that is said in one line."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import strategies as st

from kgan.data import sources
from kgan.errors import UserError
from kgan.pictures import cache, manifest, picture
from kgan.pictures.opening import open_pictures
from tests.conftest import draw_folder, kgan
from tests.fuzzing import damage, fuzz, only_user_errors


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "_KEPT", type(sources._KEPT)())
    return tmp_path / "cache"


@pytest.fixture
def decoded_files(monkeypatch):
    """The files that were decoded, in time."""
    files, read_image = [], picture.read_image

    def reading(path, *options):
        files.append(path.name)
        return read_image(path, *options)

    monkeypatch.setattr(picture, "read_image", reading)
    return files


@pytest.fixture
def hashed_files(monkeypatch):
    files, file_sha256 = [], manifest.file_sha256

    def hashing(path):
        files.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(manifest, "file_sha256", hashing)
    return files


def test_a_folder_is_decoded_once_for_each_shape(tmp_path, decoded_files):
    root = draw_folder(tmp_path / "images", 12)
    first = cache.read(open_pictures(root), 28, 1)
    assert len(decoded_files) == 12
    again = cache.read(open_pictures(root), 28, 1)
    assert len(decoded_files) == 12
    assert np.array_equal(first.images, again.images) and np.array_equal(first.labels, again.labels)
    assert not again.images.flags.writeable
    assert cache.read(open_pictures(root), 32, 3).images.shape == (12, 32, 32, 3)
    assert len(decoded_files) == 24
    shutil.copytree(root, tmp_path / "copy")
    assert np.array_equal(cache.read(open_pictures(tmp_path / "copy"), 28, 1).images, first.images)
    assert len(decoded_files) == 24  # the same files in another place


def test_the_order_is_that_of_the_names_whatever_thread_is_first(tmp_path):
    root = draw_folder(tmp_path / "images", 300, classes=3)
    read = cache.read(open_pictures(root), 28, 1)
    expected = [picture.read_image(path, 28, 1) for path in open_pictures(root)]
    assert np.array_equal(read.images, np.stack(expected))


def test_a_changed_file_is_decoded_again(tmp_path, decoded_files):
    root = draw_folder(tmp_path / "images", 6)
    before = cache.read(open_pictures(root), 28, 1).images
    (root / "class0" / "0000.png").write_bytes((root / "class1" / "0001.png").read_bytes())
    after = cache.read(open_pictures(root), 28, 1).images
    assert not np.array_equal(before, after) and np.array_equal(after[0], after[3])


def test_files_are_hashed_again_only_if_they_may_have_changed(tmp_path, hashed_files, monkeypatch):
    root = draw_folder(tmp_path / "images", 6)
    hashed_files.clear()
    monkeypatch.setattr(manifest, "_SETTLED", 1e12)
    value = manifest.files_sha256(open_pictures(root))
    assert len(hashed_files) == 6
    assert manifest.files_sha256(open_pictures(root)) == value
    assert len(hashed_files) == 12  # they are too new to be trusted
    monkeypatch.setattr(manifest, "_SETTLED", -1e12)
    assert manifest.files_sha256(open_pictures(root)) == value
    hashed_files.clear()
    assert manifest.files_sha256(open_pictures(root)) == value
    assert hashed_files == []
    assert manifest.files_sha256(open_pictures(root), verify=True) == value
    assert len(hashed_files) == 6
    path = root / "class0" / "0000.png"
    os.utime(path, (2e9, 2e9))  # as a camera with a wrong clock leaves it
    assert manifest.files_sha256(open_pictures(root)) == manifest.files_sha256(open_pictures(root)) == value
    assert len(hashed_files) == 12
    state, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # the same size and time, other bytes
    assert manifest.files_sha256(open_pictures(root)) != value
    for record in (tmp_path / "cache" / "manifests").iterdir():
        record.write_text("[")
    assert manifest.files_sha256(open_pictures(root)) != value


def test_a_damaged_cache_is_made_anew(tmp_path, store, decoded_files):
    root = draw_folder(tmp_path / "images", 6)
    first = np.array(cache.read(open_pictures(root), 28, 1).images)
    (place,) = [path for path in (store / "decoded").iterdir() if path.is_dir()]
    for spoil in (
        lambda: (place / "record.json").write_text("{"),
        lambda: (place / "record.json").unlink(),
        lambda: (place / "images.npy").write_bytes((place / "images.npy").read_bytes()[:-1]),
        lambda: (place / "record.json").write_text(json.dumps({"root": "x", "shape": [1], "broken": {}})),
        lambda: (place / "record.json").write_text(json.dumps([])),
    ):
        spoil()
        decoded_files.clear()
        assert np.array_equal(cache.read(open_pictures(root), 28, 1).images, first)
        assert len(decoded_files) == 6


def test_pixels_are_hashed_once_and_stand_for_what_is_in_the_cache(tmp_path, store, monkeypatch, decoded_files):
    root = draw_folder(tmp_path / "images", 6)
    hashed, dataset_sha256 = [], cache.dataset_sha256

    def hashing(*arrays):
        hashed.append(1)
        return dataset_sha256(*arrays)

    monkeypatch.setattr(cache, "dataset_sha256", hashing)
    first = cache.read(open_pictures(root), 28, 1)
    assert first.sha256 == sources.ImageSet(None, np.array(first.images), first.labels, ()).sha256
    assert len(hashed) == 1
    assert cache.read(open_pictures(root), 28, 1).sha256 == first.sha256
    assert len(hashed) == 1
    assert cache.read(open_pictures(root), 28, 1, verify=True).sha256 == first.sha256
    assert len(hashed) == 2
    (place,) = [path for path in (store / "decoded").iterdir() if path.is_dir()]
    os.utime(place / "images.npy")  # touched, as by a copy, and the same
    for expected in (3, 3):
        assert cache.read(open_pictures(root), 28, 1).sha256 == first.sha256
        assert len(hashed) == expected
    assert len(decoded_files) == 6
    images, labels = np.array(first.images), first.labels
    for name in ("images.npy", "labels.npy"):
        content = bytearray((place / name).read_bytes())
        content[-8] ^= 1
        (place / name).write_bytes(content)
        again = cache.read(open_pictures(root), 28, 1)
        assert np.array_equal(again.images, images) and np.array_equal(again.labels, labels)
    assert len(decoded_files) == 18


def test_a_full_disk_is_said_before_anything_is_decoded(tmp_path, monkeypatch, decoded_files):
    root = draw_folder(tmp_path / "images", 6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match="its images take 0.0 GB, and .* set KGAN_CACHE_DIR to a folder with more room"):
        cache.read(open_pictures(root), 28, 1)
    assert decoded_files == []


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / "file"))
    root = draw_folder(tmp_path / "images", 6)
    with pytest.raises(UserError, match="the decoded images cannot be kept there .*: set KGAN_CACHE_DIR to another"):
        cache.read(open_pictures(root), 28, 1)


def test_a_killed_process_leaves_nothing_half_made(tmp_path, store):
    root = draw_folder(tmp_path / "images", 40)
    program = (
        "import os, sys, time\nfrom pathlib import Path\nfrom kgan.pictures import cache, opening, picture\n"
        "read = picture.read_image\n"
        "def slow(*options):\n    os.write(1, b'decoding\\n')\n    time.sleep(0.2)\n    return read(*options)\n"
        "picture.read_image = slow\ncache.read(opening.open_pictures(Path(sys.argv[1])), 28, 1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"decoding\n"
        process.send_signal(signal.SIGKILL)
    assert [path.suffix for path in (store / "decoded").iterdir() if path.is_dir()] == [".tmp"]
    assert cache.list_cached() == []
    assert len(cache.read(open_pictures(root), 28, 1).images) == 40
    assert [path.suffix for path in (store / "decoded").iterdir() if path.is_dir()] == [""]


def test_what_other_jobs_are_making_stays(tmp_path, store):
    root = draw_folder(tmp_path / "images", 6)
    other = store / "decoded" / f".{'0' * 32}.999999999.tmp"
    other.mkdir(parents=True)
    cache.read(open_pictures(root), 28, 1)
    assert other.is_dir()


def test_what_another_process_finished_first_is_taken(tmp_path, store, monkeypatch):
    """Where files cannot be locked, two may decode the same pictures."""
    root = draw_folder(tmp_path / "images", 6)
    write_images = cache._write_images

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    def overtaken(pictures, folder, shape):
        with monkeypatch.context() as other:
            other.setattr(cache, "_write_images", write_images)
            other.setattr(os, "getpid", lambda: 1)
            assert len(cache.read(open_pictures(root), 28, 1).images) == 6
        return write_images(pictures, folder, shape)

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(cache, "_write_images", overtaken)
    read = cache.read(open_pictures(root), 28, 1)
    assert len(read.images) == 6 and read.images.sum() > 0
    assert len(list((store / "decoded").iterdir())) == 1


def test_the_cache_is_listed_and_cleared(tmp_path):
    root = draw_folder(tmp_path / "images[/red] of [bold]mine", 6)
    images = cache.read(open_pictures(root), 28, 1).images
    listed = " ".join(kgan("data", "list").stdout.split())
    assert f"{root} 6 of 28x28x1 0.0 MB" in listed and "`kgan data clear` removes them" in listed
    assert "MB of decoded images removed" in kgan("data", "clear").stdout
    assert cache.list_cached() == []
    ours, other = (tmp_path / "cache/decoded" / name for name in ("0" * 32, "holiday"))
    for folder in (ours, other):
        folder.mkdir()
        (folder / "film.npy").write_bytes(b"film")
    kgan("data", "clear")
    assert not ours.exists() and (other / "film.npy").exists()
    assert images.sum() > 0  # what is in use stays readable
    assert np.array_equal(cache.read(open_pictures(root), 28, 1).images, images)


@fuzz(st.tuples(damage(), damage(), damage(), damage()))
def test_a_cache_of_any_content_is_used_or_made_anew(tmp_path_factory, damages):
    root = tmp_path_factory.getbasetemp() / "three images"
    if not root.exists():
        draw_folder(root, 3)
    images = cache.read(open_pictures(root), 28, 1).images
    (place,) = (path for path in cache._decoded().iterdir() if path.is_dir())
    manifests = (cache.cache_folder() / "manifests").glob("*")
    for path, damaged in zip(
        [place / "record.json", place / "images.npy", place / "labels.npy", *manifests], damages, strict=False
    ):
        content = path.read_bytes()
        path.unlink()  # what is mapped stays as it is
        path.write_bytes(damaged(content))
    with only_user_errors():
        read = cache.read(open_pictures(root), 28, 1)
        assert read.images.dtype == np.uint8 and read.images.shape[1:] == images.shape[1:]
    assert all(cached.num_bytes > 0 for cached in cache.list_cached())
    cache.clear()
