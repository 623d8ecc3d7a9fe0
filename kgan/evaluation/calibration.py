"""What held-out images say about small relative ratios, and the verdict as a function of counts."""

import dataclasses

import numpy as np

from kgan.evaluation.neighbours import Neighbours
from kgan.evaluation.statistics import count_pvalues, exceedance_pvalue, exceedance_pvalues

LEVEL = 0.05  # of the verdict: the family-wise error of all tests together


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What held-out images say about small relative ratios in one space, fixed before any sample is looked at."""

    threshold: float  # the order-th smallest ratio of one half
    order: int
    size: int  # of that half
    flagged: np.ndarray  # which images of the other half are below the threshold, for its false-positive rate
    smallest: float  # of all held-out ratios
    num_heldout: int

    @classmethod
    def of(cls, ratios: np.ndarray, alpha: float) -> "Calibration":
        first, second = np.split(np.random.default_rng(0).permutation(len(ratios)), [len(ratios) // 2])
        order = max(1, int(alpha * len(first) + 1e-9))
        threshold = float(np.partition(ratios[first], order - 1)[order - 1])
        return cls(threshold, order, len(first), ratios[second] < threshold, float(ratios.min()), len(ratios))

    def p_values(self, ratios: np.ndarray) -> dict[str, float]:
        count, exceeding = int((ratios < self.threshold).sum()), int((ratios < self.smallest).sum())
        return {
            "count": float(count_pvalues(len(ratios), self.size, self.order)[count]),
            "exceedance": exceedance_pvalue(len(ratios), self.num_heldout, exceeding),
        }

    def summary(self, ratios: np.ndarray) -> dict[str, float | int]:
        return {
            "threshold": self.threshold,
            "order": self.order,
            "size": self.size,
            "measured_false_positive_rate": float(self.flagged.mean()),
            "num_flagged": int((ratios < self.threshold).sum()),
        }


@dataclasses.dataclass(frozen=True)
class Marks:
    """For n images and S spaces, which ratios are below the threshold and which below every held-out one's."""

    flagged: np.ndarray  # (n, S) bool
    exceeding: np.ndarray  # (n, S) bool

    def stacked(self) -> np.ndarray:
        return np.concatenate([self.flagged, self.exceeding], axis=1).astype(np.int64)


class Rule:
    """The verdict as a function of counts by space: something is flagged, and Holm's correction rejects something."""

    def __init__(self, calibration: dict[str, Calibration], num_samples: int, num_tests: int, other_p_value: float):
        self.num_tests, self.other_p_value = num_tests, other_p_value
        self.count = [count_pvalues(num_samples, c.size, c.order) for c in calibration.values()]
        self.exceedance = [exceedance_pvalues(num_samples, c.num_heldout) for c in calibration.values()]

    def __call__(self, flagged: np.ndarray, exceeding: np.ndarray) -> np.ndarray:
        """Counts (trials, S) of each -> (trials,) bool."""
        tables, counts = [*self.count, *self.exceedance], [*flagged.T, *exceeding.T]
        smallest = np.min([table[count] for table, count in zip(tables, counts, strict=True)], axis=0)
        return flagged.any(axis=1) & (np.minimum(smallest, self.other_p_value) * self.num_tests <= LEVEL)


def marked(neighbours: dict[str, Neighbours], calibration: dict[str, Calibration]) -> Marks:
    return Marks(
        np.stack([neighbours[space].relative_ratios < c.threshold for space, c in calibration.items()], axis=1),
        np.stack([neighbours[space].relative_ratios < c.smallest for space, c in calibration.items()], axis=1),
    )
