"""The statistics of the copy audit: exact p-values of exceedances, Holm's correction, and strata."""

import functools
from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import gammaln

_TINY = np.finfo(np.float64).tiny  # what a p-value too small for a float is given as: no p-value is 0
_LLOYD_ITERATIONS = 25
_BINS = 60  # of a histogram


def exceedance_pvalue(m: int, n: int, e: int) -> float:
    """Probability that the e smallest of m + n exchangeable values all belong to the m.

    p = prod over j < e of (m - j) / (m + n - j), exact for continuous values and conservative with ties, when e
    counts the values of the m strictly below all of the n (the precedence test of Nelson 1963, and earlier).
    Raises ValueError unless 0 <= e <= m and n >= 1.
    """
    if not (0 <= e <= m and n >= 1):
        raise ValueError(f"e={e} of m={m} values, against n={n}: 0 <= e <= m and n >= 1 are needed")
    return float(exceedance_pvalues(np.array([m]), np.array([n]), np.array([e])))


def exceedance_pvalues(m: np.ndarray, n: np.ndarray, e: np.ndarray) -> np.ndarray:
    """The same where values are exchangeable only within each of C strata: counts (..., C) -> p-values (...).

    Given which stratum each of the sum(e) smallest values is from, the strata are independent, and p is their product.
    """
    logarithms = _log_choose(m, e) - _log_choose(m + n, e)
    return np.maximum(np.exp(logarithms.sum(axis=-1)), _TINY)


def count_pvalues(m: np.ndarray, n: np.ndarray, count: np.ndarray, before: np.ndarray) -> np.ndarray:
    """P(at least sum(count) of the m are below the k-th smallest of the n), within strata: (..., C) -> (...).

    `count` are those of the m that are, `before` (C,) the k - 1 of the n that come before it. In one stratum the number
    is BetaBinomial(m, k, n + 1 - k), since the share of a distribution below an order statistic is
    Beta(k, n + 1 - k); a binomial with that share taken for known rejects far too often. With strata, it reaches
    sum(count) when at most k - 1 of the smallest sum(count) + k - 1 values are of the n: in each stratum a
    hypergeometric number.
    """
    order = int(before.sum()) + 1
    of_n, smallest = np.arange(order), (count + before)[..., None]
    m, n = m[..., None], n[..., None]
    possible = (of_n <= n) & (of_n <= smallest) & (smallest - of_n <= m)
    of_n, of_m = np.minimum(of_n, n), np.clip(smallest - of_n, 0, m)
    logarithms = _log_choose(n, of_n) + _log_choose(m, of_m) - _log_choose(m + n, smallest)
    by_stratum = np.where(possible, np.exp(logarithms), 0.0)  # (..., C, k): so many of the n in that stratum
    total = by_stratum[..., 0, :]
    for stratum in range(1, by_stratum.shape[-2]):
        total = _first_of_product(total, by_stratum[..., stratum, :])
    return np.clip(total.sum(axis=-1), _TINY, 1.0)


def _first_of_product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The distribution (..., k) of the sum of two independent numbers, as far as k - 1.

    The second has few possible values, however many the first has: only those are gone through.
    """
    product, size = np.zeros_like(first), first.shape[-1]
    for number in np.flatnonzero(second.reshape(-1, size).any(axis=0)):
        product[..., number:] += first[..., : size - number] * second[..., number, None]
    return product


def _log_choose(total: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The logarithm of the binomial coefficient."""
    factorials = _log_factorials(int(total.max()))
    return factorials[total] - factorials[part] - factorials[total - part]


@functools.lru_cache(maxsize=16)
def _log_factorials(largest: int) -> np.ndarray:
    return gammaln(np.arange(largest + 1) + 1.0)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's (1979) adjusted p-values: those at most q may be rejected with a family-wise error of at most q."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return adjusted


def k_means(points: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` centres of (n, p) points: k-means++ (Arthur & Vassilvitskii 2007), then Lloyd's iterations."""
    random = np.random.default_rng(0)
    points = points[random.permutation(len(points))[:10_000]].astype(np.float64)
    centres = points[:1]
    while len(centres) < count:
        squares = cdist(points, centres, "sqeuclidean").min(axis=1)
        if squares.sum() == 0:
            break
        centres = np.concatenate([centres, points[random.choice(len(points), 1, p=squares / squares.sum())]])
    for _ in range(_LLOYD_ITERATIONS):
        cells = nearest_centre(points, centres)
        means = [
            points[cells == cell].mean(axis=0) if (cells == cell).any() else centres[cell]
            for cell in range(len(centres))
        ]
        centres = np.stack(means)
    return centres


def nearest_centre(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The index of each point's nearest centre, (n,)."""
    return cdist(points, centres, "sqeuclidean").argmin(axis=1)


def histograms(samples: np.ndarray, heldout: np.ndarray) -> dict[str, float | list[float]]:
    """How ratios (m,) and (n,) are spread, as JSON values: the shares "samples" and "heldout" of each in equal bins
    from 0 to "top"; no shares where there are no ratios."""
    top = max(1e-6, *(float(ratios.max()) for ratios in (samples, heldout) if len(ratios)))
    shares = {
        name: (np.histogram(ratios, _BINS, (0, top))[0] / len(ratios)).round(8).tolist() if len(ratios) else []
        for name, ratios in (("samples", samples), ("heldout", heldout))
    }
    return {"top": top, **shares}
