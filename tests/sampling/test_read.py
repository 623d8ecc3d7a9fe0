"""Reading any generator's images."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from kgan.errors import UserError
from kgan.images import gif, write_png
from kgan.provenance.marks import Origin, describe, pnginfo
from kgan.sampling.read import image_shape, read_images, read_samples, size_settings
from kgan.sampling.write import write_animation
from tests.fuzzing import damaged, fuzz, only_user_errors


def write(path, level, size=(4, 4), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level if mode == "L" else (level,) * 3).save(path)


def levels(path, **options) -> list[int]:
    return read_samples(path, (4, 4, 1), **options).images[:, 0, 0, 0].tolist()


def test_a_folder_is_read_by_name_and_of_a_larger_one_some_at_random(tmp_path):
    for number in range(20):
        write(tmp_path / "flat" / f"{number:02}.png", number)
        write(tmp_path / "classes" / "ab"[number % 2] / f"{number:02}.png", number)
    assert levels(tmp_path / "flat") == levels(tmp_path / "flat", limit=20) == list(range(20))
    some = levels(tmp_path / "flat", limit=12)
    assert some == sorted(some) == levels(tmp_path / "flat", limit=12) and len(set(some)) == 12
    assert some != list(range(12))  # which may be those of some classes only
    read = read_samples(tmp_path / "classes", (4, 4, 1), limit=12)
    assert {name.split("/")[0] for name in read.files} == {"a", "b"}
    assert [int(name[2:4]) for name in read.files] == read.images[:, 0, 0, 0].tolist()
    assert read.which == "12 of the 20 image files in classes, at random"


def test_the_shape_is_that_of_a_single_image(tmp_path):
    origin = Origin("", "", "", "", False, {"kgan": "1"})
    pair = np.zeros((9, 12, 3), np.uint8)
    write_png(tmp_path / "projection-x.png", pair, pnginfo(describe(origin, pair)))
    with pytest.raises(UserError, match="there are only grids in this folder"):
        image_shape(tmp_path)
    write(tmp_path / "seed.png", 5)
    assert image_shape(tmp_path) == (4, 4, 1) and levels(tmp_path) == [5]


def test_what_is_no_single_image_is_told_by_its_marks_not_by_its_size_or_a_json_beside_it(tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path / f"{number}.png", number)
        (tmp_path / f"{number}.png.json").write_text('{"prompt": "a cat"}')  # as other programs leave them
    content = gif(np.full((2, 4, 4, 1), 9, np.uint8))
    marks = describe(Origin("", "", "", "", False, {"kgan": "1"}), np.zeros((4, 4, 1), np.uint8))
    write_animation(tmp_path / "seed-interpolation.gif", content, marks)
    (tmp_path / "still.gif").write_bytes(content)
    (tmp_path / "still.gif.json").write_text('{"kgan": {}}')
    (tmp_path / f"{'x' * 250}.gif").write_bytes(content)  # a name that leaves no room for .json
    read = read_samples(tmp_path, (4, 4, 1))
    assert read.images[:, 0, 0, 0].tolist() == [0, 1, 2, 9, 9]
    assert read.skipped == ("seed-interpolation.gif: a grid of several images",)
    monkeypatch.chdir(tmp_path)
    assert read_samples(".", (4, 4, 1)).which == f"all 5 images in {tmp_path.name}"


def test_grey_and_colour(tmp_path):
    write(tmp_path / "rgb" / "0.png", 7, mode="RGB")
    assert image_shape(tmp_path / "rgb") == (4, 4, 3)
    assert levels(tmp_path / "rgb") == [7]
    assert read_samples(tmp_path / "rgb", (4, 4, 3)).images.tolist() == np.full((1, 4, 4, 3), 7).tolist()
    write(tmp_path / "l" / "0.png", 7)
    assert image_shape(tmp_path / "l") == (4, 4, 1)
    write(tmp_path / "l" / "1.png", 7, mode="RGB")  # one grey picture among those in colour takes nobody's colours
    (tmp_path / "l" / "2.png").write_bytes(b"damaged")
    assert image_shape(tmp_path / "l") == (4, 4, 3)


def test_an_npz_is_read_in_its_order_and_of_a_larger_one_some_at_random(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", samples=images, labels=np.arange(5))
    assert image_shape(tmp_path / "a.npz") == (4, 4, 3)
    whole, some = (read_samples(tmp_path / "a.npz", (4, 4, 3), limit=limit) for limit in (5, 2))
    assert np.array_equal(whole.images, images) and whole.places is None
    assert np.array_equal(some.images, images[some.places]) and len(some.places) == 2
    assert (whole.which, some.which) == ("all 5 images in a.npz", "2 of the 5 images in a.npz, at random")
    with pytest.raises(UserError, match="a.npz: its images are 4x4x3, and 4x4x1 are needed"):
        read_samples(tmp_path / "a.npz", (4, 4, 1))


def test_arrays_in_memory_and_in_files_of_every_form_are_the_same_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 1), np.uint8)
    np.savez(tmp_path / "unnamed.npz", images)
    np.savez(tmp_path / "grey.npz", samples=images[..., 0])
    np.save(tmp_path / "plain.npy", images)
    np.save(tmp_path / "grey.npy", images[..., 0])
    np.savez(tmp_path / "images.npz", images=images)
    shutil.copy(tmp_path / "plain.npy", tmp_path / "LOUD.NPY")
    files = [tmp_path / name for name in ("unnamed.npz", "grey.npz", "images.npz", "plain.npy", "grey.npy", "LOUD.NPY")]
    for source in (images, images[..., 0], *files):
        assert image_shape(source) == (4, 3, 1)
        assert np.array_equal(read_samples(source, (4, 3, 1)).images, images)
    with pytest.raises(UserError, match=r"samples is float64 \(5, 4, 3, 1\); it must be uint8"):
        read_samples(images / 2, (4, 3, 1))


def test_the_size_of_samples_is_that_of_data_without_one():
    samples = np.zeros((2, 8, 8, 3), np.uint8)
    assert size_settings(samples, "folder") == {"image_size": 8, "channels": 3}
    assert size_settings(samples[:, :4], "mnist") == {}
    with pytest.raises(UserError, match="--samples=an array: images of 4x8; --dataset=folder has square ones"):
        size_settings(samples[:, :4], "folder")


def test_real_images_in_a_folder_are_resized_and_in_arrays_are_not(tmp_path):
    write(tmp_path / "works" / "0.png", 9, size=(12, 8))
    assert read_images(tmp_path / "works", (4, 4, 1), "train").images.tolist() == np.full((1, 4, 4, 1), 9).tolist()
    with pytest.raises(UserError, match="--train=.*not square"):
        read_images(tmp_path / "works", (4, 5, 1), "train")
    with pytest.raises(UserError, match="^train: its images are 8x8x1, and 4x4x1 are needed"):
        read_images(np.zeros((2, 8, 8, 1), np.uint8), (4, 4, 1), "train")


@pytest.mark.parametrize(
    "content",
    [
        {"samples": np.array([{}], object)},
        {"samples": np.zeros((4, 4), np.uint8)},
        {"samples": np.zeros((2, 4, 4, 2), np.uint8)},
        {"samples": np.zeros((0, 4, 4, 1), np.uint8)},
        {"samples": np.zeros((2, 4, 4, 1), np.float32)},
        {"pictures": np.zeros((2, 4, 4, 1), np.uint8)},
    ],
)
def test_other_arrays_are_refused(tmp_path, content):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(UserError, match="a.npz"):
        read_samples(tmp_path / "a.npz", (4, 4, 1))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("not a zip")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros((2, 4, 4, 1), np.uint8))
    (tmp_path / "array.npy").write_bytes((tmp_path / "array.npy").read_bytes()[:-9])
    np.savez(tmp_path / "whole.npz", samples=np.zeros((99, 4, 4, 1), np.uint8))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:700])
    (tmp_path / "folder").mkdir()
    for name in ("text.npz", "empty.npz", "array.npy", "cut.npz", "folder", "nowhere"):
        with pytest.raises(UserError, match=name):
            read_samples(tmp_path / name, (4, 4, 1))
    (tmp_path / "folder" / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match="broken.png: not a readable image"):
        read_samples(tmp_path / "folder", (4, 4, 1))
    with pytest.raises(UserError, match="broken.png: not a readable image"):
        image_shape(tmp_path / "folder")


def _content(save, **arrays) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


IMAGES = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1)
NPZ = [_content(np.savez, samples=IMAGES), _content(np.savez_compressed, arr_0=IMAGES[..., 0])]
NPY = _content(np.save, arr=IMAGES)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@fuzz(damaged(*NPZ))
def test_damaged_npz_files(root, content):
    _read_or_refuse(root / "samples.npz", content)


@fuzz(damaged(NPY))
def test_damaged_npy_files(root, content):
    _read_or_refuse(root / "samples.npy", content)


def _read_or_refuse(path, content):
    path.write_bytes(content)
    with only_user_errors():
        assert read_samples(path, image_shape(path)).images.dtype == np.uint8
