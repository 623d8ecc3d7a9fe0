"""The closest pairs: in order, and laid over each other as they were compared."""

import numpy as np

from kgan.auditing.pairs import closest_pairs
from kgan.searching.neighbours import NeighbourSearch


def test_pairs_lie_over_each_other_closest_first():
    random = np.random.default_rng(0)
    references = random.integers(0, 256, (60, 10, 8, 3), np.uint8)
    images = random.integers(0, 256, (6, 10, 8, 3), np.uint8)
    images[4] = np.roll(references[17], (1, -1), axis=(0, 1))[:, ::-1]
    images[2] = references[5] // 2 + 60
    found = NeighbourSearch(references, shifts=1, mirror=True).search(images)
    pairs = closest_pairs(found, images, references, {"pixels": 0.5, "pca": 0.0}, count=3)
    assert pairs.indices.tolist()[:2] == [4, 2] and pairs.neighbour_indices.tolist()[:2] == [17, 5]
    assert pairs.images.shape == pairs.neighbours.shape == (3, 10, 8, 3)
    assert (pairs.images[0] == pairs.neighbours[0])[1:-1, 1:-1].all()
    assert (pairs.images[1] == images[2]).all()
    assert (pairs.neighbours == references[pairs.neighbour_indices]).all()
    assert (np.diff(pairs.closeness) >= 0).all()
    expected = min(found["pixels"].ratios[2] / 0.5, found["pca"].ratios[2])
    assert pairs.closeness[1] == expected


def test_fewer_images_than_asked_for():
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 1), np.uint8)
    found = NeighbourSearch(images, shifts=1).search(images[:2])
    assert len(closest_pairs(found, images[:2], images, {}).images) == 2
