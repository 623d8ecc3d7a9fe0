"""The exact search against brute force, and what it promises about translations, mirrors and duplicates."""

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgan.searching import bounds, coarse, neighbours
from kgan.searching import vectors as vectors_module
from kgan.searching.bounds import Space
from kgan.searching.coarse import Coarse
from kgan.searching.neighbours import PCA, PIXELS, NeighbourSearch, neighbour_ratios, translations
from kgan.searching.vectors import principal_components, reduced, square_lengths, windows
from tests import making

smooth_images = functools.partial(making.smooth_images, size=10, coarse=4, noise=4.0)


@pytest.fixture(params=[(30, 2**30), (5, 2**30), (4, 20_000)], ids=["as they are", "coarse", "coarse, in parts"])
def as_large_images(request, monkeypatch):
    """Searches small images as large ones are: by sums over blocks, and where they are too many, part by part."""
    blocks, pixels = request.param
    monkeypatch.setattr(coarse, "_BLOCKS", blocks)
    monkeypatch.setattr(bounds, "_PART_PIXELS", pixels)


def brute_force_distances(queries, references, shifts, mirror):
    """(n, N) distances, one window and one pair at a time, in float64."""
    height, width = references.shape[1] - 2 * shifts, references.shape[2] - 2 * shifts
    centres = references[:, shifts : shifts + height, shifts : shifts + width].astype(float)
    distances = np.full((len(queries), len(references)), np.inf)
    for i, query in enumerate(queries.astype(float)):
        for version in [query, query[:, ::-1]] if mirror else [query]:
            for y in range(2 * shifts + 1):
                for x in range(2 * shifts + 1):
                    window = version[y : y + height, x : x + width]
                    distances[i] = np.minimum(distances[i], np.sqrt(((centres - window) ** 2).sum(axis=(1, 2, 3))))
    return distances


def assert_agrees(found, queries, references, k, shifts, mirror):
    ratios, indices, nearest = found
    distances = brute_force_distances(queries, references, shifts, mirror)
    smallest = np.sort(distances, axis=1)[:, :k]
    scale = np.abs(references.astype(float)).max() + 1
    np.testing.assert_allclose(nearest, smallest[:, 0], rtol=1e-4, atol=1e-4 * scale)
    np.testing.assert_allclose(
        distances[np.arange(len(queries)), indices], smallest[:, 0], rtol=1e-4, atol=1e-4 * scale
    )
    expected = np.where(smallest[:, 0] > 1e-4 * scale, smallest[:, 0] / np.maximum(smallest.mean(axis=1), 1e-12), 0)
    apart = smallest.mean(axis=1) > 1e-2 * scale
    np.testing.assert_allclose(ratios[apart], expected[apart], rtol=1e-3, atol=1e-3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_search_equals_brute_force(as_large_images, data):
    """Whatever the shapes, dtypes and contents: noise (where the bounds rule nothing out), smooth, or few levels."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    shifts = data.draw(st.integers(0, 2), label="shifts")
    height, width = (data.draw(st.integers(2 * shifts + 1, 13), label=side) for side in ("height", "width"))
    channels = data.draw(st.sampled_from([1, 3]), label="channels")
    count = data.draw(st.integers(2, 80), label="references")
    levels = data.draw(st.sampled_from([2, 256]), label="levels")
    images = random.integers(0, levels, (count + 5, height, width, channels)).astype(np.uint8)
    if data.draw(st.booleans(), label="float"):
        images = (images / np.float32(127.5) - 1).astype(np.float32)
    references, queries = images[:count], images[count - 3 :]
    k = data.draw(st.integers(1, count), label="k")
    mirror = data.draw(st.booleans(), label="mirror")
    found = neighbour_ratios(queries, references, k, shifts, mirror)
    assert_agrees(found, queries, references, k, shifts, mirror)


@pytest.mark.parametrize("noise", [0, 60])
def test_search_equals_brute_force_where_bounds_rule_references_out(as_large_images, noise):
    images = smooth_images(608, size=14, channels=3, coarse=5)
    queries = np.clip(images[600:] + np.random.default_rng(1).normal(0, noise, (8, 14, 14, 3)), 0, 255).astype(np.uint8)
    found = neighbour_ratios(queries, images[:600], 20, 1, True)
    assert_agrees(found, queries, images[:600], 20, 1, True)


def test_search_through_tensorflow_equals_search_through_numpy(monkeypatch):
    """What runs on a GPU: products in TensorFlow, of the images themselves; here on the CPU."""
    import tensorflow

    images = smooth_images(260, size=12, channels=3)
    expected = NeighbourSearch(images[:200], mirror=True, collapse=True).search(images[200:])
    for module in (bounds, neighbours):
        monkeypatch.setattr(module, "accelerator", lambda: tensorflow)
    found = NeighbourSearch(images[:200], mirror=True, collapse=True).search(images[200:])
    for space in (PIXELS, PCA):
        np.testing.assert_allclose(found[space].ratios, expected[space].ratios, rtol=1e-5)
        assert (found[space].indices == expected[space].indices).all()


def test_reduced_vectors_are_lower_bounds_that_bite():
    vectors = smooth_images(320, size=14, channels=3, coarse=5).reshape(320, -1).astype(np.float32)
    vectors -= vectors.mean(axis=0)
    basis = principal_components(vectors, 128)
    space = Space(vectors[:300], reduced(vectors[:300], basis), square_lengths(vectors[:300]))
    lower = space.lower_bounds(reduced(vectors[300:], basis)[None])
    exact = ((vectors[300:, None].astype(float) - vectors[None, :300]) ** 2).sum(axis=2)
    assert (lower <= exact).all()
    assert (lower / np.maximum(exact, 1)).mean() > 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_coarse_vectors_bound_distances_on_both_sides(monkeypatch, dtype):
    """For every window, also where blocks do not tile the image and where nothing is left out."""
    monkeypatch.setattr(coarse, "_BLOCKS", 4)
    images = np.concatenate([smooth_images(20, size=16, channels=3), np.full((1, 16, 16, 3), 9, np.uint8)]).astype(
        dtype
    )
    moves = translations(1)
    whole = windows(images, moves, 1)
    shorter = Coarse(images.shape[1:], 1, whole[0].mean(axis=0))
    assert shorter.side == 3 and shorter.size == 4 * 4 * 3
    for mirrored, moved in enumerate(
        shorter.vectors(images, moves, mirror=True).astype(np.float64).reshape(2, 9, 21, -1)
    ):
        whole = windows(images, moves, 1, bool(mirrored)).astype(np.float64)
        blocks = whole[:, :, :, None].reshape(9, 21, 14, 14, 3)[:, :, :12, :12].reshape(9, 21, 4, 3, 4, 3, 3)
        coordinates = blocks.sum(axis=(3, 5)).reshape(9, 21, -1) / 3
        np.testing.assert_allclose(moved[..., :-1] + shorter.mean, coordinates, rtol=1e-5, atol=1e-3)
        left_out = np.sqrt((whole**2).sum(axis=2) - (coordinates**2).sum(axis=2))
        np.testing.assert_allclose(moved[..., -1], left_out, rtol=1e-4, atol=1e-2)
    exact = ((whole[:, :, None] - whole[0]) ** 2).sum(axis=3)
    lower = ((moved[:, :, None] - moved[0]) ** 2).sum(axis=3)
    upper = lower + 4 * moved[:, :, None, -1] * moved[0, :, -1]
    room = 1e-6 * exact.max()
    assert (lower <= exact + room).all() and (exact <= upper + room).all()


def test_large_images_are_measured_little(monkeypatch):
    images = smooth_images(604, size=62, channels=1, coarse=12)
    measured = []
    measure = bounds.Space._measured
    monkeypatch.setattr(bounds.Space, "_measured", lambda *args: measured.append(len(args[2])) or measure(*args))
    found = neighbour_ratios(images[600:], images[:600], 5, 1, True)
    assert sum(measured) < 4 * 600 / 4
    assert_agrees(found, images[600:], images[:600], 5, 1, True)


def test_components_space_is_the_projection_on_the_principal_components():
    images = smooth_images(90, size=8, coarse=3)
    references, queries = images[:60], images[60:]
    centres = references[:, 1:-1, 1:-1].reshape(60, -1).astype(float)
    _, _, directions = np.linalg.svd(centres - centres.mean(axis=0), full_matrices=False)
    search = NeighbourSearch(references, k=7)
    assert search.num_components == 36  # all of them: a projection that is a rotation
    found = search.search(queries)
    np.testing.assert_allclose(found[PCA].ratios, found[PIXELS].ratios, rtol=1e-3)
    basis = principal_components((centres - centres.mean(axis=0)).astype(np.float32), 5)
    np.testing.assert_allclose(np.abs(directions[:5] @ basis), np.eye(5), atol=1e-2)


def test_components_are_one_fewer_than_the_images():
    search = NeighbourSearch(smooth_images(6, size=12))
    assert search.num_components == 5
    assert search.k == 3
    assert search.coordinates(smooth_images(4, size=12)).shape == (4, 5)


def test_exact_copy_has_ratio_zero_and_is_found_wherever_it_was_moved():
    references = smooth_images(200, size=12, channels=3)
    moves = translations(2)
    moved = np.concatenate([np.roll(references[17:18], move, axis=(1, 2)) for move in moves])
    found = NeighbourSearch(references, shifts=2, mirror=True).search(np.concatenate([moved, moved[:, :, ::-1]]))
    for space in (PIXELS, PCA):
        assert (found[space].indices == 17).all()
        assert (found[space].ratios < 1e-4).all()
        assert found[space].shifts.tolist() == [list(move) for move in moves * 2]
        assert found[space].mirrored.tolist() == [False] * len(moves) + [True] * len(moves)
    assert (found[PIXELS].distances == 0).all()
    assert (found[PIXELS].ratios == 0).all()


def test_shifts_and_mirror_are_not_looked_for_unless_asked():
    references = smooth_images(100, size=12)
    moved = np.roll(references[:1], 1, axis=1)
    assert neighbour_ratios(moved, references, shifts=0)[0][0] > 0.01
    assert neighbour_ratios(moved, references, shifts=1)[0][0] == 0
    assert neighbour_ratios(references[:1, :, ::-1], references, mirror=False)[0][0] > 0.01


def test_images_all_alike_give_ratio_zero_not_nan():
    images = np.full((4, 5, 5, 1), 7, np.uint8)
    ratios, indices, distances = neighbour_ratios(images, images, k=3)
    assert ratios.tolist() == [0, 0, 0, 0] == distances.tolist()
    assert indices.tolist() == [0, 0, 0, 0]


def test_ratio_is_one_when_all_neighbours_are_equally_far():
    references = (np.eye(16) * 255).reshape(16, 4, 4, 1).astype(np.uint8)
    ratios, _, distances = neighbour_ratios(np.zeros((1, 4, 4, 1), np.uint8), references, k=16, shifts=0)
    assert ratios[0] == pytest.approx(1)
    assert distances[0] == pytest.approx(255)


def test_collapse_keeps_the_first_of_exact_and_near_duplicates():
    images = smooth_images(30, size=12)
    near = np.clip(images[3].astype(int) + np.random.default_rng(0).integers(-2, 3, images[3].shape), 0, 255)
    references = np.concatenate([images, images[5:6], near[None].astype(np.uint8), images[5:6]])
    search = NeighbourSearch(references, collapse=True)
    assert search.kept.tolist() == list(range(30))
    assert search.search(images[5:6])[PIXELS].indices.tolist() == [5]
    assert NeighbourSearch(references).kept.tolist() == list(range(33))


def test_collapse_reports_indices_into_what_was_given():
    images = smooth_images(20)
    references = np.concatenate([images[:1], images[:1], images[:1], images])
    search = NeighbourSearch(references, collapse=True)
    assert search.kept.tolist() == [0, *range(4, 23)]
    assert search.search(images[7:8])[PIXELS].indices.tolist() == [10]


def test_collapse_agrees_with_the_definition_on_many_clusters():
    """Leaders: an image is dropped if and only if an earlier kept one is within the radius."""
    random = np.random.default_rng(3)
    centres = smooth_images(40, size=8)
    references = centres[random.integers(40, size=2500)].astype(int) + random.integers(-9, 10, (2500, 8, 8, 1))
    references = np.clip(references, 0, 255).astype(np.uint8)
    search = NeighbourSearch(references, collapse=True)
    vectors = references[:, 1:-1, 1:-1].reshape(2500, -1).astype(float)
    kept = []
    for index, vector in enumerate(vectors):
        if not (np.sqrt(((vectors[kept] - vector) ** 2).sum(axis=1)) <= search.radius).any():
            kept.append(index)
    assert search.kept.tolist() == kept
    assert 40 <= len(kept) < 2500


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_count_below_equals_the_full_search(as_large_images, data):
    """Limits at ratios that occur, where a bound that is too high by anything would be seen."""
    seed = data.draw(st.integers(0, 2**32 - 1), label="seed")
    channels = data.draw(st.sampled_from([1, 3]), label="channels")
    size = data.draw(st.integers(5, 14), label="size")
    images = smooth_images(220, size=size, channels=channels, seed=seed, coarse=data.draw(st.integers(2, 5)))
    if data.draw(st.booleans(), label="noise"):
        images = np.random.default_rng(seed).integers(0, 256, images.shape, dtype=np.uint8)
    queries = np.concatenate([images[100:], images[:3]])
    search = NeighbourSearch(
        images[: data.draw(st.integers(2, 100), label="references")], mirror=channels == 3, collapse=True
    )
    found = search.search(queries)
    rank = data.draw(st.integers(0, len(queries) - 1), label="rank")
    limits = {space: np.sort(found[space].ratios)[rank] for space in (PIXELS, PCA)}
    assert search.count_below(queries, limits) == {
        space: (found[space].ratios < limits[space]).sum() for space in limits
    }


@pytest.mark.parametrize("sign", [-1, 1])
def test_least_ratios_are_lower_bounds_wherever_the_left_out_parts_point(sign):
    """Opposite ones are the farthest that reduced vectors allow; a bound for less than that would be too high."""
    random = np.random.default_rng(0)
    vectors = random.normal(0, 3, (40, 6)).astype(np.float32)
    vectors[:, 5] = 10
    queries = random.normal(0, 3, (2, 8, 6)).astype(np.float32)  # 2 windows of 8
    queries[..., 5] = 10 * sign
    basis = np.eye(6, 5, dtype=np.float32)
    space, short = Space(vectors, reduced(vectors, basis), square_lengths(vectors)), reduced(queries, basis)
    least = space.least_ratios(short, space.lower_bounds(short), 7)
    distances = np.sqrt(((queries[:, :, None].astype(float) - vectors) ** 2).sum(axis=3)).min(axis=0)
    ratios = distances.min(axis=1) / np.sort(distances, axis=1)[:, :7].mean(axis=1)
    assert (least <= ratios).all()
    if sign == -1:  # what the bounds cannot know is at its worst: the mean is what they say
        largest = np.sqrt(space.lower_bounds(short) + 400)
        lower = np.sqrt(space.lower_bounds(short).min(axis=1))
        np.testing.assert_allclose(least, lower / np.sort(largest, axis=1)[:, :7].mean(axis=1), rtol=1e-3)


def test_count_below_measures_few(monkeypatch):
    images = smooth_images(2_000, size=14, coarse=5)
    search = NeighbourSearch(images[:800])
    found, measured = search.search(images[800:]), []
    nearest = bounds.Space.nearest
    monkeypatch.setattr(bounds.Space, "nearest", lambda *args: measured.append(1) or nearest(*args))
    limits = {space: np.quantile(found[space].ratios, 0.01) for space in (PIXELS, PCA)}
    assert search.count_below(images[800:], limits) == {PIXELS: 12, PCA: 12}
    assert len(measured) < 0.1 * 2 * 1_200


def test_result_does_not_depend_on_the_blocks_of_queries():
    images = smooth_images(400, size=10)
    search = NeighbourSearch(images[:200])
    whole = search.search(images[200:])[PIXELS]
    parts = [search.search(images[start : start + 7])[PIXELS].ratios for start in range(200, 400, 7)]
    np.testing.assert_allclose(np.concatenate(parts), whole.ratios, rtol=1e-6)


def test_a_memory_map_gives_what_an_array_gives_in_small_blocks_too(tmp_path, monkeypatch):
    images = smooth_images(260, size=12, channels=3)
    expected = NeighbourSearch(images[:200], mirror=True, collapse=True).search(images[200:])
    np.save(tmp_path / "references.npy", images[:200])
    monkeypatch.setattr(vectors_module, "_BLOCK_ELEMENTS", 5_000)  # 16 references, and 1 query with its windows
    search = NeighbourSearch(np.load(tmp_path / "references.npy", mmap_mode="r"), mirror=True, collapse=True)
    found = search.search(images[200:])
    for space in (PIXELS, PCA):
        np.testing.assert_allclose(found[space].ratios, expected[space].ratios, rtol=1e-5)
        assert (found[space].indices == expected[space].indices).all()
    assert all(
        array.nbytes < 200 * 4 * 130 for array in vars(search.spaces[PIXELS]).values() if hasattr(array, "nbytes")
    )


def test_components_of_evenly_spaced_vectors_where_there_are_too_many(monkeypatch):
    images = smooth_images(608, size=14, channels=3, coarse=5)
    monkeypatch.setattr(vectors_module, "_COMPONENT_ELEMENTS", 150 * 12 * 12 * 3)
    found = neighbour_ratios(images[600:], images[:600], 20, 1, True)
    assert_agrees(found, images[600:], images[:600], 20, 1, True)


def test_progress_counts_queries():
    seen = []
    images = smooth_images(200)
    NeighbourSearch(images[:50]).search(images, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (200, 200)
    assert seen == sorted(seen)


def test_no_queries_give_empty_arrays():
    images = smooth_images(20)
    ratios, indices, distances = neighbour_ratios(images[:0], images, k=5)
    assert ratios.shape == indices.shape == distances.shape == (0,)


@pytest.mark.parametrize(
    ("queries", "references", "options", "message"),
    [
        ((2, 8, 8, 1), (9, 8, 8, 3), {"k": 3}, "queries are"),
        ((2, 8, 8), (9, 8, 8, 3), {"k": 3}, r"\(n, h, w, c\)"),
        ((2, 8, 8, 1), (9, 8, 8, 1), {"k": 10}, "k=10"),
        ((2, 8, 8, 1), (9, 8, 8, 1), {"k": 0}, "k=0"),
        ((2, 8, 2, 1), (9, 8, 2, 1), {"k": 3}, "shifts=1"),
        ((2, 8, 8, 1), (0, 8, 8, 1), {"k": 3}, "no references"),
    ],
)
def test_misuse_is_refused(queries, references, options, message):
    with pytest.raises(ValueError, match=message):
        neighbour_ratios(np.zeros(queries, np.uint8), np.zeros(references, np.uint8), **options)


def test_integers_other_than_bytes_are_refused():
    images = np.zeros((3, 8, 8, 1), np.int64)
    with pytest.raises(ValueError, match="int64"):
        neighbour_ratios(images, images, k=2)
