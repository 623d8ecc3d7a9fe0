"""One image file: every mode becomes grey or colour, and what is not one of the formats is not opened."""

import io
import os
import struct
import threading
import time

import numpy as np
import pytest
from PIL import Image

from kgan.errors import UserError
from kgan.pictures import picture
from tests.fuzzing import damaged, fuzz, only_user_errors

SMALL = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_what_is_transparent_is_white_in_deep_greys_too(tmp_path):
    levels = np.full((30, 30), 20_000, np.uint16)
    levels[:15] = 5
    (tmp_path / "x.png").write_bytes(saved(Image.fromarray(levels), "PNG", transparency=5))
    assert np.unique(picture.read_image(tmp_path / "x.png", 30, 1)).tolist() == [78, 255]


def test_a_large_colour_profile_is_no_damage(tmp_path):
    (tmp_path / "x.png").write_bytes(saved(SMALL, "PNG", icc_profile=bytes(3 << 20)))
    assert picture.read_image(tmp_path / "x.png", 32, 3).shape == (32, 32, 3)


@pytest.mark.parametrize("format", picture.FORMATS)
def test_the_content_decides_not_the_name(tmp_path, format):
    (tmp_path / "x.png").write_bytes(saved(SMALL, format))
    assert picture.read_image(tmp_path / "x.png", 32, 3).shape == (32, 32, 3)
    assert picture.image_shape(tmp_path / "x.png") == (40, 30, 3)


@pytest.mark.parametrize("format", ["TIFF", "JPEG2000", "PPM", "ICO", "TGA", "PCX", "SGI", "DDS", "EPS"])
def test_other_formats_are_not_opened_whatever_their_name(tmp_path, format):
    (tmp_path / "photo.png").write_bytes(saved(SMALL, format))
    with pytest.raises(UserError, match=r"photo.png: not a readable image \(cannot identify image file"):
        picture.read_image(tmp_path / "photo.png", 32, 3)
    with pytest.raises(UserError, match=r"photo.png: not a readable image"):
        picture.image_shape(tmp_path / "photo.png")


def test_a_picture_with_a_second_one_in_it_is_read(tmp_path):
    (tmp_path / "x.jpg").write_bytes(saved(SMALL, "MPO", save_all=True, append_images=[SMALL]))
    assert picture.read_image(tmp_path / "x.jpg", 28, 1).shape == (28, 28, 1)


def test_the_middle_square_is_taken(tmp_path):
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 200
    Image.fromarray(wide).save(tmp_path / "x.png")
    assert (picture.read_image(tmp_path / "x.png", 32, 3) == 200).all()


@pytest.mark.parametrize(
    "image, expected",
    [
        (Image.new("RGBA", (28, 28), (0, 0, 0, 0)), 255),
        (Image.new("LA", (28, 28), (100, 255)), 100),
        (Image.new("P", (28, 28), 0), 0),
        (Image.new("1", (28, 28), 1), 255),
        (Image.fromarray(np.full((28, 28), 128 * 257, np.uint16)), 128),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_grey_or_colour(tmp_path, image, expected, channels):
    image.save(tmp_path / "x.png")
    pixels = picture.read_image(tmp_path / "x.png", 28, channels)
    assert pixels.shape == (28, 28, channels)
    assert (pixels == expected).all()


def test_a_picture_with_a_side_that_is_too_long_is_told_the_limit(tmp_path):
    Image.new("L", (70_000, 20)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="70000 x 20 pixels; at most 50,000,000, and 65,535 a side, are read"):
        picture.read_image(tmp_path / "x.png", 28, 1)


def test_levels_of_16_bits_are_rounded(tmp_path):
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(levels).save(tmp_path / "x.png")
    with picture.decoded(tmp_path / "x.png", 1) as image:
        assert np.array_equal(np.asarray(image), np.round(levels / 257.0))


def _progressive(extra_scans: int) -> bytes:
    content = saved(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * extra_scans + content[-2:]


def test_what_is_appended_to_a_jpeg_counts_as_no_scan(tmp_path):
    """Phones append videos, in which any two bytes stand."""
    (tmp_path / "motion.jpg").write_bytes(_progressive(0) + b"\xff\xda" * 1000)
    assert (picture.read_image(tmp_path / "motion.jpg", 32, 3) < 3).all()
    content, thumbnail = _progressive(300), b"\xff\xe1\x00\x06\xff\xd9\xff\xd9"  # an end, inside a segment
    (tmp_path / "scans.jpg").write_bytes(content[:2] + thumbnail + content[2:])
    with pytest.raises(UserError, match="a JPEG of 310 scans"):
        picture.read_image(tmp_path / "scans.jpg", 32, 3)
    (tmp_path / "comments.jpg").write_bytes(content[:2] + b"\xff\xfe\x00\x02" * 200_000 + content[2:])
    with pytest.raises(UserError, match=r"comments.jpg: a JPEG of more than 100,000 segments"):
        picture.read_image(tmp_path / "comments.jpg", 32, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_set_upright_whatever_else_its_exif_data_say(tmp_path, orientation):
    pixels = np.zeros((20, 30), np.uint8)
    pixels[:10, :15], pixels[10:, :15] = 250, 120
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack("<HHII", 0x0128, 2, 5, 38) + bytes(4)  # a ResolutionUnit that is a text
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + b"inch\0"
    (tmp_path / "odd.png").write_bytes(saved(Image.fromarray(pixels), "PNG", exif=exif))
    upright = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}
    upright |= {5: pixels.T, 6: pixels[::-1].T, 7: pixels[::-1, ::-1].T, 8: pixels.T[::-1]}
    with picture.decoded(tmp_path / "odd.png", 1) as image:
        assert np.array_equal(np.asarray(image), upright[orientation])
    assert picture.image_shape(tmp_path / "odd.png") == (*upright[orientation].shape, 1)


def test_bombs_are_not_decoded(tmp_path):
    for name, content, words in (
        ("many.png", saved(Image.new("1", (30_000, 30_000)), "PNG"), "30000 x 30000 pixels|not a readable image"),
        ("long.png", saved(Image.new("1", (70_000, 2)), "PNG"), "70000 x 2 pixels"),
        ("scans.jpg", _progressive(300), "a JPEG of 310 scans over 4,000,000 pixels"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: ({words})"):
            picture.read_image(tmp_path / name, 32, 3)
    (tmp_path / "few.jpg").write_bytes(_progressive(10))
    assert (picture.read_image(tmp_path / "few.jpg", 32, 3) < 3).all()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_only_regular_files_are_opened(tmp_path, make):
    make(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"x.png: not a regular file"):
        picture.read_image(tmp_path / "x.png", 32, 3)


def test_threads_share_the_pixels_that_may_be_in_use():
    budget, inside, most = picture._Budget(100), [], []
    started = threading.Barrier(6)

    def use(amount):
        started.wait()
        for _ in range(20):
            with budget.reserved(amount):
                inside.append(amount)
                most.append(list(inside))
                time.sleep(0.001)  # the others run
                inside.remove(amount)

    threads = [threading.Thread(target=use, args=[amount]) for amount in (10, 30, 30, 60, 90, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 6 * 20
    assert all(sum(together) <= 100 or len(together) == 1 for together in most)


PICTURES = [
    saved(SMALL, "PNG"),
    saved(SMALL.convert("P"), "PNG", transparency=3),
    saved(SMALL.convert("LA"), "PNG"),
    saved(Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)), "PNG"),
    saved(SMALL, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
    saved(SMALL, "JPEG", progressive=True),
    saved(SMALL.convert("CMYK"), "JPEG"),
    saved(SMALL, "WEBP"),
    saved(SMALL, "WEBP", lossless=True, save_all=True, append_images=[SMALL.rotate(90)]),
    saved(SMALL, "GIF", save_all=True, append_images=[SMALL.rotate(90)]),
    saved(SMALL, "BMP"),
    saved(SMALL.convert("P"), "BMP"),
]


@fuzz(damaged(*PICTURES))
def test_damaged_pictures(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(content)
    for channels in (1, 3):
        with only_user_errors():
            assert picture.read_image(path, 28, channels).shape == (28, 28, channels)
    with only_user_errors():
        picture.image_shape(path)
