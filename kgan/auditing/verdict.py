"""What an audit concludes from what it measured: the tests together, the samples that are flagged, and the reason."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from kgan.auditing import planting
from kgan.auditing.calibration import LEVEL, Calibration, DecisionRule, Matches, Outcomes, count_tests
from kgan.auditing.result import CANNOT_TELL, COPIES_FOUND, NONE_DETECTED, AuditResult
from kgan.auditing.statistics import holm
from kgan.searching.neighbours import PIXELS

MIN_HELDOUT = 20
_MANY_REPEATS = 0.01  # of the samples
_COUNTS, _SWAP = ("count", "exceedance"), ("swap",)


def judged(
    untested: AuditResult,
    calibration: dict[str, Calibration],
    swap: dict[str, dict[str, float]],
    planted: dict[str, Matches],
) -> AuditResult:
    """The record with a verdict. `planted` are planted copies by kind, `swap` the p-values of the swap test by space.

    Copies are found if a test of the counts is rejected, or the swap test where some sample is flagged.
    """
    samples = _samples(untested)
    outcomes = Outcomes.of(samples, calibration)
    p_values = {space: tests | swap.get(space, {}) for space, tests in _of_counts(outcomes, calibration).items()}
    adjusted = _adjusted(p_values)
    flagged = _flagged(samples, outcomes, calibration)
    copies = bool(flagged) and _smallest(adjusted).p_value <= LEVEL
    limit, planted_flagged = _sensitivity(outcomes, planted, calibration, sum(map(len, p_values.values())))
    verdict = COPIES_FOUND if copies else CANNOT_TELL if limit["exact"] is None else NONE_DETECTED
    return dataclasses.replace(
        untested,
        verdict=verdict,
        reason=_reason(verdict, untested, len(flagged), adjusted, limit, _is_blinded(calibration)),
        measured_false_positive_rate=float(np.mean(np.any([c.flagged for c in calibration.values()], axis=0))),
        num_flagged=len(flagged),
        flagged=flagged,
        p_values=p_values,
        adjusted_p_values=adjusted,
        calibration={space: c.summary(samples.neighbours[space].ratios) for space, c in calibration.items()},
        detection_limit=limit,
        planted_flagged=planted_flagged,
    )


def _samples(result: AuditResult) -> Matches:
    assert result.evidence is not None
    return result.evidence.samples


def _adjusted(p_values: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    names = [(space, test) for space, tests in p_values.items() for test in tests]
    adjusted = dict(zip(names, holm([p_values[space][test] for space, test in names]).tolist(), strict=True))
    return {space: {test: adjusted[space, test] for test in tests} for space, tests in p_values.items()}


def _of_counts(outcomes: Outcomes, calibration: dict[str, Calibration]) -> dict[str, dict[str, float]]:
    distinct, sizes = outcomes.distinct()
    by_space = count_tests(np.tensordot(sizes, distinct, axes=1), calibration)
    return {space: {test: float(p) for test, p in tests.items()} for space, tests in by_space.items()}


def _sensitivity(
    outcomes: Outcomes,
    planted: dict[str, Matches],
    calibration: dict[str, Calibration],
    num_tests: int,
) -> tuple[dict[str, float | None], dict[str, float]]:
    """By kind of copy, the detection limit and the share of single planted copies that are flagged.

    Copies are planted among the samples as if none of these were flagged, since those that are may be copies
    themselves: a share of copies below the limit can escape, one above it does not. All `num_tests` are corrected for,
    but only those of the counts are repeated: planting can only lower the swap test's p-values, so the limit errs on
    the high side.
    """
    none = np.zeros_like(outcomes.flagged)
    outcomes = dataclasses.replace(outcomes, flagged=none, exceeding=none)
    rule = DecisionRule(calibration, num_tests)
    copies = {kind: Outcomes.of(matches, calibration) for kind, matches in planted.items()}
    limit = {kind: planting.detection_limit(outcomes, copies[kind], rule) for kind in copies}
    return limit, {kind: float(copies[kind].flagged.any(axis=1).mean()) for kind in copies}


def _flagged(samples: Matches, outcomes: Outcomes, calibration: dict[str, Calibration]) -> list[dict[str, Any]]:
    """One entry a flagged sample, from the space where it is the farthest below the threshold; lowest ratio first.

    A sample that equals a training image is flagged too where some held-out images do as well, so that no ratio is
    below the threshold, 0. No test is made of that.
    """
    relative = np.stack(
        [samples.neighbours[space].ratios / (c.threshold or 1) for space, c in calibration.items()], axis=1
    )
    spaces = list(calibration)
    is_flagged = outcomes.flagged.copy()
    is_flagged[samples.neighbours[PIXELS].distances == 0, spaces.index(PIXELS)] = True
    entries = []
    for sample in np.flatnonzero(is_flagged.any(axis=1)):
        flagging = [column for column in range(len(spaces)) if is_flagged[sample, column]]
        space = spaces[min(flagging, key=lambda column: relative[sample, column])]
        neighbours = samples.neighbours[space]
        entries.append(
            {
                "sample": int(sample),
                "train_index": int(neighbours.indices[sample]),
                "ratio": float(neighbours.ratios[sample]),
                "distance": float(neighbours.distances[sample]),
                "shift": neighbours.shifts[sample].tolist(),
                "mirrored": bool(neighbours.mirrored[sample]),
                "space": space,
                "flagged_in": [spaces[column] for column in flagging],
            }
        )
    return sorted(entries, key=lambda entry: entry["ratio"])


class _Test(NamedTuple):
    """A test that was made; the smallest p-value sorts first."""

    p_value: float  # after Holm's correction
    name: str
    space: str

    def __str__(self) -> str:
        return f"the {self.name} test in {self.space}, p = {self.p_value:.2g} after Holm's correction"


def _smallest(adjusted: dict[str, dict[str, float]], *names: str) -> _Test:
    """Of the tests of these names, or of all, the one with the smallest p-value; one with p = 1 if none was made."""
    tests = [_Test(p, name, space) for space, by_name in adjusted.items() for name, p in by_name.items()]
    return min((test for test in tests if not names or test.name in names), default=_Test(1.0, "", ""))


def _reason(
    verdict: str,
    untested: AuditResult,
    num_flagged: int,
    adjusted: dict[str, dict[str, float]],
    limit: dict[str, float | None],
    is_blinded: bool,
) -> str:
    num_samples, sought = untested.num_samples, untested.protocol["sought"]
    counts, swap = _smallest(adjusted, *_COUNTS), _smallest(adjusted, *_SWAP)
    is_or_are = "is" if num_flagged == 1 else "are"
    flagged = f"{num_flagged:,} of {num_samples:,} samples {is_or_are} flagged as too close to a {sought}"
    if verdict == COPIES_FOUND and counts.p_value <= LEVEL:
        repeats = _repeats(untested.duplicates, num_samples)
        return f"{flagged}, more than held-out images explain ({counts}){_by_swapping(swap)}{repeats}"
    if verdict == COPIES_FOUND:
        return (
            f"{sought}s are closer to the samples than held-out images are ({swap}), and {flagged}: no more than "
            "held-out images explain, so that by themselves these would not show copies. Look at the pairs"
        )
    if verdict == CANNOT_TELL:
        return _blind(num_samples, sought, untested.duplicates["heldout_equal"] if is_blinded else 0)
    return (
        f"at this sensitivity: {_acquittal(flagged, sought, swap, _smallest(adjusted))}. Exact copies would have been "
        f"found from a share of {limit['exact']:.2%} on"
    )


def _acquittal(flagged: str, sought: str, swap: _Test, strongest: _Test) -> str:
    """Why there are no copies, although the swap test, which shows none by itself, may have been rejected."""
    if swap.p_value <= LEVEL:
        return f"no sample is flagged, although {sought}s are closer to the samples than held-out images are ({swap})"
    return f"{flagged}, no more than held-out images explain; the smallest p-value is that of {strongest}"


def _is_blinded(calibration: dict[str, Calibration]) -> bool:
    """Whether so many held-out images equal training images that no image can be closer than they are."""
    return any(space.threshold == 0 for space in calibration.values())


def _blind(num_samples: int, sought: str, num_equal: int) -> str:
    """Why not even exact copies would be found; `num_equal` held-out images equal a training image, if that is why."""
    if num_equal:
        are = f"is a {sought}" if num_equal == 1 else f"are {sought}s"
        return (
            f"exact copies do not stand out from the held-out images, {num_equal:,} of which {are}, as it is, moved or "
            "mirrored: bring others (--heldout=DIR), or raise --alpha"
        )
    those = f"all {num_samples:,} samples were exact copies they" if num_samples > 1 else "the sample was a copy it"
    return (
        f"even if {those} would not stand out from the held-out images: "
        "draw more samples, or bring more held-out images that are not copies themselves (--heldout=DIR)"
    )


def _repeats(duplicates: dict[str, int], num_samples: int) -> str:
    """What speaks against the tests of the counts, which take the samples for as varied as held-out images: 10,000
    draws from 300 images raise a false alarm about 23 times in 100, from 2,000 about 6 times."""
    count = max(duplicates["samples_exact"], duplicates.get("samples_collapsed", 0))
    if count <= _MANY_REPEATS * num_samples:
        return ""
    return (
        f". {count:,} of the samples repeat another one, exactly or nearly, and each was counted: without the repeats "
        "the verdict might differ"
    )


def _by_swapping(swap: _Test) -> str:
    """What the swap test adds to "copies found". Where it does not agree that speaks against it: it is exact for any
    generator, the others are not for one that repeats an image, or that makes a kind which strata do not tell apart
    (the cars of CIFAR-10)."""
    if not swap.name:
        return ""
    if swap.p_value <= LEVEL:
        return f"; the reverse search agrees ({swap})"
    return (
        f". The swap test does not confirm this (p = {swap.p_value:.2g}): look at the pairs. Few copies, or many of "
        "one image, escape it; and a generator of one narrow kind can come close to training images without copying "
        "them"
    )


def too_few(num_heldout: int) -> str:
    """The reason of an audit without a test."""
    images = "image is" if num_heldout == 1 else "images are"
    return (
        f"{num_heldout} held-out {images} too few to calibrate with, at least {MIN_HELDOUT} are needed: name more "
        "images of the same origin that the generator never saw (--heldout=DIR)"
    )


def lone(sought: str, num_sought: int, num_equal: int) -> str:
    """The reason where there is a single image to look for, or several that are nearly the same, and no more samples
    than chance explains equal it."""
    if num_equal:
        return (
            f"samples that show the single {sought}, as it is, moved or mirrored: {num_equal:,}, which so few held-out "
            "images cannot tell from chance: look at the pairs, and bring more (--heldout=DIR)"
        )
    single = f"there is a single {sought} to look for"
    alike = f"the {num_sought:,} {sought}s to look for are nearly the same image"
    return (
        f"{single if num_sought == 1 else alike}, and beyond exact copies an image is close only in comparison with "
        "the next one: add others of the same kind"
    )
