"""Exact nearest neighbours of images under small translations, and the ratio the copy audit is built on.

A query is compared with a reference over the reference's centre, `shifts` pixels in from every edge; translating
the query is then reading another window of it, so that no pixel has to be invented at the border:

    d(q, t) = min over windows w of q (and of its mirror image) of ||w - centre(t)||

and r(q) = d_1 / mean(d_1 .. d_k) over the k nearest references, near 0 for a copy and near 1 for an image that is
not much closer to one reference than to the next. Distances are Euclidean, in the units of the images.

The search is exact; `kgan.searching.bounds` says how it avoids measuring most pairs.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kgan.data.view import Images
from kgan.progress import Progress
from kgan.runs.environment import accelerator
from kgan.searching.bounds import Nearest, Part, Query, Space
from kgan.searching.coarse import Coarse, CoarseVectors
from kgan.searching.references import leaders, leading_directions, median_distance, reduced_space, shortened
from kgan.searching.threads import in_threads
from kgan.searching.vectors import InnerParts, Move, blocks, windows

PIXELS, PCA = "pixels", "pca"
SPACES = (PIXELS, PCA)
PCA_COMPONENTS = 64
DUPLICATE_RADIUS = 0.1  # of the median distance between two references: closer ones count as one image

_QUERY_BLOCK = 64
_MOST_THREADS = 4  # each holds a block of queries and their bounds
_ROOM = 1.0001  # above a limit, for the rounding of what is measured
_QUERY_GROUP = 8192  # that go through the references together, at most
_GPU_BYTES = 8 << 30  # references that take more are searched by reduced vectors there too


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

    def __getitem__(self, rows: slice) -> "Neighbours":
        """The same of the queries in `rows`."""
        return Neighbours(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


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
        self.reduces = accelerator() is None or 4 * vectors.shape[0] * vectors.shape[1] > _GPU_BYTES
        self.coarse = Coarse(self.image_shape, shifts, self.mean) if Coarse.shortens(self.image_shape, shifts) else None
        shorter = CoarseVectors(references, self.coarse) if self.coarse else None
        self.basis = leading_directions(vectors, shorter)
        pixels = reduced_space(vectors, shorter, self.basis) if self.reduces else Space.of(vectors[:])
        self.radius, self.kept = 0.0, np.arange(len(vectors))
        if collapse:
            self.radius = DUPLICATE_RADIUS * median_distance(vectors)
            self.kept = leaders(pixels, self.radius)
            pixels = pixels.subset(self.kept)
        self.num_components = max(1, min(PCA_COMPONENTS, len(self.kept) - 1, self.basis.shape[1]))
        if self.reduces:
            coordinates = np.ascontiguousarray(pixels.reduced.vectors[:, : self.num_components])
        else:
            coordinates = self.coordinates(references)[self.kept]
        self.spaces = {PIXELS: pixels, PCA: Space.of(coordinates)}
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
        found = {space: _Found(len(queries)) for space in limits}
        num_windows = len(translations(self.shifts)) * (2 if self.mirror else 1)
        numbers = num_windows * self.spaces[PIXELS].reduced.vectors.shape[1]
        for group in blocks(len(queries), numbers, most=_QUERY_GROUP):
            pieces = blocks(group.stop - group.start, num_windows * len(self.mean), most=_QUERY_BLOCK)
            searched = [_Block(slice(group.start + piece.start, group.start + piece.stop)) for piece in pieces]
            for share in self._searches(searched, queries, limits):
                if progress:
                    progress(group.start + int(share * (group.stop - group.start)), len(queries))
            for block in searched:
                for space, nearest in block.nearest.items():
                    for row, best in nearest.items():
                        found[space].put(block.rows.start + row, best)
        return {space: self._neighbours(found[space]) for space in limits}

    def _searches(
        self, searched: "list[_Block]", queries: Images, limits: Mapping[str, float | None]
    ) -> Iterator[float]:
        """Searches all references for the queries of some blocks; yields the share that is done, now and then."""
        parts, threads = self.spaces[PIXELS].parts(), 1 if accelerator() else _MOST_THREADS
        numbers = range(len(searched))
        for _ in in_threads(lambda number: self._prepare(searched[number], queries, limits), numbers, threads):
            pass
        for turn, rows in enumerate(parts):
            loaded = {space: self.spaces[space].part(rows) for space in limits}
            most_ratios = {
                space: limit * _ROOM if limit is not None and len(parts) == 1 else float("inf")
                for space, limit in limits.items()
            }

            def search(number: int, loaded=loaded, most_ratios=most_ratios) -> None:
                self._search_part(searched[number], queries, loaded, most_ratios)

            for number in in_threads(search, numbers, threads):
                yield (turn + (number + 1) / len(searched)) / len(parts)

    def _prepare(self, block: "_Block", queries: Images, limits: Mapping[str, float | None]) -> None:
        """Gives a block its reduced vectors, and the queries whose ratios may be below the limits."""
        images = queries[block.rows]
        shorter = self._shorter(images)
        if self.reduces:
            whole = shortened(shorter, self.basis)
            by_space = {PIXELS: whole, PCA: whole[..., : self.num_components]}
        else:
            by_space = {PIXELS: self._windows(images), PCA: self._components(shorter)}
        for space, limit in limits.items():
            short, left = by_space[space], np.arange(len(images))
            if limit is not None:
                bounds = self.spaces[space].lower_bounds(short)
                left = np.flatnonzero(self.spaces[space].least_ratios(short, bounds, self.k) <= limit * _ROOM)
            block.short[space], block.nearest[space] = short, {int(row): Nearest.none() for row in left}

    def _search_part(
        self, block: "_Block", queries: Images, loaded: Mapping[str, Part], most_ratios: Mapping[str, float]
    ) -> None:
        """Takes the references of a part into account; leaves out queries whose ratios are sure to be above those."""
        images = queries[block.rows]
        for space, part in loaded.items():
            nearest, left = block.nearest[space], list(block.nearest[space])
            if not left:
                continue
            short = block.short[space][:, left]
            bounds = self.spaces[space].lower_bounds(short, part.rows)
            for row, query, below in zip(left, self._as_queries(space, images[left], short), bounds, strict=True):
                best = self.spaces[space].nearest(query, below, self.k, part, nearest.pop(row), most_ratios[space])
                if best is not None:
                    nearest[row] = best

    def _as_queries(self, space: str, images: np.ndarray, short: np.ndarray) -> list[Query]:
        """Images with reduced vectors (W, B, p), to be measured in a space."""
        if self.spaces[space].is_exact:
            return [Query(functools.partial(_one, short, place)) for place in range(len(images))]
        shorter = self._shorter(images)
        if self.coarse is None:
            return [Query(functools.partial(_one, shorter, place)) for place in range(len(images))]

        def read(place: int) -> np.ndarray:
            return self._windows(images[place : place + 1])[:, 0]

        return [Query(functools.partial(read, place), shorter[:, place]) for place in range(len(images))]

    def coordinates(self, images: Images) -> np.ndarray:
        """Unshifted images as points in the space of principal components: (n, num_components) float32."""
        self._check_queries(images)
        result = np.empty((len(images), self.num_components), np.float32)
        for rows in blocks(len(images), len(self.mean), most=_QUERY_BLOCK):
            result[rows] = self._components(self._shorter(images[rows], moved=False))[0]
        return result

    def _windows(self, queries: np.ndarray, moved: bool = True) -> np.ndarray:
        """(W, n, D): the windows of every query, those of its mirror image last; not `moved`, it alone."""
        moves = translations(self.shifts) if moved else [(0, 0)]
        versions = (False, True) if moved and self.mirror else (False,)
        vectors = np.concatenate([windows(queries, moves, self.shifts, mirrored) for mirrored in versions])
        vectors -= self.mean
        return vectors

    def _shorter(self, queries: np.ndarray, moved: bool = True) -> np.ndarray:
        """The same as coarse vectors (W, n, q), where images are large enough for them."""
        if self.coarse is None:
            return self._windows(queries, moved)
        return self.coarse.vectors(queries, translations(self.shifts) if moved else [(0, 0)], moved and self.mirror)

    def _components(self, shorter: np.ndarray) -> np.ndarray:
        """Vectors (W, n, q) as `_shorter` gives them -> (W, n, num_components)."""
        return shorter[..., : len(self.basis)] @ self.basis[:, : self.num_components]

    def _neighbours(self, found: "_Found") -> Neighbours:
        distances, moves = found.distances, translations(self.shifts)
        ratios = np.divide(distances, found.means, out=np.zeros_like(distances), where=distances > 0)
        return Neighbours(
            ratios=ratios,
            indices=self.kept[found.indices],
            distances=distances,
            shifts=np.array(moves)[found.windows % len(moves)],
            mirrored=found.windows >= len(moves),
        )

    def _check_queries(self, queries: Images) -> None:
        _check_images(queries, self.shifts)
        if queries.shape[1:] != self.image_shape:
            raise ValueError(f"queries are {queries.shape[1:]} images, the references {self.image_shape}")


class _Block:
    """A few queries that are searched together: by space, their reduced vectors (W, B, p), and of those whose ratio may
    still be below a limit, the nearest references so far."""

    def __init__(self, rows: slice):
        self.rows = rows
        self.short: dict[str, np.ndarray] = {}
        self.nearest: dict[str, dict[int, Nearest]] = {}


class _Found:
    """Arrays filled query by query; a query left out is infinitely far from everything."""

    def __init__(self, count: int):
        self.indices = np.zeros(count, np.int64)
        self.windows = np.zeros(count, np.int64)
        self.distances = np.full(count, np.inf)
        self.means = np.ones(count)

    def put(self, query: int, nearest: Nearest) -> None:
        distances, first = np.sqrt(nearest.squares.astype(np.float64)), nearest.first
        self.indices[query], self.windows[query] = nearest.indices[first], nearest.windows[first]
        self.distances[query], self.means[query] = distances[first], distances.mean()


def _one(vectors: np.ndarray, place: int) -> np.ndarray:
    return vectors[:, place]


def translations(shifts: int) -> list[Move]:
    """All (dy, dx) within +-shifts, the nearest first, so that ties go to the image as it stands."""
    steps = range(-shifts, shifts + 1)
    return sorted(((dy, dx) for dy in steps for dx in steps), key=lambda move: (move[0] ** 2 + move[1] ** 2, move))


def _check_images(images: Images, shifts: int) -> None:
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(f"images must be an (n, h, w, c) array, not {images.shape}")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images must be uint8 or float, not {images.dtype}")
    if shifts < 0 or min(images.shape[1:3]) <= 2 * shifts:
        raise ValueError(f"shifts={shifts} leaves nothing of images {images.shape[1]} x {images.shape[2]}")
