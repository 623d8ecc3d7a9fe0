"""Latents as a pure function of (seed, index): the draw, its truncation, and spherical paths between draws.

Image i of seed s comes from the same latent whatever else a call asks for, because every index has a random stream
of its own: Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) keyed by (seed, index).

Draws are made in float64 and rounded once to float32. NumPy's direct float32 normals take their tail, about one
component in 4,000, from the C library's `log1pf`, which is not correctly rounded (glibc 2.36 misses the nearest float
for 7% of uniform arguments), so that the last bit may differ from machine to machine. Rounding a float64 draw hides
such differences. NumPy does not promise that `Generator` keeps its streams between versions (NEP 19);
tests/test_latents.py pins them.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from kgan.errors import UserError

MAX_SEED = 2**31 - 1
MIN_TRUNCATION = 0.01  # below, redrawing takes more than a thousand rounds
MAX_LATENT_DIM = 65_536
MAX_RECIPE_ROWS = 1_000_000  # recipes come from untrusted files


def latents(seed: int, indices: Iterable[int], latent_dim: int, truncation: float | None = None) -> np.ndarray:
    """Draws the latents of `indices`: (n, latent_dim) float32, standard normal.

    With `truncation`, components outside [-truncation, truncation] are drawn again from the same stream until they
    fall inside: the truncation trick of Brock et al., "Large scale GAN training for high fidelity natural image
    synthesis" (ICLR 2019), by resampling, not clipping, so that no mass piles up at the two ends.

    Raises UserError for a seed or index that is not in [0, 2**64), and for a truncation below 0.01.
    """
    indices = list(indices)
    _check_draw(seed, indices, latent_dim, truncation)
    rows = np.empty((len(indices), latent_dim), np.float32)
    for row, index in zip(rows, indices, strict=True):
        stream = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
        row[:] = stream.standard_normal(latent_dim)
        if truncation is not None:
            _redraw_outside(row, stream, truncation)
    return rows


def _redraw_outside(row: np.ndarray, stream: np.random.Generator, truncation: float) -> None:
    while True:
        outside = np.flatnonzero(np.abs(row) > np.float32(min(truncation, 1e30)))  # 1e300 overflows
        if not outside.size:
            return
        row[outside] = stream.standard_normal(outside.size)


def _check_draw(seed, indices, latent_dim, truncation) -> None:
    for name, value in [("seed", seed), *(("index", index) for index in indices)]:
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or not 0 <= value < 2**64:
            raise UserError(f"{name} must be a whole number from 0 to 2**64 - 1, not {value!r}")
    if not 1 <= latent_dim <= MAX_LATENT_DIM:
        raise UserError(f"latent_dim must be from 1 to {MAX_LATENT_DIM}, not {latent_dim!r}")
    check_truncation(truncation)


def check_truncation(truncation: float | None) -> None:
    """Raises UserError unless it is None, or a number from 0.01."""
    if truncation is not None and not MIN_TRUNCATION <= truncation < float("inf"):
        raise UserError(f"truncation must be at least {MIN_TRUNCATION}, not {truncation!r}")


def slerp(start: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    """The point at fraction t of the way from `start` to `end` along the great circle: (latent_dim,) float32.

    Shoemake, "Animating rotation with quaternion curves" (SIGGRAPH 1985), applied to latents as in White, "Sampling
    generative networks" (2016): between Gaussian draws the straight line passes through lengths the generator never
    saw. Ends are returned as they are; (nearly) parallel vectors are joined by a straight line.
    """
    if t == 0 or t == 1:
        return np.array(end if t else start, np.float32)
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    lengths = np.sqrt(np.sum(start**2) * np.sum(end**2))
    angle = np.arccos(np.clip(np.sum(start * end) / lengths, -1.0, 1.0)) if lengths > 0 else 0.0
    if np.sin(angle) < 1e-6:
        return ((1 - t) * start + t * end).astype(np.float32)
    return ((np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / np.sin(angle)).astype(np.float32)


def draws_recipe(count: int) -> dict:
    """The recipe of a grid of images: the draws of indices 0 .. count - 1, in reading order."""
    return {"recipe": "draws", "first": 0, "count": int(count)}


def slerp_recipe(indices: Iterable[int], frames: int) -> dict:
    """The recipe of an interpolation: `frames` latents evenly spaced along the spherical path through the draws of
    `indices`, first and last included (repeat the first index at the end for a loop)."""
    return {"recipe": "slerp", "indices": [int(index) for index in indices], "frames": int(frames)}


def follow(recipe: Mapping, seed: int, latent_dim: int, truncation: float | None = None) -> np.ndarray:
    """The latents that a recipe describes: (n, latent_dim) float32. Raises UserError if the recipe is malformed."""
    check_recipe(recipe)
    if recipe["recipe"] == "draws":
        return latents(seed, range(recipe["count"]), latent_dim, truncation)
    keys = latents(seed, recipe["indices"], latent_dim, truncation)
    return np.stack([_on_path(keys, frame, recipe["frames"]) for frame in range(recipe["frames"])])


def _on_path(keys: np.ndarray, frame: int, frames: int) -> np.ndarray:
    leg, rest = divmod(frame * (len(keys) - 1), frames - 1)
    return keys[leg] if rest == 0 else slerp(keys[leg], keys[leg + 1], rest / (frames - 1))


def check_recipe(recipe: Mapping) -> None:
    """Raises UserError, in one line, unless `recipe` is one that `follow` can follow; nothing is computed."""
    if not isinstance(recipe, Mapping):
        raise UserError("the recipe of z is not a JSON object")
    keys = set(recipe)
    if recipe.get("recipe") == "draws" and keys == {"recipe", "first", "count"}:
        good = _whole(recipe["first"], 0, 0) and _whole(recipe["count"], 1, MAX_RECIPE_ROWS)
    elif recipe.get("recipe") == "slerp" and keys == {"recipe", "indices", "frames"}:
        indices, frames = recipe["indices"], recipe["frames"]
        good = (
            isinstance(indices, list)
            and _whole(frames, 2, MAX_RECIPE_ROWS)
            and 2 <= len(indices) <= frames
            and all(_whole(index, 0, 2**64 - 1) for index in indices)
        )
    else:
        good = False
    if not good:
        raise UserError("the recipe of z is neither a grid of draws nor a spherical interpolation as kgan writes them")


def _whole(value, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
