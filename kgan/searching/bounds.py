"""Nearest vectors to a query that comes in several windows: lower bounds from shorter vectors, then exact distances.

For any orthonormal basis V the map x -> (V'x, ||x - VV'x||) never lengthens a distance (||a - b||^2 splits into the
part along V and the part across it, and the latter is at least the difference of the two lengths, at most their sum).
With V the leading principal components of the references, 129 numbers an image rule out about 99 of 100 of them on
photographs and digits; of large images, sums over blocks rule out most of the rest; what remains is measured in full,
so that the answer is that of the full search. On a GPU the vectors themselves take the place of the reduced ones where
its memory allows: one matrix product measures everything.

References are searched part by part, so that of a map that memory does not hold each page is read once.
"""

import dataclasses
import functools
from collections.abc import Callable
from types import ModuleType

import numpy as np

from kgan.runs import environment
from kgan.runs.environment import accelerator
from kgan.searching.coarse import COARSE_BLOCK
from kgan.searching.threads import in_threads
from kgan.searching.vectors import Vectors, blocks, square_lengths

_REFERENCE_BLOCK = 4096
_MOST_THREADS = 4  # that read a part
_PART_PIXELS = 2**30  # numbers of the vectors of a part: 1 GiB of bytes in a file
_MEASURED_ELEMENTS = 2**22  # numbers of the vectors that are measured at a time: 16 MiB of float32
# In float32 ||x||^2 + ||y||^2 - 2 x.y is wrong by up to this part of ||x||^2 + ||y||^2: every bound leaves this room.
_ROUNDING = np.float32(2e-5)


class Bounding:
    """(n, p) float32 vectors whose distances are lower bounds of others'; the last coordinate is a left-out length."""

    def __init__(self, vectors: np.ndarray):
        self.vectors, self.squares = vectors, square_lengths(vectors)

    def lower(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Lower bounds of the squared distances from a query (W, p) to the vectors at `rows`."""
        own, others = square_lengths(query) * (1 - _ROUNDING), self.squares[rows] * (1 - _ROUNDING)
        return (others[:, None] + own - 2 * (self.vectors[rows] @ query.T)).min(axis=1)


@dataclasses.dataclass(frozen=True)
class Part:
    """Consecutive references, with their coarse vectors where these serve."""

    rows: slice
    coarse: Bounding | None


class Query:
    """One query: its windows as vectors (W, D), made when they are needed, and coarse ones (W, q) where these serve."""

    def __init__(self, read: Callable[[], np.ndarray], coarse: np.ndarray | None = None):
        self._read, self.coarse = read, coarse

    @functools.cached_property
    def windows(self) -> np.ndarray:
        return self._read()


@dataclasses.dataclass
class Nearest:
    """The nearest references so far of one query: their best windows and squared distances, right to within `slack`."""

    indices: np.ndarray
    windows: np.ndarray
    squares: np.ndarray
    slack: np.float32
    limit: float = float("inf")  # a reference whose lower bound is above this is not among the k nearest

    def smallest(self, k: int) -> "Nearest":
        if len(self.squares) < k:
            return self
        nearest = np.argpartition(self.squares, k - 1)[:k]
        squares = self.squares[nearest]
        limit = squares.max() + self.slack
        return Nearest(self.indices[nearest], self.windows[nearest], squares, self.slack, limit)

    def merged(self, other: "Nearest", k: int) -> "Nearest":
        return Nearest(
            np.concatenate([self.indices, other.indices]),
            np.concatenate([self.windows, other.windows]),
            np.concatenate([self.squares, other.squares]),
            max(self.slack, other.slack),
        ).smallest(k)

    @classmethod
    def none(cls) -> "Nearest":
        indices = np.zeros(0, np.int64)
        return cls(indices, indices, np.zeros(0, np.float32), np.float32(0))

    def least_ratio(self, rest: np.floating | float = float("inf")) -> float:
        """A lower bound of d_1 / mean(d_1 .. d_k), where no other reference's squared distance is below `rest`."""
        first = min(self.squares.min() - self.slack, rest)
        mean = np.sqrt(self.squares + self.slack).mean()
        return float(np.sqrt(max(first, 0)) / mean) if mean > 0 else 0.0

    @property
    def first(self) -> int:
        """The place of the nearest; of several, of that which comes first among the references."""
        return int(np.lexsort((self.indices, self.squares))[0])


class Space:
    """Reference vectors, reduced vectors (N, p) whose distances are lower bounds of theirs, and square lengths (N,).

    The vectors may be the reduced ones. `coarse` are longer lower bounds, read when they are asked for. `rows` (N,) are
    those of `vectors` and `coarse` that are references, None for all.
    """

    def __init__(
        self,
        vectors: Vectors,
        reduced: np.ndarray,
        squares: np.ndarray,
        coarse: Vectors | None = None,
        rows: np.ndarray | None = None,
    ):
        self.vectors, self.squares, self.coarse, self.rows = vectors, squares, coarse, rows
        self.reduced = Bounding(reduced)
        self.minima = _window_minima(_as_references(reduced))

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Space":
        """Vectors that are few or short enough to take the place of reduced ones."""
        return cls(vectors, vectors, square_lengths(vectors))

    def __len__(self) -> int:
        return len(self.squares)

    def __getitem__(self, indices) -> np.ndarray:
        """The vectors of the references at `indices`."""
        return self.vectors[self._rows(indices)]

    def _rows(self, indices):
        return indices if self.rows is None else self.rows[indices]

    @property
    def is_exact(self) -> bool:
        """Whether the bounds are the distances."""
        return self.reduced.vectors is self.vectors

    def subset(self, indices: np.ndarray) -> "Space":
        """The space of the references at `indices`."""
        if len(indices) == len(self):
            return self
        reduced = self.reduced.vectors[indices]
        if self.is_exact:
            return Space.of(reduced)
        return Space(self.vectors, reduced, self.squares[indices], self.coarse, indices)

    def parts(self) -> list[slice]:
        """Consecutive references that memory holds with their coarse vectors."""
        step = max(1, _PART_PIXELS // self.vectors.shape[1])
        return [slice(start, min(start + step, len(self))) for start in range(0, len(self), step)]

    def part(self, rows: slice) -> Part:
        if self.coarse is None:
            return Part(rows, None)
        coarse, vectors = self.coarse, np.empty((rows.stop - rows.start, self.coarse.shape[1]), np.float32)
        pieces = list(blocks(len(vectors), self.vectors.shape[1], most=COARSE_BLOCK))

        def read(number: int) -> None:
            piece = pieces[number]
            vectors[piece] = coarse[self._rows(slice(rows.start + piece.start, rows.start + piece.stop))]

        for _ in in_threads(read, range(len(pieces)), _MOST_THREADS):
            pass
        return Part(rows, Bounding(vectors))

    def lower_bounds(self, queries: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """(W, B, p) reduced vectors of B queries with W windows -> (B, n) lower bounds of squared distances.

        Those to the n references in `rows`.
        """
        return self.minima(_as_queries(queries), rows)

    def least_ratios(self, queries: np.ndarray, bounds: np.ndarray, k: int) -> np.ndarray:
        """(B,) lower bounds of d_1 / mean(d_1 .. d_k), from those of squared distances, (B, N).

        The lengths of what reduced vectors leave out, r and s, tell how far above its lower bound a squared distance
        can be: ||a - b||^2 <= ||V'(a - b)||^2 + (r + s)^2, which is the lower bound plus 4 r s.
        """
        above = 3 * _ROUNDING * (square_lengths(queries).max(axis=0)[:, None] + self.reduced.squares)
        if not self.is_exact:
            above += 4 * queries[..., -1].max(axis=0)[:, None] * self.reduced.vectors[:, -1]
        above += np.maximum(bounds, 0)
        largest = np.sqrt(np.partition(above, k - 1, axis=1)[:, :k]).mean(axis=1)
        smallest = np.sqrt(np.maximum(bounds.min(axis=1), 0))
        return np.divide(smallest, largest, out=np.zeros_like(largest), where=largest > 0)

    def nearest(
        self, query: Query, bounds: np.ndarray, k: int, part: Part, best: Nearest, ratio: float = float("inf")
    ) -> Nearest | None:
        """The k nearest among the references of `part` and those in `best`; uses up `bounds` (n,) of the part's.

        Their distances are right, and so is the window of the nearest. None if d_1 / mean(d_1 .. d_k) among them is
        sure to be above `ratio`.
        """
        if len(best.indices) < k:
            head = self._head(query, bounds, k, part)
            best = best.merged(self._measured(query.windows, part.rows.start + head, k), k)
            bounds[head] = np.nan  # not below any limit
        rest = np.flatnonzero(bounds <= best.limit)
        lower = bounds[rest]
        if part.coarse is not None and query.coarse is not None:
            lower = np.maximum(lower, part.coarse.lower(query.coarse, rest))
        order = np.argsort(lower, kind="stable")
        rest, lower = part.rows.start + rest[order], lower[order]
        step = max(k, _MEASURED_ELEMENTS // self.vectors.shape[1])
        while len(rest) and lower[0] <= best.limit:
            if best.least_ratio(lower[0]) > ratio:
                return None
            count = min(step, int(np.searchsorted(lower, best.limit, side="right")))
            best = best.merged(self._measured(query.windows, rest[:count], k), k)
            rest, lower = rest[count:], lower[count:]
        return None if best.least_ratio() > ratio else self._exact(query, best, part)

    def _head(self, query: Query, bounds: np.ndarray, k: int, part: Part) -> np.ndarray:
        """The first of a part's references to measure."""
        if part.coarse is None or query.coarse is None:
            return _smallest(bounds, 2 * k)
        near = _smallest(bounds, 8 * k)
        return near[_smallest(part.coarse.lower(query.coarse, near), k)]

    def _measured(self, windows: np.ndarray, candidates: np.ndarray, k: int) -> Nearest:
        own, others = square_lengths(windows), self.squares[candidates]
        squares = others[:, None] + own - 2 * (self[candidates] @ windows.T)
        slack = _ROUNDING * (others.max() + own.max())
        return Nearest(candidates, squares.argmin(axis=1), squares.min(axis=1), slack).smallest(k)

    def _exact(self, query: Query, best: Nearest, part: Part) -> Nearest:
        """Measures those of this part again as differences: a float32 product cannot tell 0 from a small distance."""
        own = np.flatnonzero((best.indices >= part.rows.start) & (best.indices < part.rows.stop))
        if len(own) == 0:
            return best
        vectors = self[best.indices[own]]
        best.squares[own] = square_lengths(vectors - query.windows[best.windows[own]])
        if best.first in own:
            by_window = square_lengths(vectors[np.searchsorted(own, best.first)] - query.windows)
            best.windows[best.first], best.squares[best.first] = by_window.argmin(), by_window.min()
        return best


def _smallest(values: np.ndarray, count: int) -> np.ndarray:
    """The places of the `count` smallest, or of all."""
    return np.argpartition(values, count - 1)[:count] if count < len(values) else np.arange(len(values))


def _as_queries(vectors: np.ndarray) -> np.ndarray:
    """Two more columns, so that as_queries(x) . as_references(y) = ||x - y||^2, less the room for rounding."""
    squares = (square_lengths(vectors) * (1 - _ROUNDING))[..., None]
    return np.concatenate([-2 * vectors, squares, np.ones_like(squares)], axis=-1)


def _as_references(vectors: np.ndarray) -> np.ndarray:
    squares = (square_lengths(vectors) * (1 - _ROUNDING))[..., None]
    return np.concatenate([vectors, np.ones_like(squares), squares], axis=-1)


Minima = Callable[[np.ndarray, slice], np.ndarray]


def _window_minima(references: np.ndarray) -> Minima:
    """A function from (W, B, p) queries to (B, N) smallest products, over the windows, with (N, p) references."""
    tensorflow = accelerator()
    if tensorflow:
        return _window_minima_on_gpu(tensorflow, references)

    def minima(queries: np.ndarray, rows: slice) -> np.ndarray:
        windows, count, width = queries.shape
        flat, chosen = queries.reshape(windows * count, width), references[rows]
        smallest = np.empty((count, len(chosen)), np.float32)
        for start in range(0, len(chosen), _REFERENCE_BLOCK):
            block = chosen[start : start + _REFERENCE_BLOCK]
            products = (flat @ block.T).reshape(windows, count, -1)
            products.min(axis=0, out=smallest[:, start : start + len(block)])
        return smallest

    return minima


def _window_minima_on_gpu(tensorflow: ModuleType, references: np.ndarray) -> Minima:
    held = tensorflow.constant(references)  # on the GPU, where there is one

    def minima(queries: np.ndarray, rows: slice) -> np.ndarray:
        with environment.full_float32():  # products of fewer bits are coarser than _ROUNDING
            flat = tensorflow.constant(queries.reshape(-1, queries.shape[-1]))
            products = tensorflow.matmul(flat, held[rows], transpose_b=True)
            return tensorflow.reduce_min(tensorflow.reshape(products, (*queries.shape[:2], -1)), axis=0).numpy()

    return minima
