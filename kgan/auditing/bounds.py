"""Nearest vectors to a query that comes in several windows: lower bounds from reduced vectors, then exact distances.

For any orthonormal basis V the map x -> (V'x, ||x - VV'x||) never lengthens a distance (||a - b||^2 splits into the
part along V and the part across it, and the latter is at least the difference of the two lengths). With V the leading
principal components of the references, 129 numbers an image rule out about 99 of 100 of them on photographs
and digits; the others are measured in full, so that the answer is that of the full search. On a GPU the vectors
themselves take the place of the reduced ones where its memory allows: one matrix product measures everything.
"""

import dataclasses
from collections.abc import Callable
from types import ModuleType

import numpy as np

from kgan.auditing.vectors import Vectors, blocks, square_lengths
from kgan.runs.environment import accelerator

_REFERENCE_BLOCK = 4096
# In float32 ||x||^2 + ||y||^2 - 2 x.y is wrong by up to this part of ||x||^2 + ||y||^2: every bound leaves this room.
_ROUNDING = np.float32(2e-5)


class Space:
    """Reference vectors, reduced vectors (N, p) whose distances are lower bounds of theirs, and square lengths (N,).

    The vectors may be the reduced ones. `rows` (N,) are those of `vectors` that are references, None for all.
    """

    def __init__(self, vectors: Vectors, reduced: np.ndarray, squares: np.ndarray, rows: np.ndarray | None = None):
        self.vectors, self.reduced, self.squares, self.rows = vectors, reduced, squares, rows
        self.reduced_squares = square_lengths(reduced)
        self.minima = _window_minima(_as_references(reduced))

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Space":
        """Vectors that are few or short enough to take the place of reduced ones."""
        return cls(vectors, vectors, square_lengths(vectors))

    def __len__(self) -> int:
        return len(self.reduced)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """The vectors of the references at `indices`."""
        return self.vectors[indices if self.rows is None else self.rows[indices]]

    def subset(self, indices: np.ndarray) -> "Space":
        """The space of the references at `indices`."""
        if len(indices) == len(self):
            return self
        if self.reduced is self.vectors:
            return Space.of(self.reduced[indices])
        return Space(self.vectors, self.reduced[indices], self.squares[indices], indices)

    def lower_bounds(self, queries: np.ndarray, stop: int | None = None) -> np.ndarray:
        """(W, B, p) reduced vectors of B queries with W windows -> (B, N) lower bounds of squared distances.

        With `stop`, to the first `stop` references only.
        """
        return self.minima(_as_queries(queries), stop)

    def least_ratios(self, queries: np.ndarray, bounds: np.ndarray, k: int) -> np.ndarray:
        """(B,) lower bounds of d_1 / mean(d_1 .. d_k), from those of squared distances, (B, N).

        The lengths of what reduced vectors leave out, r and s, tell how far above its lower bound a squared distance
        can be: ||a - b||^2 <= ||V'(a - b)||^2 + (r + s)^2, which is the lower bound plus 4 r s.
        """
        above = 3 * _ROUNDING * (square_lengths(queries).max(axis=0)[:, None] + self.reduced_squares)
        if self.reduced is not self.vectors:
            above += 4 * queries[..., -1].max(axis=0)[:, None] * self.reduced[:, -1]
        above += np.maximum(bounds, 0)
        largest = np.sqrt(np.partition(above, k - 1, axis=1)[:, :k]).mean(axis=1)
        smallest = np.sqrt(np.maximum(bounds.min(axis=1), 0))
        return np.divide(smallest, largest, out=np.zeros_like(largest), where=largest > 0)

    def nearest(self, windows: np.ndarray, bounds: np.ndarray, k: int) -> tuple[int, int, np.ndarray]:
        """Index and window of the nearest reference, and the k smallest distances, of one query (W, D).

        Uses up `bounds` (N,).
        """
        head = min(2 * k, len(bounds))
        candidates = np.argpartition(bounds, head - 1)[:head] if head < len(bounds) else np.arange(head)
        best = self._measured(windows, candidates, k)
        bounds[candidates] = np.inf
        rest = np.flatnonzero(bounds <= best.limit)
        rest = rest[np.argsort(bounds[rest], kind="stable")]
        step = next(blocks(len(bounds), windows.shape[1])).stop
        while len(rest):
            best = best.merged(self._measured(windows, rest[:step], k), k)
            rest = rest[step:]
            rest = rest[: np.searchsorted(bounds[rest], best.limit, side="right")]
        return self._exact(windows, best)

    def _measured(self, windows: np.ndarray, candidates: np.ndarray, k: int) -> "_Candidates":
        own, others = square_lengths(windows), self.squares[candidates]
        squares = others[:, None] + own - 2 * (self[candidates] @ windows.T)
        slack = _ROUNDING * (others.max() + own.max())
        return _Candidates(candidates, squares.argmin(axis=1), squares.min(axis=1), slack).smallest(k)

    def _exact(self, windows: np.ndarray, best: "_Candidates") -> tuple[int, int, np.ndarray]:
        """Measures the k nearest again as differences: a float32 product cannot tell 0 from a small distance."""
        vectors = self[best.indices]
        squares = square_lengths(vectors - windows[best.windows])
        first = np.lexsort((best.indices, squares))[0]
        by_window = square_lengths(vectors[first] - windows)
        squares[first] = by_window.min()
        return int(best.indices[first]), int(by_window.argmin()), np.sqrt(squares.astype(np.float64))


@dataclasses.dataclass
class _Candidates:
    """References measured so far for one query: their best windows and squared distances, right to within `slack`."""

    indices: np.ndarray
    windows: np.ndarray
    squares: np.ndarray
    slack: np.float32
    limit: float = float("inf")  # a reference whose lower bound is above this is not among the k nearest

    def smallest(self, k: int) -> "_Candidates":
        if len(self.squares) < k:
            return self
        nearest = np.argpartition(self.squares, k - 1)[:k]
        squares = self.squares[nearest]
        limit = squares.max() + self.slack
        return _Candidates(self.indices[nearest], self.windows[nearest], squares, self.slack, limit)

    def merged(self, other: "_Candidates", k: int) -> "_Candidates":
        return _Candidates(
            np.concatenate([self.indices, other.indices]),
            np.concatenate([self.windows, other.windows]),
            np.concatenate([self.squares, other.squares]),
            max(self.slack, other.slack),
        ).smallest(k)


def _as_queries(vectors: np.ndarray) -> np.ndarray:
    """Two more columns, so that as_queries(x) . as_references(y) = ||x - y||^2, less the room for rounding."""
    squares = (square_lengths(vectors) * (1 - _ROUNDING))[..., None]
    return np.concatenate([-2 * vectors, squares, np.ones_like(squares)], axis=-1)


def _as_references(vectors: np.ndarray) -> np.ndarray:
    squares = (square_lengths(vectors) * (1 - _ROUNDING))[..., None]
    return np.concatenate([vectors, np.ones_like(squares), squares], axis=-1)


Minima = Callable[[np.ndarray, int | None], np.ndarray]


def _window_minima(references: np.ndarray) -> Minima:
    """A function from (W, B, p) queries to (B, N) smallest products, over the windows, with (N, p) references."""
    tensorflow = accelerator()
    if tensorflow:
        return _window_minima_on_gpu(tensorflow, references)

    def minima(queries: np.ndarray, stop: int | None = None) -> np.ndarray:
        windows, count, width = queries.shape
        flat = queries.reshape(windows * count, width)
        smallest = np.empty((count, len(references[:stop])), np.float32)
        for start in range(0, smallest.shape[1], _REFERENCE_BLOCK):
            block = references[start : start + _REFERENCE_BLOCK][: smallest.shape[1] - start]
            products = (flat @ block.T).reshape(windows, count, -1)
            products.min(axis=0, out=smallest[:, start : start + len(block)])
        return smallest

    return minima


def _window_minima_on_gpu(tensorflow: ModuleType, references: np.ndarray) -> Minima:
    held = tensorflow.constant(references)  # on the GPU, where there is one

    def minima(queries: np.ndarray, stop: int | None = None) -> np.ndarray:
        precision = tensorflow.config.experimental
        reduced = precision.tensor_float_32_execution_enabled()
        precision.enable_tensor_float_32_execution(False)  # its 10-bit products are coarser than _ROUNDING
        try:
            flat = tensorflow.constant(queries.reshape(-1, queries.shape[-1]))
            products = tensorflow.matmul(flat, held[:stop], transpose_b=True)
            return tensorflow.reduce_min(tensorflow.reshape(products, (*queries.shape[:2], -1)), axis=0).numpy()
        finally:
            precision.enable_tensor_float_32_execution(reduced)

    return minima
