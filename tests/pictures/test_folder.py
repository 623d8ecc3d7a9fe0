import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kgan.errors import UserError
from kgan.pictures import cache, picture
from kgan.pictures.opening import open_pictures
from tests.conftest import draw_folder


def test_first_level_folders_are_the_classes(tmp_path):
    for name in ("b/deep/er/1.png", "a/2.JPG", "a/3.webp", "b/4.bmp", "a/5.gif", "a/.hidden.png", "a/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (10, 20, 30)).save(path, format={"JPG": "JPEG", "txt": "PNG"}.get(path.suffix[1:]))
    read = cache.read(open_pictures(tmp_path), 32, 3)
    assert read.images.shape == (5, 32, 32, 3)
    assert read.labels.tolist() == [0, 0, 0, 1, 1]
    assert read.class_names == ("a", "b")
    assert read.unreadable == ()


def test_a_link_to_a_folder_is_a_class_and_one_to_nothing_is_passed_over(tmp_path, caplog):
    draw_folder(tmp_path / "data", 6, classes=2)
    draw_folder(tmp_path / "other", 3, classes=0)
    (tmp_path / "data" / "class2").symlink_to(tmp_path / "other")
    (tmp_path / "other" / "circle").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "class0" / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "data" / "class1" / "pipe.png")
    read = cache.read(open_pictures(tmp_path / "data"), 28, 1)
    assert read.class_names == ("class0", "class1", "class2") and np.bincount(read.labels).tolist() == [3, 3, 3]
    assert f"{tmp_path / 'data'}: 2 passed over that are no files: class0/gone.png" in caplog.messages


def test_images_outside_every_class_leave_the_set_unlabelled_and_are_named(tmp_path, caplog):
    draw_folder(tmp_path / "a", 3, classes=0)
    read = cache.read(open_pictures(tmp_path / "a"), 28, 1)
    assert (read.labels, read.class_names) == (None, ()) and not caplog.messages  # it never had classes
    draw_folder(tmp_path, 6, classes=2)
    Image.new("L", (30, 30)).save(tmp_path / "preview.png")
    read = cache.read(open_pictures(tmp_path), 28, 1)
    assert (read.labels, read.class_names) == (None, ())
    (line,) = caplog.messages
    assert line == f"{tmp_path}: read without classes, because pictures lie outside its folders: preview.png"


def test_pictures_of_other_formats_are_counted(tmp_path):
    draw_folder(tmp_path, 3)
    for name in ("a.HEIC", "b.heic", "class0/c.tiff", "class0/notes.txt", ".hidden.tif"):
        (tmp_path / name).write_bytes(b"")
    assert open_pictures(tmp_path).others == {".heic": 2, ".tiff": 1}
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "photo.tif").write_bytes(b"")
    with pytest.raises(UserError, match=r"no images in it .*; .*not read: 1 .tif; convert them to PNG or JPEG"):
        cache.read(open_pictures(tmp_path / "only"), 28, 1)


def test_a_few_broken_files_are_named_and_skipped(tmp_path):
    draw_folder(tmp_path, 20)
    (tmp_path / "class0" / "0000.png").write_bytes(b"not a picture")
    read = cache.read(open_pictures(tmp_path), 28, 1)
    assert len(read.images) == len(read.labels) == 19
    assert read.labels[0] == 0
    assert len(read.unreadable) == 1 and "0000.png: not a readable image" in read.unreadable[0]
    with picture.decoded(tmp_path / "class0" / "0002.png", 1) as second:
        assert np.array_equal(read.images[0, ..., 0], np.asarray(second))


def test_the_name_of_a_broken_file_is_shown_without_its_control_characters(tmp_path):
    root = draw_folder(tmp_path / "images", 20)
    (root / "class0" / "\x1b]0;x\x07a\nb.png").write_bytes(b"no picture")
    (line,) = cache.read(open_pictures(root), 28, 1).unreadable
    assert line.isprintable() and "b.png: not a readable image" in line


def test_too_many_broken_files_stop(tmp_path):
    draw_folder(tmp_path, 20)
    for number in (0, 2, 4):
        path = tmp_path / "class0" / f"{number:04}.png"
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"3 of 20 images are broken, more than a tenth; the first: .*0000.png"):
        cache.read(open_pictures(tmp_path), 28, 1)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    draw_folder(tmp_path, 6)
    scandir = os.scandir

    def closed(path):
        if Path(path).name == "class1":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UserError, match=r"class1: cannot be read \(Permission denied\)"):
        open_pictures(tmp_path)


@pytest.mark.parametrize("make", [lambda root: root.mkdir(), lambda root: root.write_text(""), lambda root: None])
def test_a_folder_without_images_is_refused(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(UserError, match=r"x: (no images in it|not a folder)"):
        cache.read(open_pictures(tmp_path / "x"), 32, 3)
