"""What held-out images say about small ratios, stratum by stratum, and the verdict as a function of counts.

A stratum is a k-means cell of training images. How close images come without copying differs between them:
near-duplicates are common among the shirts of Fashion-MNIST, and a generator of shirts alone must be held against
held-out shirts. So samples and held-out images count as exchangeable within each stratum only. Even there they are not
where a generator hardly goes: of all handwritten ones, only odd ones lie among the twos. The samples of a stratum
therefore count as no fewer than its share of the held-out images would make them, which can only raise a p-value.
"""

import dataclasses

import numpy as np

from kgan.auditing.statistics import count_pvalues, exceedance_pvalues
from kgan.searching.neighbours import Neighbours

LEVEL = 0.05  # of the verdict: the family-wise error of all tests together


@dataclasses.dataclass(frozen=True)
class Matches:
    """What a search among the training images gives for n images: their neighbours by space, and strata (n,) int."""

    neighbours: dict[str, Neighbours]
    strata: np.ndarray

    def __getitem__(self, rows: slice) -> "Matches":
        return Matches({space: found[rows] for space, found in self.neighbours.items()}, self.strata[rows])


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What held-out images say about small ratios in one space, fixed before any sample is looked at.

    Counts by stratum are (C,) int64.
    """

    threshold: float  # the order-th smallest ratio
    before: np.ndarray  # images that come before it: order - 1 of them, by stratum
    smallest: float  # of all ratios
    heldout: np.ndarray  # all images, by stratum
    flagged: np.ndarray  # (n,) bool: images below the threshold that the half they are not in would set
    expected: float  # the share of them to be expected

    @classmethod
    def of(cls, ratios: np.ndarray, strata: np.ndarray, num_strata: int, alpha: float) -> "Calibration":
        ascending, order = np.argsort(ratios, kind="stable"), _order(len(ratios), alpha)
        before, heldout = (
            np.bincount(strata[rows], minlength=num_strata) for rows in (ascending[: order - 1], slice(None))
        )
        first, second = np.split(np.random.default_rng(0).permutation(len(ratios)), [len(ratios) // 2])
        flagged, expected = np.zeros(len(ratios), bool), 0.0
        for half, other in ((first, second), (second, first)):
            place = _order(len(half), alpha)
            flagged[other] = ratios[other] < np.sort(ratios[half])[place - 1]
            expected += len(other) / len(ratios) * place / (len(half) + 1)
        return cls(float(ratios[ascending[order - 1]]), before, float(ratios.min()), heldout, flagged, expected)

    @classmethod
    def by_space(cls, heldout: Matches, num_strata: int, alpha: float) -> "dict[str, Calibration]":
        return {
            space: cls.of(neighbours.ratios, heldout.strata, num_strata, alpha)
            for space, neighbours in heldout.neighbours.items()
        }

    @property
    def order(self) -> int:
        return int(self.before.sum()) + 1

    @property
    def size(self) -> int:
        return len(self.flagged)

    def p_values(self, sizes: np.ndarray, flagged: np.ndarray, exceeding: np.ndarray) -> dict[str, np.ndarray]:
        """By test, from counts by stratum (..., C): samples, those below the threshold, those below all held-out."""
        sizes = self._at_least_their_share(sizes)
        return {
            "count": count_pvalues(sizes, self.heldout, flagged, self.before),
            "exceedance": exceedance_pvalues(sizes, self.heldout, exceeding),
        }

    def summary(self, ratios: np.ndarray) -> dict[str, float | int]:
        return {
            "threshold": self.threshold,
            "order": self.order,
            "size": self.size,
            "measured_false_positive_rate": float(self.flagged.mean()),
            "expected_false_positive_rate": self.expected,
            "num_flagged": int((ratios < self.threshold).sum()),
        }

    def _at_least_their_share(self, sizes: np.ndarray) -> np.ndarray:
        total = sizes.sum(axis=-1, keepdims=True)
        return np.maximum(sizes, -(-total * self.heldout // self.size))  # rounded up


def _order(count: int, alpha: float) -> int:
    return max(1, int(alpha * count + 1e-9))


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """For n images and S spaces, which ratios are below the threshold and which are below every held-out image's."""

    strata: np.ndarray  # (n,) int
    flagged: np.ndarray  # (n, S) bool
    exceeding: np.ndarray  # (n, S) bool
    num_strata: int

    @classmethod
    def of(cls, matches: Matches, calibration: dict[str, Calibration]) -> "Outcomes":
        ratios = np.stack([matches.neighbours[space].ratios for space in calibration], axis=1)
        return cls(
            matches.strata,
            ratios < [c.threshold for c in calibration.values()],
            ratios < [c.smallest for c in calibration.values()],
            len(next(iter(calibration.values())).heldout),
        )

    def distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """The q distinct outcomes: what one such image adds to the counts, (q, 1 + 2S, C) int64, and their frequencies.

        The 1 + 2S counts, each by stratum, are of all images, of those flagged in each space, and of those exceeding
        in each space; frequencies are (q,).
        """
        rows = np.concatenate([self.strata[:, None], self.flagged, self.exceeding], axis=1).astype(np.int64)
        rows, sizes = np.unique(rows, axis=0, return_counts=True)
        strata, counted = np.eye(self.num_strata, dtype=np.int64)[rows[:, 0]], np.insert(rows[:, 1:], 0, 1, axis=1)
        return counted[:, :, None] * strata[:, None, :], sizes


def count_tests(counts: np.ndarray, calibration: dict[str, Calibration]) -> dict[str, dict[str, np.ndarray]]:
    """P-values (...) by space and test, of counts (..., 1 + 2S, C): sums of what `Outcomes.distinct` gives."""
    sizes, flagged, exceeding = np.split(counts, [1, 1 + len(calibration)], axis=-2)
    return {
        space: c.p_values(sizes[..., 0, :], flagged[..., place, :], exceeding[..., place, :])
        for place, (space, c) in enumerate(calibration.items())
    }


@dataclasses.dataclass(frozen=True)
class DecisionRule:
    """Decides from counts alone: copies are found if Holm's correction for `num_tests`, more than those of the counts
    where there are others, rejects one of theirs."""

    calibration: dict[str, Calibration]
    num_tests: int

    def rejects(self, counts: np.ndarray) -> np.ndarray:
        """(..., 1 + 2S, C) -> (...) bool."""
        tests = count_tests(counts, self.calibration)
        smallest = np.min([p for by_test in tests.values() for p in by_test.values()], axis=0)
        return smallest * self.num_tests <= LEVEL
