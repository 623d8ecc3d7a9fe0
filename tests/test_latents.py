import warnings

import numpy as np
import pytest
from scipy import stats

from kgan.errors import UserError
from kgan.latents import draws_recipe, follow, latents, slerp, slerp_recipe


def test_golden_values_pin_the_draw_against_changes_of_numpy():
    # Every file ever marked depends on these bits: if this fails, keep the old stream, do not change the numbers.
    assert latents(0, [0, 1], 4).astype("<f4").tobytes().hex() == (
        "5a1e233e9c18e3bf24cba93f2f379a3f0a783ebf33556cbc8061013ff148e0bf"
    )
    assert latents(2**63 + 5, [2**64 - 1], 3).astype("<f4").tobytes().hex() == GOLDEN_LARGE
    assert latents(7, [3], 6, truncation=0.5).astype("<f4").tobytes().hex() == GOLDEN_TRUNCATED


GOLDEN_LARGE = "0b99023fadd562bf396a9f3f"
GOLDEN_TRUNCATED = "0cbb59be7599a6be94898a3edc3e9dbde2c3c4be263a8c3d"


def test_an_image_does_not_depend_on_what_else_is_asked_for():
    whole = latents(5, range(20), 16)
    assert whole.shape == (20, 16) and whole.dtype == np.float32
    np.testing.assert_array_equal(whole[[3, 17, 3]], latents(5, [3, 17, 3], 16))
    np.testing.assert_array_equal(whole[7], latents(5, np.array([7]), 16)[0])
    np.testing.assert_array_equal(whole[:, :6], latents(5, range(20), 6))
    assert latents(5, [], 16).shape == (0, 16)


def test_seeds_and_indices_are_not_interchangeable():
    assert not np.array_equal(latents(1, [2], 8), latents(2, [1], 8))


def test_draws_are_standard_normal_and_uncorrelated_between_indices():
    z = latents(0, range(4000), 32)
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(z[:200]) - np.eye(200)).max() < 0.9
    assert abs(np.mean(z[:-1] * z[1:])) < 5 / np.sqrt(z.size)


def test_truncation_resamples_and_keeps_what_was_inside():
    plain, cut = latents(3, range(500), 64), latents(3, range(500), 64, truncation=0.7)
    inside = np.abs(plain) <= 0.7
    np.testing.assert_array_equal(cut[inside], plain[inside])
    assert np.abs(cut).max() <= 0.7
    assert np.sum(np.abs(cut) == np.float32(0.7)) < 3  # clipping would put half of them there
    assert stats.kstest(cut.ravel(), stats.truncnorm(-0.7, 0.7).cdf).pvalue > 0.001
    np.testing.assert_array_equal(cut[42], latents(3, [42], 64, truncation=0.7)[0])
    with warnings.catch_warnings(action="error"):
        np.testing.assert_array_equal(latents(3, range(500), 64, truncation=1e300), plain)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"seed": 2**64},
        {"seed": 1.5},
        {"seed": True},
        {"indices": [0, -1]},
        {"latent_dim": 0},
        {"latent_dim": 10**9},
        {"truncation": 0.0},
        {"truncation": 1e-9},
        {"truncation": float("nan")},
        {"truncation": float("inf")},
    ],
)
def test_bad_arguments_are_one_clear_line(wrong):
    with pytest.raises(UserError) as error:
        latents(**{"seed": 0, "indices": [0], "latent_dim": 4, **wrong})
    assert "\n" not in str(error.value) and next(iter(wrong)).removesuffix("ices") in str(error.value)


def test_slerp_goes_along_the_great_circle():
    a, b = np.eye(2, dtype=np.float32) * 3
    for t in (0.25, 0.5, 0.9):
        expected = 3 * np.array([np.cos(t * np.pi / 2), np.sin(t * np.pi / 2)])
        np.testing.assert_allclose(slerp(a, b, t), expected, rtol=1e-6)
    np.testing.assert_array_equal(slerp(a, b, 0), a)
    np.testing.assert_array_equal(slerp(a, b, 1), b)
    np.testing.assert_allclose(slerp(a, 2 * a, 0.5), 1.5 * a)
    np.testing.assert_array_equal(slerp(0 * a, 0 * a, 0.5), 0 * a)


def test_interpolation_keeps_the_length_of_gaussian_draws():
    middle = follow(slerp_recipe([0, 1], 3), 0, 512)[1]
    assert abs(np.linalg.norm(middle) / np.sqrt(512) - 1) < 0.1  # the straight line's middle has 0.71


def test_recipes_give_the_latents_they_name():
    keys = latents(9, [4, 2, 8], 32)
    path = follow(slerp_recipe([4, 2, 8], 9), 9, 32)
    assert path.shape == (9, 32)
    np.testing.assert_array_equal(path[[0, 4, 8]], keys)
    np.testing.assert_array_equal(path[1], slerp(keys[0], keys[1], 0.25))
    np.testing.assert_array_equal(follow(draws_recipe(3), 9, 32), latents(9, [0, 1, 2], 32))
    np.testing.assert_array_equal(follow(draws_recipe(3), 9, 32, 0.5), latents(9, [0, 1, 2], 32, 0.5))


@pytest.mark.parametrize(
    "recipe",
    [
        None,
        [],
        {},
        {"recipe": "lerp"},
        {"recipe": "draws", "first": 0},
        {"recipe": "draws", "first": 1, "count": 2},
        {"recipe": "draws", "first": False, "count": 2},
        {"recipe": "draws", "first": 0, "count": 10**12},
        {"recipe": "draws", "first": 0, "count": 1, "path": "/home"},
        {"recipe": "draws", "first": 0, "count": True},
        {"recipe": ["draws"], "first": 0, "count": 1},
        {"recipe": "slerp", "indices": [0], "frames": 3},
        {"recipe": "slerp", "indices": [0, 1], "frames": 1},
        {"recipe": "slerp", "indices": [0, 1], "frames": 3, "frame": 1},
        {"recipe": "slerp", "indices": "01", "frames": 3},
        {"recipe": "slerp", "indices": [0] * 1000, "frames": 2},  # hours of draws from one text chunk
        {"recipe": "slerp", "indices": [0, 0.5], "frames": 3},
    ],
)
def test_malformed_recipes_are_refused(recipe):
    with pytest.raises(UserError, match="^the recipe of z"):
        follow(recipe, 0, 4)
