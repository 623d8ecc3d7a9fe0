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

from kgan.auditing.bounds import Space, accelerator, principal_components, shortened, square_lengths
from kgan.auditing.threads import in_threads

PIXELS, PCA = "pixels", "pca"
SPACES = (PIXELS, PCA)
PCA_COMPONENTS = 64
BOUND_COMPONENTS = 128
DUPLICATE_RADIUS = 0.1  # of the median distance between two references: closer ones count as one image

_QUERY_BLOCK = 64
_MOST_THREADS = 4  # each holds the bounds of a block
_REFERENCE_BLOCK = 1024

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
    found = NeighbourSearch(references, k, shifts, mirror).search(queries, (PIXELS,))[PIXELS]
    return found.ratios, found.indices, found.distances


class NeighbourSearch:
    """References made ready for searching, in pixel space and in the space of their own principal components.

    `k` None means min(50, max(2, N // 2)), and 1 for a lone reference. With `collapse`, references within `radius`
    of an earlier one (unshifted) are left out first: an image that stands there twice would hide a copy of itself.
    `kept` are the indices searched. Memory: the references in float32, plus a fixed amount while searching.
    """

    def __init__(
        self,
        references: np.ndarray,
        k: int | None = None,
        shifts: int = 1,
        mirror: bool = False,
        collapse: bool = False,
    ):
        _check_images(references, shifts)
        if len(references) == 0:
            raise ValueError("there are no references to search")
        self.image_shape, self.shifts, self.mirror = references.shape[1:], shifts, mirror
        vectors = _windows(references, [(0, 0)], shifts, mirrored=False)[0]
        self.mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        vectors -= self.mean
        self.basis = principal_components(vectors, BOUND_COMPONENTS)
        pixels = Space(vectors, vectors if accelerator() else shortened(vectors, self.basis))
        self.radius, self.kept = 0.0, np.arange(len(vectors))
        if collapse:
            self.radius = DUPLICATE_RADIUS * _median_distance(vectors)
            self.kept = _leaders(pixels, self.radius)
            pixels = pixels.subset(self.kept)
        self.num_components = max(1, min(PCA_COMPONENTS, len(self.kept) - 1, self.basis.shape[1]))
        coordinates = pixels.vectors @ self.basis[:, : self.num_components]
        self.spaces = {PIXELS: pixels, PCA: Space(coordinates, coordinates)}
        self.k = min(50, max(2, len(self.kept) // 2), len(self.kept)) if k is None else k
        if not 1 <= self.k <= len(self.kept):
            raise ValueError(
                f"k={self.k} of {len(self.kept)} distinct references: k must be between 1 and their number"
            )

    def search(
        self,
        queries: np.ndarray,
        spaces: Sequence[str] = SPACES,
        progress: Progress | None = None,
    ) -> dict[str, Neighbours]:
        """The neighbours of (n, h, w, c) images in each of `spaces`; `progress(done, n)` is called as it goes on."""
        return self._found(queries, dict.fromkeys(spaces), progress)

    def count_below(
        self, queries: np.ndarray, limits: Mapping[str, float], progress: Progress | None = None
    ) -> dict[str, int]:
        """By space, how many ratios of `queries` are below that space's limit.

        The same number as by `search`, sooner: where bounds alone tell that a ratio is not below, nothing is measured.
        """
        found = self._found(queries, limits, progress)
        return {space: int((found[space].ratios < limit).sum()) for space, limit in limits.items()}

    def _found(
        self,
        queries: np.ndarray,
        limits: Mapping[str, float | None],
        progress: Progress | None,
    ) -> dict[str, Neighbours]:
        """By space, the neighbours; ratios that are sure to be at or above that space's limit come back as infinity."""
        self._check_queries(queries)
        found = {space: _Nearest(len(queries)) for space in limits}

        def search_block(start: int) -> None:
            windows = self._query_windows(queries[start : start + _QUERY_BLOCK])
            for space, limit in limits.items():
                vectors, short = self._vectors(space, windows)
                bounds, rows = self.spaces[space].lower_bounds(short), range(windows.shape[1])
                if limit is not None:
                    least = self.spaces[space].least_ratios(short, bounds, self.k)
                    rows = np.flatnonzero(least <= limit * 1.0001)  # room for the rounding of what is measured
                for row in rows:
                    nearest = self.spaces[space].nearest(vectors[:, row], bounds[row], self.k)
                    found[space].put(start + row, *nearest)

        threads = 1 if accelerator() else _MOST_THREADS
        for start in in_threads(search_block, range(0, len(queries), _QUERY_BLOCK), threads):
            if progress:
                progress(min(start + _QUERY_BLOCK, len(queries)), len(queries))
        return {space: self._neighbours(found[space]) for space in limits}

    def coordinates(self, images: np.ndarray) -> np.ndarray:
        """Unshifted images as points in the space of principal components: (n, num_components) float32."""
        self._check_queries(images)
        basis, blocks = self.basis[:, : self.num_components], []
        for start in range(0, len(images), _REFERENCE_BLOCK):
            centres = _windows(images[start : start + _REFERENCE_BLOCK], [(0, 0)], self.shifts, mirrored=False)[0]
            blocks.append((centres - self.mean) @ basis)
        return np.concatenate(blocks) if blocks else np.empty((0, self.num_components), np.float32)

    def _query_windows(self, queries: np.ndarray) -> np.ndarray:
        moves = translations(self.shifts)
        windows = [
            _windows(queries, moves, self.shifts, mirrored) for mirrored in ((False, True) if self.mirror else (False,))
        ]
        return np.concatenate(windows) - self.mean

    def _vectors(self, space: str, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The windows (W, B, D) as vectors of the space, and their short form."""
        vectors = windows if space == PIXELS else windows @ self.basis[:, : self.num_components]
        return vectors, shortened(vectors, self.basis) if space == PIXELS and not accelerator() else vectors

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

    def _check_queries(self, queries: np.ndarray) -> None:
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


def _windows(images: np.ndarray, moves: list[tuple[int, int]], shifts: int, mirrored: bool) -> np.ndarray:
    """(n, h, w, c) images -> (len(moves), n, D) float32: each image's inner part, moved by each (dy, dx)."""
    count, height, width, channels = images.shape
    height, width = height - 2 * shifts, width - 2 * shifts
    images = images[:, :, ::-1] if mirrored else images
    windows = np.empty((len(moves), count, height, width, channels), np.float32)
    for window, (dy, dx) in zip(windows, moves, strict=True):
        window[:] = images[:, shifts + dy : shifts + dy + height, shifts + dx : shifts + dx + width]
    return windows.reshape(len(moves), count, -1)


def _median_distance(vectors: np.ndarray, pairs: int = 2000) -> float:
    """The median distance between two different vectors, over random pairs (the same every time)."""
    count = len(vectors)
    if count < 2:
        return 0.0
    random = np.random.default_rng(0)
    first = random.integers(count, size=pairs)
    second = (first + random.integers(1, count, size=pairs)) % count
    return float(
        np.median(np.sqrt([square_lengths(vectors[a] - vectors[b]) for a, b in zip(first, second, strict=True)]))
    )


def _leaders(space: Space, radius: float) -> np.ndarray:
    """Indices of the vectors with no earlier kept vector within `radius`: no two of those kept are that close."""
    count = len(space.vectors)
    is_kept = np.zeros(count, bool)
    for start in range(0, count, _REFERENCE_BLOCK):
        stop = min(start + _REFERENCE_BLOCK, count)
        is_kept[start:stop] = True
        bounds = space.lower_bounds(space.shortened[None, start:stop], stop)
        rows, columns = np.nonzero((bounds <= np.float32(radius**2)) & is_kept[:stop])
        rows, columns = rows[columns < rows + start], columns[columns < rows + start]
        for row in np.unique(rows):
            earlier = columns[np.searchsorted(rows, row) : np.searchsorted(rows, row, side="right")]
            earlier = earlier[is_kept[earlier]]
            distances = np.sqrt(square_lengths(space.vectors[earlier] - space.vectors[start + row]))
            is_kept[start + row] = not (distances <= radius).any()
    return np.flatnonzero(is_kept)


def _check_images(images: np.ndarray, shifts: int) -> None:
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(f"images must be an (n, h, w, c) array, not {images.shape}")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images must be uint8 or float, not {images.dtype}")
    if shifts < 0 or min(images.shape[1:3]) <= 2 * shifts:
        raise ValueError(f"shifts={shifts} leaves nothing of images {images.shape[1]} x {images.shape[2]}")
