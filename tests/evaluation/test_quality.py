"""The scores against closed forms, against direct forms of their definitions, and against other people's packages."""

import tracemalloc

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kgan.evaluation import quality

pytestmark = pytest.mark.filterwarnings("error")


def random_features(seed, rows, columns, shift=0.0):
    """Correlated Gaussian rows."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) / np.sqrt(columns) + shift


def frechet_by_sqrtm(mu1, sigma1, mu2, sigma2):
    """The formula as the package pytorch-fid evaluates it: through the matrix square root of the product."""
    root = scipy.linalg.sqrtm(sigma1 @ sigma2)
    return float((mu1 - mu2) @ (mu1 - mu2) + np.trace(sigma1) + np.trace(sigma2) - 2 * np.trace(np.real(root)))


class TestFrechetDistance:
    @pytest.mark.parametrize("width", [300, pytest.param(2048, marks=pytest.mark.slow)])
    def test_of_unit_gaussians_one_apart_is_the_width(self, width):
        eye = np.eye(width)
        assert quality.frechet_distance(np.zeros(width), eye, np.ones(width), eye) == pytest.approx(width, rel=1e-12)

    def test_of_covariances_that_do_not_commute(self):
        distance = quality.frechet_distance([1, -2], [[2, 1], [1, 2]], [0, 0], np.diag([1, 4]))
        # tr sqrt(P) of a 2x2 product P is sqrt(tr P + 2 sqrt(det P)); here tr P = 10 and det P = 12.
        assert distance == pytest.approx(5 + 4 + 5 - 2 * np.sqrt(10 + 2 * np.sqrt(12)), abs=1e-12)
        assert distance == pytest.approx(5.7712204, abs=5e-8)

    @pytest.mark.parametrize("seed", range(20))
    def test_agrees_with_sqrtm(self, seed):
        x, y = random_features(seed, 90, 24), random_features(seed + 100, 120, 24, shift=0.3)
        moments = [x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)]
        assert quality.frechet_distance(*moments) == pytest.approx(frechet_by_sqrtm(*moments), abs=1e-6)
        assert quality.frechet_distance_from_features(x, y) == pytest.approx(frechet_by_sqrtm(*moments), abs=1e-6)

    def test_stays_exact_where_the_covariances_lack_rank(self):
        x, y = random_features(3, 10, 200), random_features(4, 12, 200, shift=0.1)
        # With centred rows A, B scaled so that sigma = A'A, the cross term is the nuclear norm of AB'.
        a, b = (x - x.mean(0)) / 3.0, (y - y.mean(0)) / np.sqrt(11)
        cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
        expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.sum(a**2) + np.sum(b**2) - 2 * cross
        assert quality.frechet_distance_from_features(x, y) == pytest.approx(expected, abs=1e-9)

    def test_of_points_and_of_orthogonal_lines(self):
        zero = np.zeros((2, 2))
        assert quality.frechet_distance([0, 0], zero, [3, 4], zero) == 25.0
        assert quality.frechet_distance([0, 0], np.diag([4.0, 0]), [0, 0], np.diag([0, 9.0])) == 13.0

    def test_is_far_below_one_for_equal_features_of_any_scale(self):
        for scale in (1e-3, 1.0, 1e3):
            x = random_features(5, 100, 40) * scale
            assert 0 <= quality.frechet_distance_from_features(x, x) <= 1e-10 * scale**2

    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), columns=st.integers(1, 8), rows=st.integers(2, 20))
    def test_is_symmetric_and_unmoved_by_a_common_rotation_and_shift(self, seed, columns, rows):
        x, y = random_features(seed, rows, columns), random_features(seed + 1, rows + 3, columns)
        distance = quality.frechet_distance_from_features(x, y)
        assert distance >= 0
        assert quality.frechet_distance_from_features(y, x) == pytest.approx(distance, rel=1e-7, abs=1e-9)
        rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(columns, columns)))[0]
        moved = quality.frechet_distance_from_features(x @ rotation + 2.0, y @ rotation + 2.0)
        assert moved == pytest.approx(distance, rel=1e-7, abs=1e-9)
        assert quality.frechet_distance_from_features(3 * x, 3 * y) == pytest.approx(9 * distance, rel=1e-7, abs=1e-9)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([0, 0], np.eye(2), [0, 0, 0], np.eye(3)), r"shapes \(2,\), \(2, 2\), \(3,\), \(3, 3\)"),
            (([0, 0], np.eye(3), [0, 0], np.eye(2)), r"shapes \(2,\), \(3, 3\), \(2,\), \(2, 2\)"),
            (([0, 0], np.eye(2), [0, np.nan], np.eye(2)), "infs or NaNs"),
            (([0, 0], np.eye(2), [0, 0], np.diag([1, np.inf])), "infs or NaNs"),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            quality.frechet_distance(*arguments)


class TestMeanAndCovariance:
    def test_equals_numpy_in_any_block_size(self, monkeypatch):
        x = random_features(6, 57, 9).astype(np.float32)
        for elements in (1, 100, 10**6):
            monkeypatch.setattr(quality, "_BLOCK_ELEMENTS", elements)
            mean, covariance = quality.mean_and_covariance(x)
            np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64), atol=1e-12)
            np.testing.assert_allclose(covariance, np.cov(x.astype(np.float64), rowvar=False), atol=1e-12)
            assert mean.dtype == covariance.dtype == np.float64


class TestKernelDistance:
    @staticmethod
    def by_definition(x, y):
        def kernel(a, b):
            return (a @ b / len(a) + 1) ** 3

        within = [np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
        return sum(within) - 2 * np.mean([kernel(a, b) for a in x for b in y])

    @pytest.mark.parametrize("elements", [1, 50, 10**6])
    def test_is_the_definition(self, monkeypatch, elements):
        monkeypatch.setattr(quality, "_BLOCK_ELEMENTS", elements)
        x, y = random_features(7, 13, 5), random_features(8, 17, 5, shift=0.5)
        assert quality.kernel_distance(x, y) == pytest.approx(self.by_definition(x, y), rel=1e-10)
        assert quality.kernel_distance(y, x) == pytest.approx(quality.kernel_distance(x, y), rel=1e-12)

    def test_of_two_points_each(self):
        # k(0, anything) = 1, k(1, 1) = 8 in one dimension: within x 1, within y 8, across 1.
        assert quality.kernel_distance([[0.0], [0.0]], [[1.0], [1.0]]) == pytest.approx(1 + 8 - 2)

    def test_has_expectation_zero_for_equal_distributions(self):
        values = [
            quality.kernel_distance(*np.split(np.random.default_rng(seed).normal(size=(40, 4)), 2))
            for seed in range(400)
        ]
        assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
        assert min(values) < 0 < max(values)

    def test_over_subsets_is_reproducible_and_centred_on_all_pairs(self):
        x, y = random_features(10, 600, 6), random_features(11, 500, 6, shift=0.4)
        mean, deviation = quality.kernel_distance_subsets(x, y, subsets=200, subset_size=100, seed=3)
        assert (mean, deviation) == quality.kernel_distance_subsets(x, y, subsets=200, subset_size=100, seed=3)
        assert mean != quality.kernel_distance_subsets(x, y, subsets=200, subset_size=100, seed=4)[0]
        assert abs(mean - quality.kernel_distance(x, y)) < 4 * deviation / np.sqrt(200)

    def test_over_subsets_of_everything_is_the_distance(self):
        x, y = random_features(12, 30, 3), random_features(13, 30, 3)
        mean, deviation = quality.kernel_distance_subsets(x, y, subsets=4, subset_size=30)
        assert mean == pytest.approx(quality.kernel_distance(x, y), rel=1e-9)
        assert deviation == pytest.approx(0, abs=1e-12)


class TestPrdc:
    @staticmethod
    def by_definition(real, fake, k):
        def distances(a, b):
            return np.linalg.norm(a[:, None] - b[None], axis=-1)

        def radii(a):
            return np.sort(distances(a, a), axis=1)[:, k]  # column 0 is the row itself

        inside_real = distances(real, fake) < radii(real)[:, None]
        return {
            "precision": inside_real.any(axis=0).mean(),
            "recall": (distances(real, fake) < radii(fake)[None]).any(axis=1).mean(),
            "density": inside_real.sum(axis=0).mean() / k,
            "coverage": inside_real.any(axis=1).mean(),
        }

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        rows=st.tuples(st.integers(6, 40), st.integers(6, 40)),
        columns=st.integers(1, 6),
        k=st.integers(1, 5),
        shift=st.floats(-2, 2),
    )
    def test_is_the_definition(self, seed, rows, columns, k, shift):
        real, fake = random_features(seed, rows[0], columns), random_features(seed + 1, rows[1], columns, shift)
        assert quality.prdc(real, fake, k) == pytest.approx(self.by_definition(real, fake, k), abs=1e-12)

    def test_does_not_depend_on_the_block_size(self, monkeypatch):
        real, fake = random_features(15, 80, 4), random_features(16, 70, 4)
        expected = self.by_definition(real, fake, 5)
        for elements in (1, 1000, 10**6):
            monkeypatch.setattr(quality, "_BLOCK_ELEMENTS", elements)
            assert quality.prdc(real, fake) == pytest.approx(expected)

    @pytest.mark.filterwarnings("default")
    @pytest.mark.parametrize("columns", [2, 64])
    def test_agrees_with_the_package_prdc(self, columns, capsys):
        package = pytest.importorskip("prdc")
        real, fake = random_features(17, 500, columns), random_features(18, 400, columns, shift=0.2)
        theirs = package.compute_prdc(real_features=real, fake_features=fake, nearest_k=5)
        assert quality.prdc(real, fake) == pytest.approx(theirs, abs=1e-12)

    def test_on_a_line_by_hand(self):
        real, fake = np.array([[0.0], [1.0], [3.0], [10.0]]), np.array([[0.5], [2.0], [50.0]])
        # Radii for k=1: reals 1, 1, 2, 7 and fakes 1.5, 1.5, 48. Inside: 0.5 in the balls of 0 and 1; 2 in that of 3
        # alone, as |2 - 1| is not < 1; 50 in none. 10 is in the ball of 50, and has no fake in its own.
        assert quality.prdc(real, fake, k=1) == pytest.approx(
            {"precision": 2 / 3, "recall": 1.0, "density": 1.0, "coverage": 0.75}
        )

    def test_of_a_set_against_itself_and_far_away(self):
        x = random_features(19, 60, 8)
        same, far = quality.prdc(x, x), quality.prdc(x, x + 1000.0)
        assert (same["precision"], same["recall"], same["coverage"]) == (1.0, 1.0, 1.0)
        assert far == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}

    def test_a_collapsed_generator_keeps_precision_and_loses_recall_and_coverage(self):
        real = random_features(20, 200, 4) + 1e3  # far from the origin, where rounding would show
        fake = np.repeat(real[:1], 200, axis=0)
        scores = quality.prdc(real, fake)
        assert scores["precision"] == 1.0
        assert scores["recall"] == 0.0  # a fake's radius is exactly 0, and nothing is strictly inside
        assert scores["coverage"] < 0.1

    def test_holds_no_matrix_of_all_distances(self, monkeypatch):
        monkeypatch.setattr(quality, "_BLOCK_ELEMENTS", 2**16)
        x, y = random_features(21, 3000, 8), random_features(22, 3000, 8)
        tracemalloc.start()
        quality.prdc(x, y)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3000 * 3000 * 8 / 10

    @pytest.mark.parametrize("k", [0, 6, 7])
    def test_refuses_k(self, k):
        x = random_features(23, 6, 2)
        with pytest.raises(ValueError, match=f"k is {k}: it must be 1 to 5"):
            quality.prdc(x, x, k)


class TestInceptionScore:
    def test_is_one_for_equal_rows_and_the_classes_for_even_certainty(self):
        assert quality.inception_score(np.full((50, 4), 0.25)) == pytest.approx((1.0, 0.0))
        assert quality.inception_score(np.tile(np.eye(5), (20, 1))) == pytest.approx((5.0, 0.0))
        assert quality.inception_score(np.tile(np.eye(5)[:1], (20, 1))) == pytest.approx((1.0, 0.0))

    def test_by_hand(self):
        p = np.array([[0.8, 0.2], [0.4, 0.6]])
        divergence = np.mean(
            [0.8 * np.log(0.8 / 0.6) + 0.2 * np.log(0.2 / 0.4), 0.4 * np.log(0.4 / 0.6) + 0.6 * np.log(1.5)]
        )
        assert quality.inception_score(p, splits=1) == pytest.approx((np.exp(divergence), 0.0))

    def test_takes_consecutive_splits(self):
        sorted_by_class = np.repeat(np.eye(10), 20, axis=0)
        assert quality.inception_score(sorted_by_class, splits=10) == pytest.approx((1.0, 0.0))
        assert quality.inception_score(sorted_by_class, splits=1) == pytest.approx((10.0, 0.0))
        mean, deviation = quality.inception_score(np.concatenate([np.eye(4), np.eye(4)[[0, 0, 0, 0]]]), splits=2)
        assert (mean, deviation) == pytest.approx((2.5, 1.5))

    @settings(max_examples=50, deadline=None)
    @given(hnp.arrays(np.float32, (12, 7), elements=st.floats(0, 1, width=32)), st.integers(1, 12))
    def test_lies_between_one_and_the_number_of_classes(self, weights, splits):
        probabilities = (weights + 1e-3) / (weights + 1e-3).sum(axis=1, keepdims=True)
        mean, deviation = quality.inception_score(probabilities, splits)
        assert 1 - 1e-5 <= mean <= 7 + 1e-5
        assert deviation >= 0

    @pytest.mark.parametrize(
        ("probabilities", "splits", "message"),
        [
            (np.full((20, 4), 0.3), 10, "each row sum to 1"),
            (np.tile([1.5, -0.5], (20, 1)), 10, "at least 0"),
            (np.full((20, 2), np.nan), 10, "infs or NaNs"),
        ],
    )
    def test_refuses(self, probabilities, splits, message):
        with pytest.raises(ValueError, match=message):
            quality.inception_score(probabilities, splits)


class TestScores:
    def test_are_the_scores_by_name(self):
        real, fake = random_features(26, 60, 4), random_features(27, 60, 4, shift=0.3)
        probabilities = np.random.default_rng(28).dirichlet(np.ones(3), 60)
        found = quality.scores(real, fake, probabilities)
        assert found["frechet_distance"] == quality.frechet_distance_from_features(real, fake)
        subsets = quality.kernel_distance_subsets(real, fake, subset_size=30)
        assert (found["kernel_distance"], found["kernel_distance_std"]) == subsets and subsets[1] > 0
        assert {name: found[name] for name in ("precision", "recall", "density", "coverage")} == quality.prdc(
            real, fake
        )
        shuffled = np.random.default_rng(0).permutation(probabilities)
        assert (found["inception_score"], found["inception_score_std"]) == quality.inception_score(shuffled)
        assert found["inception_score_unsplit"] == quality.inception_score(probabilities, splits=1)[0]
        assert set(quality.scores(real, fake)) == {name for name in found if "inception" not in name}

    def test_refuse_what_is_not_finite(self):
        x = random_features(29, 20, 2)
        with pytest.raises(ValueError, match="infs or NaNs"):
            quality.scores(x, np.where(x > 1, np.nan, x))


@pytest.mark.parametrize("score", [quality.frechet_distance_from_features, quality.kernel_distance, quality.prdc])
class TestFeatureRows:
    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (np.ones((10, 3)), r"shapes \(10, 2\) and \(10, 3\)"),
            (np.ones((1, 2)), r"\(1, 2\): .* n and m over 1"),
            (np.ones(10), r"\(10,\): they must be \(n, d\) and \(m, d\)"),
            (np.array([[1.0, 2.0], [np.inf, 0.0]] * 5), "infs or NaNs"),
        ],
    )
    def test_refused(self, score, y, message):
        x = random_features(24, 10, 2)
        with pytest.raises(ValueError, match=message):
            score(x, y)
        with pytest.raises(ValueError):
            score(y, x)

    def test_of_any_real_dtype_are_the_same_and_left_alone(self, score):
        x, y = np.random.default_rng(25).integers(0, 9, (2, 20, 3))
        x_before, y_before = x.copy(), y.copy()
        expected = score(x.astype(np.float64), y.astype(np.float64))
        for dtype in (np.float32, np.float16, np.int32, np.uint8):
            assert score(x.astype(dtype), y.astype(dtype)) == pytest.approx(expected, rel=1e-12)
        assert (x == x_before).all() and (y == y_before).all()


def test_samples_in_the_order_of_their_classes_have_the_inception_score_of_any_order():
    random = np.random.default_rng(0)
    real, fake = random.normal(size=(2, 200, 4))
    in_order = np.repeat(np.eye(10), 20, axis=0)
    assert quality.scores(real, fake, in_order)["inception_score"] > 6
