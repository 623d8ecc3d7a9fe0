"""References made ready for searching: reduced vectors of all of them, and which of them are duplicates of others."""

import numpy as np

from kgan.searching.bounds import Space
from kgan.searching.coarse import COARSE_BLOCK, CoarseVectors
from kgan.searching.vectors import (
    InnerParts,
    Vectors,
    blocks,
    evenly_spaced,
    principal_components,
    reduced,
    square_lengths,
)

_COMPONENTS = 128
_COARSE_ELEMENTS = 2**26  # numbers of the coarse vectors whose principal components are taken
_REFERENCE_BLOCK = 1024
_PAIRS = 2000  # whose distances give the median
_MOST_BOUNDS = 2**26  # distances that are bounded at once


def shortened(shorter: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Vectors (..., d), or coarse ones (..., d + 1), along a basis (d, p): (..., p + 1)."""
    size = len(basis)
    return reduced(shorter[..., :size], basis, shorter[..., size] if shorter.shape[-1] > size else None)


def leading_directions(vectors: InnerParts, coarse: CoarseVectors | None) -> np.ndarray:
    """The leading principal directions of all vectors, or of many coarse ones."""
    if coarse is None:
        return principal_components(vectors, _COMPONENTS)
    rows = evenly_spaced(len(coarse), _COARSE_ELEMENTS // coarse.shape[1])
    pieces = [coarse[rows[piece]][:, :-1] for piece in blocks(len(rows), vectors.shape[1], most=COARSE_BLOCK)]
    return principal_components(np.concatenate(pieces), _COMPONENTS)


def reduced_space(vectors: InnerParts, coarse: CoarseVectors | None, basis: np.ndarray) -> Space:
    """The space of all vectors, read once."""
    short = np.empty((len(vectors), basis.shape[1] + 1), np.float32)
    squares = np.empty(len(vectors), np.float32)
    for rows in blocks(*vectors.shape, most=1024 if coarse is None else COARSE_BLOCK):
        part = vectors[rows]
        short[rows] = shortened(part if coarse is None else coarse[rows], basis)
        squares[rows] = square_lengths(part)
    return Space(vectors, short, squares, coarse)


def median_distance(vectors: Vectors) -> float:
    """The median distance between two different vectors, over random pairs (the same every time)."""
    count = len(vectors)
    if count < 2:
        return 0.0
    random = np.random.default_rng(0)
    first = random.integers(count, size=_PAIRS)
    second = (first + random.integers(1, count, size=_PAIRS)) % count
    squares = [
        square_lengths(vectors[first[rows]] - vectors[second[rows]]) for rows in blocks(_PAIRS, vectors.shape[1])
    ]
    return float(np.median(np.sqrt(np.concatenate(squares))))


def leaders(space: Space, radius: float) -> np.ndarray:
    """Indices of the vectors with no earlier kept vector within `radius`: no two of those kept are that close."""
    is_kept = np.zeros(len(space), bool)
    block = max(1, min(_REFERENCE_BLOCK, _MOST_BOUNDS // len(space)))
    for start in range(0, len(space), block):
        stop = min(start + block, len(space))
        is_kept[start:stop] = True
        bounds = space.lower_bounds(space.reduced.vectors[None, start:stop], slice(stop))
        rows, columns = np.nonzero((bounds <= np.float32(radius**2)) & is_kept[:stop])
        rows, columns = rows[columns < rows + start], columns[columns < rows + start]
        for row in np.unique(rows):
            earlier = columns[np.searchsorted(rows, row) : np.searchsorted(rows, row, side="right")]
            earlier = earlier[is_kept[earlier]]
            vector = space[np.array([start + row])]
            is_kept[start + row] = not any(
                (np.sqrt(square_lengths(space[earlier[part]] - vector)) <= radius).any()
                for part in blocks(len(earlier), vector.shape[1])
            )
    return np.flatnonzero(is_kept)
