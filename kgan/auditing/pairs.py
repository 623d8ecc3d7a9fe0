"""The closest pairs of an audit, laid over each other as they were compared, for people to look at."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kgan.auditing.neighbours import Neighbours


@dataclass(frozen=True)
class Pairs:
    """n images and the references nearest to them, closest first.

    `images` (n, h, w, c) uint8 are mirrored and moved to where they match `neighbours` (n, h, w, c) best; edges that a
    move leaves open repeat the last pixels. `indices` and `neighbour_indices` (n,) name both, `closeness` (n,) is the
    ratio in units of what is flagged (below 1 is), in the space where it is smallest.
    """

    images: np.ndarray
    neighbours: np.ndarray
    indices: np.ndarray
    neighbour_indices: np.ndarray
    closeness: np.ndarray


def closest_pairs(
    found: Mapping[str, Neighbours],
    images: np.ndarray,
    references: np.ndarray,
    thresholds: Mapping[str, float],
    count: int = 10,
) -> Pairs:
    """The `count` of `images` that are closest to one of `references`, by the neighbours `found` in each space.

    `thresholds` are those of ratios, by space; a space without one (or with 0) takes 1.
    """
    spaces = list(found)
    closeness = np.stack([found[space].ratios / (thresholds.get(space) or 1) for space in spaces])
    order = np.argsort(closeness.min(axis=0), kind="stable")[:count]
    best = [found[spaces[row]] for row in closeness[:, order].argmin(axis=0)]
    moved = [
        _laid_over(images[i], *neighbours.shifts[i], neighbours.mirrored[i])
        for i, neighbours in zip(order, best, strict=True)
    ]
    nearest = np.array([neighbours.indices[i] for i, neighbours in zip(order, best, strict=True)], np.int64)
    return Pairs(np.stack(moved), references[nearest], order, nearest, closeness[:, order].min(axis=0))


def _laid_over(image: np.ndarray, dy: int, dx: int, mirrored: bool) -> np.ndarray:
    """`image`, so that its pixel [y + dy, x + dx] (after mirroring) comes to lie on [y, x]."""
    image = image[:, ::-1] if mirrored else image
    height, width = image.shape[:2]
    rows = np.clip(np.arange(height) + dy, 0, height - 1)
    columns = np.clip(np.arange(width) + dx, 0, width - 1)
    return image[rows][:, columns]
