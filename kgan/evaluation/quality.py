"""Scores between two sets of image features: Frechet distance, kernel distance, precision and recall, Inception score.

Everything here is NumPy and SciPy on arrays, in float64, and knows nothing of images: rows are samples, columns are
features. A score means something only beside the network that made the features, the number of rows and the score of
real against real at that number (kgan.evaluate reports all three).
"""

from collections.abc import Iterator

import numpy as np
import scipy.linalg
import scipy.special

# Distance and kernel matrices are made this many float64 at a time (64 MiB), whatever the number of rows.
_BLOCK_ELEMENTS = 2**23
# Squared distances below this share of the squared norms are rounding: the rows are the same.
_SAME_ROW_TOLERANCE = 1e-12


def frechet_distance(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    """The squared Frechet (2-Wasserstein) distance between the Gaussians N(mu1, sigma1) and N(mu2, sigma2).

        |mu1 - mu2|^2 + tr(sigma1) + tr(sigma2) - 2 tr((sigma1^1/2 sigma2 sigma1^1/2)^1/2)

    (Dowson and Landau, 1982; as a score of generators: Heusel et al., 2017, arXiv:1706.08500, who call it FID when the
    features are pool_3 of the 2015 Inception graph, and only then.) The last trace is the sum of the singular values
    of L1' L2 with sigma = L L', which keeps it real, finite and accurate where a covariance lacks rank: no square root
    is taken of a rounded zero.

    `mu1` and `mu2` are (d,), `sigma1` and `sigma2` (d, d), which have to be covariances: symmetric, and with no
    negative eigenvalues. Never negative. Raises ValueError for other shapes, and for NaN or infinity.
    """
    mu1, sigma1, mu2, sigma2 = (np.asarray_chkfinite(array, np.float64) for array in (mu1, sigma1, mu2, sigma2))
    if not (mu1.ndim == 1 and mu1.shape == mu2.shape and sigma1.shape == sigma2.shape == 2 * mu1.shape):
        shapes = ", ".join(str(array.shape) for array in (mu1, sigma1, mu2, sigma2))
        raise ValueError(f"the Gaussians have the shapes {shapes}: they must be (d,), (d, d), (d,), (d, d)")
    product = _factor(sigma1).T @ _factor(sigma2)
    cross = scipy.linalg.svdvals(product).sum() if product.size else 0.0
    return max(0.0, float(np.sum((mu1 - mu2) ** 2) + np.trace(sigma1) + np.trace(sigma2) - 2.0 * cross))


def frechet_distance_from_features(x: np.ndarray, y: np.ndarray) -> float:
    """`frechet_distance` between the means and covariances of the rows of `x` (n, d) and `y` (m, d).

    Biased upward for small n and m (Chong and Forsyth, 2020, arXiv:1911.07023): compare at equal numbers only. With no
    more rows than columns it is defined but says little, and `kgan evaluate` refuses it. Raises ValueError for NaN or
    infinity, different widths, fewer than 2 rows.
    """
    x, y = _pair(x, y)
    return frechet_distance(*mean_and_covariance(x), *mean_and_covariance(y))


def mean_and_covariance(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean (d,) and the unbiased covariance (d, d), float64, of the rows of `features` (n, d), n at least 2."""
    mean = features.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((len(mean), len(mean)))
    for rows in _blocks(len(features), len(mean)):
        centred = features[rows] - mean
        covariance += centred.T @ centred
    return mean, covariance / (len(features) - 1)


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased squared maximum mean discrepancy between the rows of `x` (n, d) and `y` (m, d), over all pairs.

        sum_{i != j} k(x_i, x_j) / n(n-1) + sum_{i != j} k(y_i, y_j) / m(m-1) - 2 sum_{i, j} k(x_i, y_j) / nm,
        k(a, b) = (a.b / d + 1)^3

    (Gretton et al., 2012; as a score of generators, KID: Binkowski et al., 2018, arXiv:1801.01401.) Its expectation
    does not depend on n and m, and is 0 for equal distributions, so that a single value may be below 0. Raises
    ValueError for NaN or infinity, different widths, fewer than 2 rows.
    """
    return _kernel_distance(*_pair(x, y))


def kernel_distance_subsets(
    x: np.ndarray, y: np.ndarray, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """What is usually printed as KID: the mean and standard deviation of `kernel_distance` over random subsets.

    Each of the `subsets` takes `subset_size` rows of `x` (n, d) and as many of `y` (m, d), without replacement within a
    subset, as numpy's default_rng(seed) chooses. The standard deviation (ddof 0) tells how much a subset of that size
    varies; the subsets overlap, so it is not the standard error of the mean. Raises ValueError for sets smaller than a
    subset.
    """
    rng = np.random.default_rng(seed)
    distances = [
        _kernel_distance(
            x[rng.choice(len(x), subset_size, replace=False)], y[rng.choice(len(y), subset_size, replace=False)]
        )
        for _ in range(subsets)
    ]
    return float(np.mean(distances)), float(np.std(distances))


def subset_size(count: int) -> int:
    """The rows of a subset of `count`: 1000 as is usual, but no more than half, or the subsets would all be one."""
    return max(2, min(1000, count // 2))


def prdc(real: np.ndarray, fake: np.ndarray, k: int = 5) -> dict[str, float]:
    """Improved precision and recall, density and coverage of `fake` (m, d) against `real` (n, d).

    With r(x) the distance of a row to its k-th nearest other row of the same set, and "inside" a strict <:

        precision  share of fakes inside the ball of any real        |real_i - fake_j| < r(real_i)
        recall     share of reals inside the ball of any fake        |real_i - fake_j| < r(fake_j)
        density    number of real balls that a fake is inside, mean, over k; may exceed 1
        coverage   share of reals whose ball has any fake inside

    (Kynkaanniemi et al., 2019, arXiv:1904.06991; Naeem et al., 2020, arXiv:2002.09797.) All four depend on n and m:
    compare at equal numbers. Euclidean, exact, in blocks: no n x m matrix is held. Raises ValueError for NaN or
    infinity, different widths, fewer than 2 rows, and k outside 1 to rows - 1.
    """
    real, fake = _pair(real, fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f"k is {k}: it must be 1 to {min(len(real), len(fake)) - 1}, the smaller set's rows less one")
    centre = real.mean(axis=0, dtype=np.float64)  # distances stay the same, and their rounding errors get smaller
    real, fake = real - centre, fake - centre
    real_radii, fake_radii = _squared_radii(real, k), _squared_radii(fake, k)
    balls_around_fake = np.zeros(len(fake), np.int64)  # how many real balls each fake is inside
    covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, distances in _squared_distances(real, fake):
        inside = distances < real_radii[rows, None]
        balls_around_fake += inside.sum(axis=0)
        covered[rows] = inside.any(axis=1)
        recalled[rows] = (distances < fake_radii).any(axis=1)
    return {
        "precision": float(np.mean(balls_around_fake > 0)),
        "recall": float(np.mean(recalled)),
        "density": float(np.mean(balls_around_fake) / k),
        "coverage": float(np.mean(covered)),
    }


def inception_score(probabilities: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """The mean and standard deviation over `splits` of exp(mean_x KL(p(y|x) || p(y))), p(y) the mean of a split.

    (Salimans et al., 2016, arXiv:1606.03498.) `probabilities` is (n, classes), a row p(y|x) an image; the splits, n at
    most, are consecutive rows, so shuffle what is sorted by class. From 1 (every image alike) to the number of classes;
    biased downward for small splits. splits=1 gives the score of all rows, and 0. The name is the paper's only with the
    2015 Inception graph. Raises ValueError for NaN or infinity, and for rows that are no probabilities.
    """
    probabilities = np.asarray_chkfinite(probabilities, np.float64)
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1.0).max() > 1e-3:
        raise ValueError("probabilities must be at least 0, and each row sum to 1")
    scores = []
    for part in np.array_split(probabilities, splits):
        divergences = scipy.special.rel_entr(part, part.mean(axis=0)).sum(axis=1)
        scores.append(np.exp(divergences.mean()))
    return float(np.mean(scores)), float(np.std(scores))


def scores(
    real: np.ndarray, fake: np.ndarray, fake_probabilities: np.ndarray | None = None, k: int = 5
) -> dict[str, float]:
    """Every score of `fake` (n, d) against `real` (n, d), n more than d, under the names that evaluation.json has.

    `kernel_distance` and `kernel_distance_std` are over 100 subsets of `subset_size(n)` rows. With class probabilities
    of the fakes also `inception_score` and `inception_score_std` over 10 splits, and `inception_score_unsplit`. Raises
    ValueError for NaN or infinity.
    """
    kernel_mean, kernel_std = kernel_distance_subsets(real, fake, subset_size=subset_size(len(real)))
    result = {
        "frechet_distance": frechet_distance_from_features(real, fake),
        "kernel_distance": kernel_mean,
        "kernel_distance_std": kernel_std,
        **prdc(real, fake, k),
    }
    if fake_probabilities is not None:
        shuffled = np.random.default_rng(0).permutation(fake_probabilities)  # they may be sorted by class
        result["inception_score"], result["inception_score_std"] = inception_score(shuffled)
        result["inception_score_unsplit"] = inception_score(fake_probabilities, splits=1)[0]
    return result


def _pair(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`x` (n, d) and `y` (m, d) as arrays. Raises ValueError for other shapes, n or m below 2, NaN or infinity."""
    x, y = np.asarray_chkfinite(x), np.asarray_chkfinite(y)
    if not (x.ndim == y.ndim == 2 and x.shape[1] == y.shape[1] and min(len(x), len(y)) >= 2):
        raise ValueError(f"features of shapes {x.shape} and {y.shape}: they must be (n, d) and (m, d), n and m over 1")
    return x, y


def _factor(sigma: np.ndarray) -> np.ndarray:
    """L (d, rank) with sigma = L L'."""
    eigenvalues, vectors = scipy.linalg.eigh((sigma + sigma.T) / 2.0, check_finite=False)
    kept = eigenvalues > len(sigma) * np.finfo(np.float64).eps * eigenvalues[-1]
    return vectors[:, kept] * np.sqrt(eigenvalues[kept])


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices over `rows`, each with at most _BLOCK_ELEMENTS elements of `columns` columns (but at least one row)."""
    step = max(1, _BLOCK_ELEMENTS // columns)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    count_x, count_y = len(x), len(y)
    within_x = (_kernel_sum(x, x) - _kernel_diagonal_sum(x)) / (count_x * (count_x - 1))
    within_y = (_kernel_sum(y, y) - _kernel_diagonal_sum(y)) / (count_y * (count_y - 1))
    return float(within_x + within_y - 2.0 * _kernel_sum(x, y) / (count_x * count_y))


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    total = 0.0
    for rows in _blocks(len(x), len(y)):
        kernel = x[rows] @ y.T
        kernel /= x.shape[1]
        kernel += 1.0
        total += np.einsum("ij,ij,ij->", kernel, kernel, kernel)
    return float(total)


def _kernel_diagonal_sum(x: np.ndarray) -> float:
    squared_norms = np.einsum("ij,ij->i", x, x, dtype=np.float64)
    return float(np.sum((squared_norms / x.shape[1] + 1.0) ** 3))


def _squared_distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """For blocks of rows of `x`, in order: the slice, and |x_i - y_j|^2 as (block, m) float64, exactly 0 if the same.

    The rows of `x` and `y` are float64, near the origin.
    """
    x_norms, y_norms = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    for rows in _blocks(len(x), len(y)):
        distances = x[rows] @ y.T
        distances *= -2.0
        norms = x_norms[rows, None] + y_norms
        distances += norms
        norms *= _SAME_ROW_TOLERANCE
        distances[distances < norms] = 0.0
        yield rows, distances


def _squared_radii(x: np.ndarray, k: int) -> np.ndarray:
    """The squared distance of every row of `x` to its k-th nearest other row."""
    radii = np.empty(len(x))
    for rows, distances in _squared_distances(x, x):
        indices = np.arange(rows.start, rows.stop)
        distances[indices - rows.start, indices] = np.inf
        radii[rows] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return radii
