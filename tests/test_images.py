import numpy as np
from PIL import Image

from kgan import images


def test_every_level_survives_the_way_there_and_back():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(images.to_uint8(images.to_float(levels)), levels)


def test_floats_are_rounded_and_clipped():
    assert images.to_uint8(np.array([-2.0, -1.0, 0.0031, 1.0, 9.0])).tolist() == [0, 0, 128, 255, 255]


def test_a_grid_reads_row_by_row():
    grid = images.grid(np.arange(1, 6, dtype=np.uint8).reshape(5, 1, 1, 1))
    assert grid[2::3, 2::3, 0].tolist() == [[1, 2, 3], [4, 5, 255]]
    assert grid.shape == (8, 11, 1) and (grid < 255).sum() == 5
    assert images.enlarge(grid, 2).shape == (16, 22, 1)


def test_a_png_keeps_its_pixels(tmp_path):
    for channels in (1, 3):
        image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
        images.write_png(tmp_path / "x.png", image)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")).reshape(5, 7, channels), image)


def test_a_step_stands_at_the_right_of_the_caption_and_leaves_the_picture():
    picture = images.captioned(np.zeros((64, 200, 1), np.uint8))
    marked = images.with_step(picture, 12_600)
    assert marked.shape == picture.shape and (marked[:64] == picture[:64]).all()
    assert (marked[64:, :80] == picture[64:, :80]).all() and (marked[64:, 100:] == 0).any()
    assert (images.with_step(picture, 12_601) != marked).any()
    narrow = images.with_step(images.captioned(np.zeros((8, 8, 3), np.uint8)), 10**9)
    assert narrow.shape[2] == 3


def test_titles_take_a_second_line_where_they_are_wider_than_their_columns():
    """Nothing that is drawn over one column reaches into the next."""
    pictures = np.zeros((3, 28, 28, 1), np.uint8)
    plain, short, long = (
        images.captioned_grid(pictures, 3, titles=titles)
        for titles in ([], ["Bag", "Coat", "Shirt"], ["Bag", "Ankle boot", "a name without end " * 9])
    )
    one, two = len(short) - len(plain), len(long) - len(plain)
    assert 0 < one < two and np.array_equal(long[two:], plain)
    assert np.array_equal(long[:one, :60], short[:one, :60]) and (long[one:two, :60] == 255).all()
    inked = [(long[:two, 3 + 60 * column :][:, :57] == 0).any(axis=(1, 2)) for column in range(3)]
    assert [rows[: two // 2].any() + 2 * rows[two // 2 :].any() for rows in inked] == [1, 3, 3]
    assert all((long[:two, 60 * column :][:, :3] == 255).all() for column in range(3))
    assert images.grid_rows_height(28, 1, titles=["Bag", "Ankle boot"]) - images.grid_rows_height(28, 1) == two


def test_titles_break_behind_slashes_and_hyphens():
    pictures = np.zeros((1, 28, 28, 1), np.uint8)
    for title, broken in (
        ("T-shirt/top", "T-shirt/ top"),
        ("cat-like/odd", "cat-like/ odd"),
        ("a/b one/two", "a/b one/ two"),
    ):
        slashed, spaced = (images.captioned_grid(pictures, 1, titles=[text]) for text in (title, broken))
        assert np.array_equal(slashed, spaced)
