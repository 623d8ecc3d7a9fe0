"""The closest pairs of an audit, aligned as they were compared, for people to look at."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kgan.data.view import Images
from kgan.searching.neighbours import Neighbours


@dataclass(frozen=True)
class Pairs:
    """n images and the references nearest to them, closest first; every reference is there once.

    `images` (n, h, w, c) uint8 are mirrored and moved to where they match `neighbours` (n, h, w, c) best; edges that a
    move leaves open repeat the last pixels. `indices` and `neighbour_indices` (n,) identify both. `closeness` (n,) is
    the ratio, in units of its threshold where there is one, in the space where it is smallest. `flagged` (n,) bool are
    those below a threshold.
    """

    images: np.ndarray
    neighbours: np.ndarray
    indices: np.ndarray
    neighbour_indices: np.ndarray
    closeness: np.ndarray
    flagged: np.ndarray


def closest_pairs(
    neighbours: Mapping[str, Neighbours],
    images: Images,
    references: Images,
    thresholds: Mapping[str, float],
    count: int = 6,
) -> Pairs:
    """The closest pairs of `images` and `references`, up to `count`, by the `neighbours` of the images in each space.

    Of several images with the same nearest reference, only the closest is taken. `thresholds` are those of ratios, by
    space; a space without one (or with 0) takes 1, and flags nothing.
    """
    spaces = list(neighbours)
    scaled = np.stack([neighbours[space].ratios / (thresholds.get(space) or 1) for space in spaces])
    closeness, space_of = scaled.min(axis=0), scaled.argmin(axis=0)
    nearest = np.stack([neighbours[space].indices for space in spaces])[space_of, np.arange(len(images))]
    order = np.argsort(closeness, kind="stable")
    order = order[np.sort(np.unique(nearest[order], return_index=True)[1])][:count]
    below = np.array([bool(thresholds.get(space)) for space in spaces])[space_of] & (closeness < 1)
    aligned = [_aligned(images[i], neighbours[spaces[space_of[i]]], i) for i in order]
    return Pairs(np.stack(aligned), references[nearest[order]], order, nearest[order], closeness[order], below[order])


def _aligned(image: np.ndarray, neighbours: Neighbours, row: int) -> np.ndarray:
    """`image`, the one in that row, so that its pixel [y + dy, x + dx] (after mirroring) comes to lie on [y, x]."""
    image = image[:, ::-1] if neighbours.mirrored[row] else image
    height, width = image.shape[:2]
    dy, dx = neighbours.shifts[row]
    rows = np.clip(np.arange(height) + dy, 0, height - 1)
    columns = np.clip(np.arange(width) + dx, 0, width - 1)
    return image[rows][:, columns]
