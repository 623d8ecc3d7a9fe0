"""Images as vectors: their inner parts, less a mean, in float32, and principal components of many of them."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from kgan.data.view import Images

_BLOCK_ELEMENTS = 2**24  # float32 numbers that are made of images at a time: 64 MiB
# Principal components are those of as many evenly spaced vectors as have this many elements, or of all.
_COMPONENT_ELEMENTS = 2**28
_COMPONENT_ITERATIONS = 4

Move = tuple[int, int]  # (dy, dx), in pixels


class Vectors(Protocol):
    """(n, d) float32 vectors, indexed by slices or arrays of rows; an array, or read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows) -> np.ndarray: ...


class InnerParts:
    """The inner parts of images (n, h, w, c), `margin` pixels in from every edge, as (n, d) vectors less their mean.

    Nothing but the mean is kept: rows are read from `images`, an array or a memory map, when they are asked for.
    """

    def __init__(self, images: Images, margin: int):
        self.images, self.margin = images, margin
        height, width, channels = images.shape[1:]
        self.shape = len(images), (height - 2 * margin) * (width - 2 * margin) * channels
        self.mean = np.zeros(self.shape[1], np.float32)
        total = sum((self[rows].sum(axis=0, dtype=np.float64) for rows in blocks(*self.shape)), np.zeros(self.shape[1]))
        self.mean = (total / max(1, len(images))).astype(np.float32)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows) -> np.ndarray:
        vectors = windows(self.images[rows], [(0, 0)], self.margin)[0]
        vectors -= self.mean
        return vectors


def windows(images: np.ndarray, moves: list[Move], margin: int, mirrored: bool = False) -> np.ndarray:
    """(n, h, w, c) images -> (len(moves), n, d) float32: each image's inner part, moved by each (dy, dx)."""
    count, height, width, channels = images.shape
    height, width = height - 2 * margin, width - 2 * margin
    images = images[:, :, ::-1] if mirrored else images
    parts = np.empty((len(moves), count, height, width, channels), np.float32)
    for part, (dy, dx) in zip(parts, moves, strict=True):
        part[:] = images[:, margin + dy : margin + dy + height, margin + dx : margin + dx + width]
    return parts.reshape(len(moves), count, -1)


def blocks(count: int, width: int, most: int = 1024) -> Iterator[slice]:
    """Slices over `count` rows of `width` numbers, none above `most` rows or 64 MiB of float32 (but at least a row)."""
    step = max(1, min(most, _BLOCK_ELEMENTS // max(1, width)))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """`most` of the indices below `count`, or all, but one at least."""
    return np.linspace(0, count - 1, max(1, min(count, most))).astype(np.int64)


def square_lengths(vectors: np.ndarray) -> np.ndarray:
    """||x||^2 over the last axis."""
    return np.einsum("...d,...d->...", vectors, vectors)


def principal_components(vectors: Vectors, count: int) -> np.ndarray:
    """The leading principal directions of centred (n, d) float32 vectors, as orthonormal columns (d, <= count).

    Randomised subspace iteration from a fixed start (Halko, Martinsson & Tropp 2011, algorithm 4.4), with 16 spare
    directions. Fewer columns come back when the vectors span fewer; at least one. Of vectors with more than 2^28
    elements in all, only as many as have that many are used, evenly spaced.
    """
    number, width = vectors.shape
    rows = evenly_spaced(number, _COMPONENT_ELEMENTS // width)
    size = min(count + 16, len(rows), width)
    directions = np.random.default_rng(0).standard_normal((width, size), dtype=np.float32)
    for _ in range(_COMPONENT_ITERATIONS):
        products = np.zeros_like(directions)
        for block in blocks(len(rows), width):
            part = vectors[rows[block]]
            products += part.T @ (part @ directions)
        directions = np.linalg.qr(products)[0]
    directions = np.linalg.qr(directions)[0]
    scatter = np.zeros((size, size))
    for block in blocks(len(rows), width):
        projected = vectors[rows[block]] @ directions
        scatter += projected.T @ projected
    variances, rotation = np.linalg.eigh(scatter)
    rank = int((variances > 1e-6 * variances[-1]).sum())
    leading = rotation[:, ::-1][:, : max(1, min(count, rank))]
    return np.ascontiguousarray(directions @ leading.astype(np.float32))


def reduced(vectors: np.ndarray, basis: np.ndarray, left_out: np.ndarray | None = None) -> np.ndarray:
    """(..., d) vectors -> (..., p + 1): coordinates along the basis, and the length of what they leave out.

    `left_out` (...) is the length of what the vectors themselves leave out.
    """
    result = np.empty((*vectors.shape[:-1], basis.shape[1] + 1), np.float32)
    flat, flat_result = vectors.reshape(-1, vectors.shape[-1]), result.reshape(-1, result.shape[-1])
    rest = np.zeros(len(flat), np.float32) if left_out is None else left_out.reshape(-1)
    for rows in blocks(*flat.shape):
        coordinates = flat[rows] @ basis
        flat_result[rows, :-1] = coordinates
        # The difference itself: ||x||^2 - ||coordinates||^2 would lose its digits where the rest is short.
        flat_result[rows, -1] = np.sqrt(square_lengths(flat[rows] - coordinates @ basis.T) + rest[rows] ** 2)
    return result
