"""Nearest vectors to a query that comes in several windows: lower bounds from short forms, then exact distances.

For any orthonormal basis V the map x -> (V'x, ||x - VV'x||) never lengthens a distance (||a - b||^2 splits into the
part along V and the part across it, and the latter is at least the difference of the two lengths). With V the leading
principal components of the references, 129 numbers an image rule out about 99 of 100 of them on photographs
and digits; the others are measured in full, so that the answer is that of the full search. On a GPU the vectors
themselves are the short form: one matrix product measures everything.
"""

import dataclasses
import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np

_REFERENCE_BLOCK = 4096
_GATHER_BLOCK = 1024
# In float32 ||x||^2 + ||y||^2 - 2 x.y is wrong by up to this part of ||x||^2 + ||y||^2: every bound leaves this room.
_ROUNDING = np.float32(2e-5)


class Space:
    """Reference vectors (N, D) and a short form (N, p) of them whose distances are lower bounds of theirs."""

    def __init__(self, vectors: np.ndarray, shortened: np.ndarray):
        self.vectors, self.shortened = vectors, shortened
        self.squares = square_lengths(vectors)
        self.short_squares = square_lengths(shortened)
        self.minima = _window_minima(_as_references(shortened))

    def subset(self, indices: np.ndarray) -> "Space":
        """The space of the vectors at ascending `indices`. It takes this one's memory, which must not be used again."""
        if len(indices) == len(self.vectors):
            return self
        vectors = _compacted(self.vectors, indices)
        return Space(vectors, vectors if self.shortened is self.vectors else _compacted(self.shortened, indices))

    def lower_bounds(self, shortened: np.ndarray, stop: int | None = None) -> np.ndarray:
        """(W, B, p) short forms of B queries with W windows -> (B, N) lower bounds of squared distances.

        With `stop`, to the first `stop` references only.
        """
        return self.minima(_as_queries(shortened), stop)

    def least_ratios(self, shortened: np.ndarray, bounds: np.ndarray, k: int) -> np.ndarray:
        """(B,) lower bounds of d_1 / mean(d_1 .. d_k), from those of squared distances, (B, N).

        Lengths of what the short forms leave out, r and s, tell how far above its lower bound a squared distance can
        be: ||a - b||^2 <= ||V'(a - b)||^2 + (r + s)^2, which is the lower bound plus 4 r s.
        """
        above = 3 * _ROUNDING * (square_lengths(shortened).max(axis=0)[:, None] + self.short_squares)
        if self.shortened is not self.vectors:
            above += 4 * shortened[..., -1].max(axis=0)[:, None] * self.shortened[:, -1]
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
        while len(rest):
            best = best.merged(self._measured(windows, rest[:_GATHER_BLOCK], k), k)
            rest = rest[_GATHER_BLOCK:]
            rest = rest[: np.searchsorted(bounds[rest], best.limit, side="right")]
        return self._exact(windows, best)

    def _measured(self, windows: np.ndarray, candidates: np.ndarray, k: int) -> "_Candidates":
        own, others = square_lengths(windows), self.squares[candidates]
        squares = others[:, None] + own - 2 * (self.vectors[candidates] @ windows.T)
        slack = _ROUNDING * (others.max() + own.max())
        return _Candidates(candidates, squares.argmin(axis=1), squares.min(axis=1), slack).smallest(k)

    def _exact(self, windows: np.ndarray, best: "_Candidates") -> tuple[int, int, np.ndarray]:
        """Measures the k nearest again as differences: a float32 product cannot tell 0 from a small distance."""
        squares = square_lengths(self.vectors[best.indices] - windows[best.windows])
        first = np.lexsort((best.indices, squares))[0]
        by_window = square_lengths(self.vectors[best.indices[first]] - windows)
        squares[first] = by_window.min()
        return best.indices[first], by_window.argmin(), np.sqrt(squares.astype(np.float64))


def _compacted(rows: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The rows at ascending `indices`, moved to the front of the same memory."""
    for start in range(0, len(indices), _REFERENCE_BLOCK):
        chosen = indices[start : start + _REFERENCE_BLOCK]
        rows[start : start + len(chosen)] = rows[chosen]
    return rows[: len(indices)]


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
        chosen = np.argpartition(self.squares, k - 1)[:k]
        squares = self.squares[chosen]
        return _Candidates(self.indices[chosen], self.windows[chosen], squares, self.slack, squares.max() + self.slack)

    def merged(self, other: "_Candidates", k: int) -> "_Candidates":
        return _Candidates(
            np.concatenate([self.indices, other.indices]),
            np.concatenate([self.windows, other.windows]),
            np.concatenate([self.squares, other.squares]),
            max(self.slack, other.slack),
        ).smallest(k)


def principal_components(vectors: np.ndarray, count: int, iterations: int = 4) -> np.ndarray:
    """The leading principal directions of centred (N, D) float32 vectors, as orthonormal columns (D, <= count).

    Randomised subspace iteration from a fixed start (Halko, Martinsson & Tropp 2011, algorithm 4.4), with 16 spare
    directions. Fewer columns come back when the vectors span fewer; at least one.
    """
    size = min(count + 16, *vectors.shape)
    directions = np.random.default_rng(0).standard_normal((vectors.shape[1], size), dtype=np.float32)
    for _ in range(iterations):
        directions = np.linalg.qr(vectors.T @ (vectors @ directions))[0]
    directions = np.linalg.qr(directions)[0]
    projected = vectors @ directions
    variances, rotation = np.linalg.eigh((projected.T @ projected).astype(np.float64))
    rank = int((variances > 1e-6 * variances[-1]).sum())
    chosen = rotation[:, ::-1][:, : max(1, min(count, rank))]
    return np.ascontiguousarray(directions @ chosen.astype(np.float32))


def shortened(vectors: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(..., D) vectors -> (..., p + 1): coordinates along the basis, and the length of what they leave out."""
    short = np.empty((*vectors.shape[:-1], basis.shape[1] + 1), np.float32)
    flat, flat_short = vectors.reshape(-1, vectors.shape[-1]), short.reshape(-1, short.shape[-1])
    for start in range(0, len(flat), _GATHER_BLOCK):
        part = flat[start : start + _GATHER_BLOCK]
        coordinates = part @ basis
        flat_short[start : start + _GATHER_BLOCK, :-1] = coordinates
        # The difference itself: ||x||^2 - ||coordinates||^2 would lose its digits where the rest is short.
        flat_short[start : start + _GATHER_BLOCK, -1] = np.sqrt(square_lengths(part - coordinates @ basis.T))
    return short


def _as_queries(vectors: np.ndarray) -> np.ndarray:
    """Two more columns, so that as_queries(x) . as_references(y) = ||x - y||^2, less the room for rounding."""
    squares = (square_lengths(vectors) * (1 - _ROUNDING))[..., None]
    return np.concatenate([-2 * vectors, squares, np.ones_like(squares)], axis=-1)


def _as_references(vectors: np.ndarray) -> np.ndarray:
    squares = (square_lengths(vectors) * (1 - _ROUNDING))[..., None]
    return np.concatenate([vectors, np.ones_like(squares), squares], axis=-1)


def square_lengths(vectors: np.ndarray) -> np.ndarray:
    """||x||^2 over the last axis."""
    return np.einsum("...d,...d->...", vectors, vectors)


def _window_minima(references: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
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


def _window_minima_on_gpu(tensorflow: ModuleType, references: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
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


def accelerator() -> ModuleType | None:
    """TensorFlow, if the program has loaded it and it sees a GPU; None otherwise (it is never loaded for this)."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow if tensorflow is not None and tensorflow.config.list_logical_devices("GPU") else None
