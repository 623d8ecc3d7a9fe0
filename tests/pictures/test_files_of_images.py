"""Files of images as --dataset=folder: .npy, .npz, and the zips that StyleGAN's tools write."""

import io
import json
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kgan import TrainConfig, cores
from kgan.data import sources
from kgan.data.licensing.inspection import inspect
from kgan.errors import UserError
from kgan.pictures import cache
from kgan.pictures.opening import open_pictures
from kgan.runs.rundir import RunDir
from kgan.training import plan
from tests.conftest import kgan, refused
from tests.fuzzing import damaged, fuzz, only_user_errors
from tests.making import FORBIDDEN

COLOUR = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
GREY = COLOUR[..., 0]
LABELS = np.arange(20) % 3


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("KGAN_CACHE_DIR", str(tmp_path / "cache"))


def png(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0, **options)
    return buffer.getvalue()


def write_zip(path, images, labels=None, compression=zipfile.ZIP_STORED, **members):
    """A zip in StyleGAN's layout; `labels` None leaves dataset.json out, and "null" says that there are none."""
    names = [f"{number // 1000:05d}/img{number:08d}.png" for number in range(len(images))]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in zip(names, images, strict=True):
            archive.writestr(name, content if isinstance(content, bytes) else png(content))
        if labels is not None:
            pairs = None if isinstance(labels, str) else [[n, int(k)] for n, k in zip(names, labels, strict=True)]
            archive.writestr("dataset.json", json.dumps({"labels": pairs}))
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read(path, size=None, channels=None):
    return sources.load("folder", str(path), image_size=size, channels=channels)


def test_every_form_gives_the_same_data(tmp_path):
    np.save(tmp_path / "a.npy", COLOUR)
    np.savez(tmp_path / "b.npz", images=COLOUR, labels=LABELS)
    np.savez_compressed(tmp_path / "c.npz", samples=COLOUR, labels=LABELS.astype(np.uint8))
    np.savez(tmp_path / "d.npz", COLOUR)
    write_zip(tmp_path / "e.zip", COLOUR, LABELS)
    write_zip(tmp_path / "f.ZIP", COLOUR, "null")
    write_zip(tmp_path / "g.zip", COLOUR)
    data = {path.name[0]: read(path) for path in tmp_path.iterdir() if path.is_file()}
    for one in data.values():
        assert np.array_equal(one.images, COLOUR) and not one.images.flags.writeable
    for name in "bce":
        assert data[name].labels.tolist() == LABELS.tolist() and data[name].class_names == ("0", "1", "2")
    for name in "adfg":
        assert data[name].labels is None and data[name].num_classes == 0
    assert data["b"].sha256 == data["c"].sha256 == data["e"].sha256 != data["a"].sha256
    assert data["a"].sha256 == data["g"].sha256 == sources.ImageSet(data["a"].source, COLOUR, None, ()).sha256


def test_grey_images_stay_grey_and_either_becomes_the_other(tmp_path):
    np.save(tmp_path / "nhw.npy", GREY)
    np.save(tmp_path / "nhwc.npy", GREY[..., None])
    write_zip(tmp_path / "grey.zip", GREY)
    for name in ("nhw.npy", "nhwc.npy", "grey.zip"):
        assert np.array_equal(read(tmp_path / name).images, GREY[..., None])
        assert np.array_equal(read(tmp_path / name, channels=3).images, np.repeat(GREY[..., None], 3, axis=-1))
    np.save(tmp_path / "colour.npy", COLOUR)
    expected = [np.asarray(Image.fromarray(pixels).convert("L")) for pixels in COLOUR]
    assert np.array_equal(read(tmp_path / "colour.npy", channels=1).images[..., 0], np.stack(expected))


def test_another_size_is_cropped_and_resampled_as_files_are(tmp_path):
    wide = np.random.default_rng(1).integers(0, 256, (4, 40, 64, 3), np.uint8)
    (tmp_path / "files").mkdir()
    for number, pixels in enumerate(wide):
        Image.fromarray(pixels).save(tmp_path / "files" / f"{number}.png")
    np.save(tmp_path / "wide.npy", wide)
    write_zip(tmp_path / "wide.zip", wide)
    expected = read(tmp_path / "files", 28, 3).images
    for name in ("wide.npy", "wide.zip"):
        assert np.array_equal(read(tmp_path / name, 28, 3).images, expected)
        assert read(tmp_path / name).images.shape == (4, 40, 40, 3)
    np.save(tmp_path / "odd.npy", np.zeros((2, 100, 130), np.uint8))
    assert read(tmp_path / "odd.npy").images.shape == (2, 96, 96, 1)  # the networks have no size between


def test_labels_that_no_picture_has_are_no_classes(tmp_path):
    np.savez(tmp_path / "a.npz", images=COLOUR, labels=np.resize([3, 7], 20))
    write_zip(tmp_path / "b.zip", COLOUR, np.resize([3, 7], 20))
    for name in ("a.npz", "b.zip"):
        data = read(tmp_path / name)
        assert data.class_names == ("3", "7") and data.labels.tolist() == [0, 1] * 10


@pytest.mark.parametrize("num_cores", [1, 16])
def test_an_array_is_never_held_whole(tmp_path, monkeypatch, num_cores):
    monkeypatch.setattr(cores, "usable", lambda: list(range(num_cores)))
    np.savez(tmp_path / "large.npz", images=np.zeros((1280, 256, 256), np.uint8), labels=np.zeros(1280, np.uint8))
    tracemalloc.start()
    assert read(tmp_path / "large.npz").images.shape == (1280, 256, 256, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25e6  # of 84 MB


def test_pictures_that_are_not_read_are_named(tmp_path):
    images = [png(pixels) for pixels in COLOUR]
    images[3] = images[3][:500]
    write_zip(tmp_path / "some.zip", images, LABELS)
    data = read(tmp_path / "some.zip")
    assert len(data.images) == 19 and data.labels.tolist() == np.delete(LABELS, 3).tolist()
    assert len(data.unreadable) == 1 and "some.zip: 00000/img00000003.png: not a readable" in data.unreadable[0]
    images[4:6] = [png(COLOUR[0, :16]), b"GIF89a"]
    write_zip(tmp_path / "more.zip", images)
    with pytest.raises(UserError, match=r"more.zip: 3 of 20 images are broken, more than a tenth; the first: "):
        read(tmp_path / "more.zip")


def test_pictures_of_another_size_than_the_first_one(tmp_path):
    write_zip(tmp_path / "sizes.zip", [*COLOUR[:10], COLOUR[0, :16]])
    (line,) = read(tmp_path / "sizes.zip").unreadable
    assert line.endswith("img00000010.png: 32 x 16 pixels, not 32 x 32")


def test_the_licence_lies_beside_the_file_and_the_name_is_the_files(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "cats & dogs.zip", COLOUR, LABELS)
    flags = ["--dataset=folder", f"--data_dir={path}", "--arch=mlp", "--batch_size=4", "--steps=2"]
    assert "cats & dogs has no licence on record" in refused("train", *flags, "--dry_run")
    done = kgan("data", "inspect", path, "--license=cc0-1.0", "--source=drawn")
    assert done.returncode == 0, done
    assert f"wrote {path}.dataset.json" in done.stdout and "forbid mining" in done.stdout
    assert done.stdout.splitlines()[-1] == f"Next: kgan train --dataset=folder '--data_dir={path}'"
    card = json.loads((tmp_path / "cats & dogs.zip.dataset.json").read_text())
    assert (card["license"], card["origin"], card["name"]) == ("CC0-1.0", "drawn", "cats & dogs")
    assert card["classes"] == {"0": 7, "1": 7, "2": 6} and card["sizes"] == {"32x32": 20}
    assert (card["num_images"], card["duplicates"], card["datamining_prohibited"]) == (20, 0, 0)
    monkeypatch.chdir(tmp_path)
    planned = plan.make_plan(TrainConfig(dataset="folder", data_dir=path.name, arch="mlp", batch_size=4))
    assert (planned.config.image_size, planned.config.channels, planned.config.data_dir) == (32, 3, str(path))
    assert planned.card["license"] == "CC0-1.0" and planned.card["files_sha256"] == card["files_sha256"]
    run = RunDir.create(None, planned.config)
    run.unlock()
    assert run.path.name == "00000-cats-dogs-mlp-rpgan"
    write_zip(path, COLOUR[::-1], LABELS)
    assert "changed since cats & dogs.zip.dataset.json was written" in refused("train", *flags, "--dry_run")


def test_owners_forbid_mining_in_a_zip_and_arrays_cannot(tmp_path):
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", FORBIDDEN)
    path = write_zip(tmp_path / "a.zip", [png(COLOUR[0], pnginfo=info), *COLOUR[1:]])
    inspected = inspect(path, license="MIT")
    assert inspected.card.datamining_prohibited == 1
    assert inspected.prohibited == (f"{path}: 00000/img00000000.png: DMI-PROHIBITED-AIMLTRAINING",)
    config = TrainConfig(dataset="folder", data_dir=str(path), batch_size=4, accept_unknown_license=True)
    with pytest.raises(UserError, match="1 images of a forbid data mining"):
        plan.make_plan(config)
    np.save(tmp_path / "b.npy", np.concatenate([COLOUR, COLOUR[:2]]))
    inspected = inspect(tmp_path / "b.npy")
    assert inspected.card.datamining_prohibited is None and inspected.card.duplicates == 2
    shown = " ".join(kgan("data", "inspect", tmp_path / "b.npy").stdout.split())
    assert "forbid mining arrays cannot say" in shown and "exact duplicates 2" in shown
    assert plan.make_plan(config.replace(data_dir=str(tmp_path / "b.npy"))).card["num_images"] == 22


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"images": COLOUR / 255}, r"images is float64 .*; it must be uint8"),
        ({"images": COLOUR[..., :2]}, r"its array is of shape \(20, 32, 32, 2\); it must be \(n, h, w, 1 or 3\)"),
        ({"images": COLOUR[0, 0]}, "its array is of shape"),
        ({"images": COLOUR[:0]}, "there are no images in it"),
        ({"images": np.asfortranarray(COLOUR)}, "images is in Fortran order"),
        ({"images": np.zeros((1, 16, 70_000), np.uint8)}, "images of 16 x 70000; those from 16 x 16 to 50,000,000"),
        ({"images": np.zeros((99, 1, 1), np.uint8)}, "images of 1 x 1; those from 16 x 16"),
        ({"pictures": COLOUR}, r"it has no array called samples or images or arr_0 \(arrays in it: pictures\)"),
        ({"images": COLOUR, "labels": LABELS[:5]}, r"labels is int64 \(5,\); it must be integer \(20,\)"),
        ({"images": COLOUR, "labels": LABELS / 1}, "labels is float64"),
        ({"images": COLOUR, "labels": LABELS - 1}, "labels from -1 to 1, not from 0"),
        ({"images": COLOUR, "labels": LABELS * 10**9}, "labels from 0 to 2000000000, not from 0"),
        ({"images": np.array([{}] * 3, object)}, "images is of type object: only plain numbers"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=f"a.npz: {words}"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "content, words",
    [
        (b'{"labels": [["x.png", 1]]}', "dataset.json has no label for 00000/img00000000.png"),
        (b'{"labels": {"a": 1}}', "dataset.json in it is not"),
        (b'{"labels": 3}', "dataset.json in it is not"),
        (b"[" * 9000, "dataset.json in it is not"),
        (b'{"labels": [["00000/img00000000.png", [0.5, 1]]]}', "labels in its dataset.json are not all whole numbers"),
        (b'{"labels": [["00000/img00000000.png", -1]]}', "not all whole numbers from 0"),
        (b'{"labels": [["00000/img00000000.png", 1e9]]}', "not all whole numbers from 0"),
        (b'{"name": "kgan\'s own card", "license": "MIT"}', "dataset.json in it is not"),
    ],
)
def test_other_labels_are_refused(tmp_path, content, words):
    path = write_zip(tmp_path / "a.zip", COLOUR[:1], **{"dataset.json": content})
    with pytest.raises(UserError, match=f"a.zip: .*{words}"):
        read(path)


def _bomb(side: int) -> bytes:
    """A PNG of side x side black pixels of one bit, in a few kilobytes."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def _encrypted(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)


def test_hostile_files_are_refused_before_they_are_decoded(tmp_path):
    write_zip(tmp_path / "deflated.zip", COLOUR[:2], compression=zipfile.ZIP_DEFLATED)
    encrypted = write_zip(tmp_path / "encrypted.zip", COLOUR[:2])
    _encrypted(encrypted)
    write_zip(tmp_path / "many.zip", [_bomb(7000)] * 10)
    overlapping = write_zip(tmp_path / "overlapping.zip", COLOUR[:2])
    content = overlapping.read_bytes()
    place = content.index(b"PK\1\2")
    entry = content[place : content.index(b"PK\1\2", place + 4)]
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 50, 50, 50 * len(entry), place, 0)
    overlapping.write_bytes(content[:place] + entry * 50 + end)
    np.savez_compressed(tmp_path / "zeros.npz", images=np.zeros((4000, 64, 64), np.uint8))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 64, 64, 3)})
    (tmp_path / "huge.npy").write_bytes(header.getvalue())
    write_zip(tmp_path / "none.zip", [])
    (tmp_path / "text.zip").write_text("not a zip")
    for name, words in {
        "deflated.zip": "00000/img00000000.png in it is compressed or encrypted, .*: unpack it and give the folder",
        "encrypted.zip": "00000/img00000000.png in it is compressed or encrypted",
        "many.zip": "its pictures announce more than",
        "overlapping.zip": "its members announce more bytes than it has|not a readable zip",
        "zeros.npz": "images announces 16,384,128 bytes, more than 30 times the file's: save it uncompressed",
        "huge.npy": "the array is of shape .* which does not fit its 128 bytes",
        "none.zip": "it has no PNG in it",
        "text.zip": "not a readable zip",
    }.items():
        with pytest.raises(UserError, match=f"{name}: ({words})"):
            read(tmp_path / name, 28, 1)


@pytest.mark.parametrize("suffix", ["npy", "npz", "zip"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_only_regular_files_are_read(tmp_path, suffix, make):
    path = tmp_path / f"x.{suffix}"
    make(path)
    for act in (lambda: read(path, 28, 1), lambda: inspect(path)):
        with pytest.raises(UserError, match="not a regular file"):
            act()


def _saved(write, **arrays) -> bytes:
    buffer = io.BytesIO()
    write(buffer, **arrays)
    return buffer.getvalue()


NPZ = [_saved(np.savez, images=GREY[:2], labels=LABELS[:2]), _saved(np.savez_compressed, arr_0=COLOUR[:2])]
NPY = [_saved(np.save, arr=COLOUR[:2]), _saved(np.save, arr=GREY[:2])]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


def _read_or_refuse(path, content):
    path.write_bytes(content)
    for size in (None, 28):
        with only_user_errors():
            pictures = open_pictures(path)
            height, width, channels = pictures.own_shape()
            size = size or min(height, width, 64)
            assert cache.read(pictures, size, channels).images.shape[1:] == (size, size, channels)
    with only_user_errors():
        inspect(path)


@fuzz(damaged(*NPZ))
def test_damaged_npz_files(root, content):
    _read_or_refuse(root / "images.npz", content)


@fuzz(damaged(*NPY))
def test_damaged_npy_files(root, content):
    _read_or_refuse(root / "images.npy", content)


def _crc_mended(content: bytes) -> bytes:
    """The same PNG with the right sums, so that damage goes deeper."""
    mended, place = content[:8], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunk = content[place + 4 : place + 8 + length]
        mended += content[place : place + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        place += 12 + length
    return mended


@fuzz(damaged(write_zip(io.BytesIO(), COLOUR[:2], LABELS[:2]).getvalue(), write_zip(io.BytesIO(), GREY[:2]).getvalue()))
def test_damaged_zips(root, content):
    _read_or_refuse(root / "images.zip", content)


@fuzz(damaged(png(COLOUR[0]), png(GREY[0])))
def test_damaged_pictures_in_a_zip(root, content):
    _read_or_refuse(write_zip(root / "images.zip", [_crc_mended(content)] * 2), (root / "images.zip").read_bytes())
