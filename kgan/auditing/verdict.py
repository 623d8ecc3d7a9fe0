"""What an audit concludes from what it measured: the tests together, the samples that are flagged, and the reason."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from kgan.auditing import planting
from kgan.auditing.calibration import LEVEL, Calibration, DecisionRule, Matches, Outcomes, count_tests
from kgan.auditing.result import CANNOT_TELL, COPIES_FOUND, NONE_DETECTED, AuditResult
from kgan.auditing.statistics import holm

MIN_HELDOUT = 20


def judged(
    untested: AuditResult,
    calibration: dict[str, Calibration],
    other_p_values: Mapping[str, Mapping[str, float]],
    planted: dict[str, Matches],
) -> AuditResult:
    """The record with a verdict. `planted` are planted copies by kind.

    `other_p_values`, by group and test, join those of the counts in Holm's correction.
    """
    samples = _samples(untested)
    outcomes = Outcomes.of(samples, calibration)
    p_values = _of_counts(outcomes, calibration)
    for group, tests in other_p_values.items():
        p_values[group] = p_values.get(group, {}) | dict(tests)
    adjusted = _adjusted(p_values)
    flagged = _flagged(samples, outcomes, calibration)
    copies = bool(flagged) and min(min(tests.values()) for tests in adjusted.values()) <= LEVEL
    limit, planted_flagged = _sensitivity(outcomes, planted, calibration, p_values, copies)
    verdict = COPIES_FOUND if copies else CANNOT_TELL if limit["exact"] is None else NONE_DETECTED
    return dataclasses.replace(
        untested,
        verdict=verdict,
        reason=_reason(verdict, untested, len(flagged), adjusted, limit),
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
    names = [(group, test) for group, tests in p_values.items() for test in tests]
    adjusted = dict(zip(names, holm([p_values[group][test] for group, test in names]).tolist(), strict=True))
    return {group: {test: adjusted[group, test] for test in tests} for group, tests in p_values.items()}


def _of_counts(outcomes: Outcomes, calibration: dict[str, Calibration]) -> dict[str, dict[str, float]]:
    distinct, sizes = outcomes.distinct()
    by_space = count_tests(np.tensordot(sizes, distinct, axes=1), calibration)
    return {space: {test: float(p) for test, p in tests.items()} for space, tests in by_space.items()}


def _sensitivity(
    outcomes: Outcomes,
    planted: dict[str, Matches],
    calibration: dict[str, Calibration],
    p_values: dict[str, dict[str, float]],
    copies_found: bool,
) -> tuple[dict[str, float | None], dict[str, float]]:
    """By kind of copy, the detection limit and the share of single planted copies that are flagged.

    Copies are planted among the samples as if none of these were flagged, since those that are may be copies
    themselves: a share of copies below the limit can escape, one above it does not. Planting can only lower the swap
    test's p-values; they are left as they are, so the limit errs on the high side. Where copies were found they are
    left out, since the copies made them what they are.
    """
    others = [p for tests in p_values.values() for test, p in tests.items() if test not in ("count", "exceedance")]
    num_tests = sum(len(tests) for tests in p_values.values())
    none = np.zeros_like(outcomes.flagged)
    outcomes = dataclasses.replace(outcomes, flagged=none, exceeding=none)
    rule = DecisionRule(calibration, num_tests, 1.0 if copies_found else min(others, default=1.0))
    copies = {kind: Outcomes.of(matches, calibration) for kind, matches in planted.items()}
    limit = {kind: planting.detection_limit(outcomes, copies[kind], rule) for kind in copies}
    return limit, {kind: float(copies[kind].flagged.any(axis=1).mean()) for kind in copies}


def _flagged(samples: Matches, outcomes: Outcomes, calibration: dict[str, Calibration]) -> list[dict[str, Any]]:
    """One entry a flagged sample, from the space where it is the farthest below the threshold; lowest ratio first."""
    relative = np.stack(
        [samples.neighbours[space].ratios / (c.threshold or 1) for space, c in calibration.items()], axis=1
    )
    spaces = list(calibration)
    entries = []
    for sample in np.flatnonzero(outcomes.flagged.any(axis=1)):
        flagging = [column for column in range(len(spaces)) if outcomes.flagged[sample, column]]
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


def _reason(
    verdict: str,
    untested: AuditResult,
    num_flagged: int,
    adjusted: dict[str, dict[str, float]],
    limit: dict[str, float | None],
) -> str:
    num_samples, sought = untested.num_samples, untested.protocol["sought"]
    p_value, test, space = min((p, test, space) for space, tests in adjusted.items() for test, p in tests.items())
    flagged = f"{num_flagged:,} of {num_samples:,} samples are flagged as close to one {sought}"
    strongest = f"the {test} test in {space} has the smallest p-value, {p_value:.2g} after Holm's correction"
    if verdict == COPIES_FOUND:
        return f"{flagged}, more than held-out images explain: {strongest}{_doubt(adjusted)}"
    if verdict == CANNOT_TELL:
        return (
            f"even if all {num_samples:,} samples were exact copies they would not stand out from the held-out "
            "images: draw more samples, or bring more held-out images that are not copies themselves (--heldout=DIR)"
        )
    text = f"{flagged}, no more than held-out images explain; {strongest}"
    if p_value <= LEVEL:
        text = f"no sample is flagged, although {strongest}: the samples know the {sought}s in a milder way"
    return f"at this sensitivity: {text}. Exact copies would have been found from a share of {limit['exact']:.2%} on"


def _doubt(adjusted: dict[str, dict[str, float]]) -> str:
    """What speaks against a verdict of "copies found": the swap test is exact for any generator, the others are not for
    one that repeats an image, or that makes a kind which strata do not tell apart (the cars of CIFAR-10)."""
    swaps = [tests["swap"] for tests in adjusted.values() if "swap" in tests]
    if not swaps or min(swaps) <= LEVEL:
        return ""
    return (
        f". The swap test does not confirm this (p = {min(swaps):.2g}): look at the pairs. Few copies, or many of one "
        "image, escape it; and a generator of one narrow kind can come close to training images without copying them"
    )


def too_few(num_heldout: int) -> str:
    """The reason of an audit without a test."""
    return (
        f"{num_heldout} held-out images are too few to calibrate with, at least {MIN_HELDOUT} are needed: name more "
        "images of the same origin that the generator never saw (--heldout=DIR)"
    )
