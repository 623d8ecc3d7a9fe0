"""Exact nearest neighbours of images under small translations, and the ratio the copy audit is built on.

A query is compared with a reference over the reference's centre, `shifts` pixels in from every edge; translating
the query is then reading another window of it, so that no pixel has to be invented at the border:

    d(q, t) = min over windows w of q (and of its mirror image) of ||w - centre(t)||

and r(q) = d_1 / mean(d_1 .. d_k) over the k nearest references, near 0 for a copy and near 1 for an image that is
not much closer to one reference than to the next. Distances are Euclidean, in the units of the images.

The search is exact; `kgan.auditing.bounds` says how it avoids measuring most pairs.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kgan.auditing.bounds import Space
from kgan.auditing.threads import in_threads
from kgan.auditing.vectors import InnerParts, Vectors, blocks, principal_components, reduced, square_lengths, windows
from kgan.data.view import Images
from kgan.runs.environment import accelerator

PIXELS, PCA = "pixels", "pca"
SPACES = (PIXELS, PCA)
PCA_COMPONENTS = 64
BOUND_COMPONENTS = 128
DUPLICATE_RADIUS = 0.1  # of the median distance between two references: closer ones count as one image

_QUERY_BLOCK = 64
_MOST_THREADS = 4  # each holds a block of queries and their bounds
_REFERENCE_BLOCK = 1024
_GPU_BYTES = 8 << 30  # references that take more are searched by reduced vectors there too

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The nearest reference of each of n queries.

    `shifts[i]` = (dy, dx) says that query i, mirrored first where `mirrored[i]`, shows its neighbour moved down by dy
    and right by dx: query[y + dy, x + dx] is compared with reference[y, x].
    """

    ratios: np.ndarray  # (n,) float64, d_1 / mean(d_1 .. d_k); 0 where d_1 is 0
    indices: np.ndarray  # (n,) int64 into the references as they were given
    distances: np.ndarray  # (n,) float64, d_1
    shifts: np.ndarray  # (n, 2) int64
    mirrored: np.ndarray  # (n,) bool


def neighbour_ratios(
    queries: np.ndarray, references: np.ndarray, k: int = 50, shifts: int = 1, mirror: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """r(q) = d_1 / mean(d_1 .. d_k) for every query, with the nearest reference and its distance, in pixel space.

    Takes uint8 or float images, (n, h, w, c) and (N, h, w, c). Returns ratios (n,), indices (n,) and distances d_1
    (n,). Raises ValueError for shapes that differ, k outside 1..N, or images no larger than 2 * shifts.
    """
    neighbours = NeighbourSearch(references, k, shifts, mirror).search(queries, (PIXELS,))[PIXELS]
    return neighbours.ratios, neighbours.indices, neighbours.distances


class NeighbourSearch:
    """References made ready for searching, in pixel space and in the space of their own principal components.

    `k` None means min(50, max(2, N // 2)), and 1 for a lone reference. With `collapse`, references within `radius`
    of an earlier one (unshifted) are left out first: an image that stands there twice would hide a copy of itself.
    `kept` are the indices searched. Of the references 129 numbers each are kept in memory; their pixels are read from
    the array, which may be a memory map, when they have to be compared.
    """

    def __init__(
        self,
        references: Images,
        k: int | None = None,
        shifts: int = 1,
        mirror: bool = False,
        collapse: bool = False,
    ):
        _check_images(references, shifts)
        if len(references) == 0:
            raise ValueError("there are no references to search")
        self.image_shape, self.shifts, self.mirror = references.shape[1:], shifts, mirror
        vectors = InnerParts(references, shifts)
        self.mean = vectors.mean
        self.basis = principal_components(vectors, BOUND_COMPONENTS)
        self.reduces = accelerator() is None or 4 * vectors.shape[0] * vectors.shape[1] > _GPU_BYTES
        pixels = _reduced_space(vectors, self.basis) if self.reduces else Space.of(vectors[:])
        self.radius, self.kept = 0.0, np.arange(len(vectors))
        if collapse:
            self.radius = DUPLICATE_RADIUS * _median_distance(vectors)
            self.kept = _leaders(pixels, self.radius)
            pixels = pixels.subset(self.kept)
        self.num_components = max(1, min(PCA_COMPONENTS, len(self.kept) - 1, self.basis.shape[1]))
        components = self.basis[:, : self.num_components]
        coordinates = pixels.reduced[:, : self.num_components] if self.reduces else pixels.reduced @ components
        self.spaces = {PIXELS: pixels, PCA: Space.of(np.ascontiguousarray(coordinates))}
        self.k = min(50, max(2, len(self.kept) // 2), len(self.kept)) if k is None else k
        if not 1 <= self.k <= len(self.kept):
            raise ValueError(
                f"k={self.k} of {len(self.kept)} distinct references: k must be between 1 and their number"
            )

    def search(
        self,
        queries: Images,
        spaces: Sequence[str] = SPACES,
        progress: Progress | None = None,
    ) -> dict[str, Neighbours]:
        """The neighbours of (n, h, w, c) images in each of `spaces`; `progress(done, n)` is called as it goes on."""
        return self._searched(queries, dict.fromkeys(spaces), progress)

    def count_below(
        self, queries: Images, limits: Mapping[str, float], progress: Progress | None = None
    ) -> dict[str, int]:
        """By space, how many ratios of `queries` are below that space's limit.

        The same number as by `search`, sooner: where bounds alone tell that a ratio is not below, nothing is measured.
        """
        neighbours = self._searched(queries, limits, progress)
        return {space: int((neighbours[space].ratios < limit).sum()) for space, limit in limits.items()}

    def _searched(
        self,
        queries: Images,
        limits: Mapping[str, float | None],
        progress: Progress | None,
    ) -> dict[str, Neighbours]:
        """By space, the neighbours; ratios that are sure to be at or above that space's limit come back as infinity."""
        self._check_queries(queries)
        nearest = {space: _Nearest(len(queries)) for space in limits}
        num_windows = len(translations(self.shifts)) * (2 if self.mirror else 1)
        parts = list(blocks(len(queries), num_windows * len(self.mean), most=_QUERY_BLOCK))

        def search_block(number: int) -> None:
            start = parts[number].start
            moved = self._query_windows(queries[parts[number]])
            for space, limit in limits.items():
                vectors, short = self._in_space(space, moved)
                bounds = self.spaces[space].lower_bounds(short)
                rows = np.arange(moved.shape[1])
                if limit is not None:
                    least = self.spaces[space].least_ratios(short, bounds, self.k)
                    rows = np.flatnonzero(least <= limit * 1.0001)  # room for the rounding of what is measured
                for row in rows:
                    index, window, distances = self.spaces[space].nearest(vectors[:, row], bounds[row], self.k)
                    nearest[space].put(start + row, index, window, distances)

        threads = 1 if accelerator() else _MOST_THREADS
        for number in in_threads(search_block, range(len(parts)), threads):
            if progress:
                progress(parts[number].stop, len(queries))
        return {space: self._neighbours(nearest[space]) for space in limits}

    def coordinates(self, images: Images) -> np.ndarray:
        """Unshifted images as points in the space of principal components: (n, num_components) float32."""
        self._check_queries(images)
        basis, result = self.basis[:, : self.num_components], np.empty((len(images), self.num_components), np.float32)
        for rows in blocks(len(images), len(self.mean)):
            result[rows] = (windows(images[rows], [(0, 0)], self.shifts)[0] - self.mean) @ basis
        return result

    def _query_windows(self, queries: np.ndarray) -> np.ndarray:
        """(W, n, D): the windows of every query, those of its mirror image last."""
        moves, versions = translations(self.shifts), (False, True) if self.mirror else (False,)
        moved = np.concatenate([windows(queries, moves, self.shifts, mirrored) for mirrored in versions])
        moved -= self.mean
        return moved

    def _in_space(self, space: str, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The windows (W, B, D) as vectors of the space, and these reduced as its references are."""
        if space == PIXELS:
            return moved, reduced(moved, self.basis) if self.reduces else moved
        coordinates = moved @ self.basis[:, : self.num_components]
        return coordinates, coordinates

    def _neighbours(self, checked: "_Nearest") -> Neighbours:
        distances, moves = checked.distances, translations(self.shifts)
        ratios = np.divide(distances, checked.means, out=np.zeros_like(distances), where=distances > 0)
        return Neighbours(
            ratios=ratios,
            indices=self.kept[checked.indices],
            distances=distances,
            shifts=np.array(moves)[checked.windows % len(moves)],
            mirrored=checked.windows >= len(moves),
        )

    def _check_queries(self, queries: Images) -> None:
        _check_images(queries, self.shifts)
        if queries.shape[1:] != self.image_shape:
            raise ValueError(f"queries are {queries.shape[1:]} images, the references {self.image_shape}")


class _Nearest:
    """Arrays filled query by query; a query left out is infinitely far from everything."""

    def __init__(self, count: int):
        self.indices = np.zeros(count, np.int64)
        self.windows = np.zeros(count, np.int64)
        self.distances = np.full(count, np.inf)
        self.means = np.ones(count)

    def put(self, query: int, index: int, window: int, distances: np.ndarray) -> None:
        self.indices[query], self.windows[query] = index, window
        self.distances[query], self.means[query] = distances.min(), distances.mean()


def translations(shifts: int) -> list[tuple[int, int]]:
    """All (dy, dx) within +-shifts, the nearest first, so that ties go to the image as it stands."""
    steps = range(-shifts, shifts + 1)
    return sorted(((dy, dx) for dy in steps for dx in steps), key=lambda move: (move[0] ** 2 + move[1] ** 2, move))


def _reduced_space(vectors: InnerParts, basis: np.ndarray) -> Space:
    """The space of all vectors, read once."""
    short = np.empty((len(vectors), basis.shape[1] + 1), np.float32)
    squares = np.empty(len(vectors), np.float32)
    for rows in blocks(*vectors.shape):
        part = vectors[rows]
        short[rows], squares[rows] = reduced(part, basis), square_lengths(part)
    return Space(vectors, short, squares)


def _median_distance(vectors: Vectors, pairs: int = 2000) -> float:
    """The median distance between two different vectors, over random pairs (the same every time)."""
    count = len(vectors)
    if count < 2:
        return 0.0
    random = np.random.default_rng(0)
    first = random.integers(count, size=pairs)
    second = (first + random.integers(1, count, size=pairs)) % count
    squares = [square_lengths(vectors[first[rows]] - vectors[second[rows]]) for rows in blocks(pairs, vectors.shape[1])]
    return float(np.median(np.sqrt(np.concatenate(squares))))


def _leaders(space: Space, radius: float) -> np.ndarray:
    """Indices of the vectors with no earlier kept vector within `radius`: no two of those kept are that close."""
    is_kept = np.zeros(len(space), bool)
    for start in range(0, len(space), _REFERENCE_BLOCK):
        stop = min(start + _REFERENCE_BLOCK, len(space))
        is_kept[start:stop] = True
        bounds = space.lower_bounds(space.reduced[None, start:stop], stop)
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


def _check_images(images: Images, shifts: int) -> None:
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(f"images must be an (n, h, w, c) array, not {images.shape}")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images must be uint8 or float, not {images.dtype}")
    if shifts < 0 or min(images.shape[1:3]) <= 2 * shifts:
        raise ValueError(f"shifts={shifts} leaves nothing of images {images.shape[1]} x {images.shape[2]}")
