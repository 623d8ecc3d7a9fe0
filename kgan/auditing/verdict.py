"""What an audit concludes from what it measured: p-values together, the samples that are flagged, and what it says."""

import dataclasses
from typing import Any

import numpy as np

from kgan.auditing import planting
from kgan.auditing.calibration import LEVEL, Calibration, Located, Marks, Rule, count_tests
from kgan.auditing.statistics import holm

COPIES_FOUND, NONE_DETECTED, CANNOT_TELL = "copies found", "no copying detected", "cannot tell"
MIN_HELDOUT = 20


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the verdict rests on, for pictures."""

    samples: Located
    heldout: Located


@dataclasses.dataclass
class AuditResult:
    """The record of an audit; `dataclasses.asdict` of it is audit.json.

    `flagged` has one entry a flagged sample, lowest ratio first: sample, train_index, ratio, distance (Euclidean, in
    grey levels), shift (dy, dx), mirrored, space, and the spaces that flag it. `p_values` and `adjusted_p_values`
    (Holm) are by space, then test. `detection_limit` is, by kind of copy, the smallest planted share that is found 95
    times in 100 (None: not even if all samples were such copies); `planted_flagged` the share of single planted copies
    that are flagged. `evidence` is kept out of the record.
    """

    verdict: str
    reason: str
    alpha: float
    measured_false_positive_rate: float | None
    num_samples: int
    num_flagged: int
    flagged: list[dict[str, Any]]
    p_values: dict[str, dict[str, float]]
    adjusted_p_values: dict[str, dict[str, float]]
    calibration: dict[str, dict[str, float | int]]
    detection_limit: dict[str, float | None]
    planted_flagged: dict[str, float]
    copying_statistic: dict[str, float | int | None]
    duplicates: dict[str, int]
    passes_per_image: float | None
    protocol: dict[str, Any]
    evidence: dataclasses.InitVar[Evidence | None] = None

    def __post_init__(self, evidence: Evidence | None) -> None:
        self.evidence = evidence


def judged(
    record: dict[str, Any],
    calibration: dict[str, Calibration],
    other_p_values: dict[str, dict[str, float]],
    planted: dict[str, Located],
) -> AuditResult:
    """The verdict, with what else `AuditResult` has that is not in `record` yet; `planted` are copies by kind.

    `other_p_values`, by group and test, join those of the counts in Holm's correction.
    """
    samples = record["evidence"].samples
    marks = Marks.of(samples, calibration)
    p_values = _of_counts(marks, calibration)
    for group, tests in other_p_values.items():
        p_values[group] = p_values.get(group, {}) | dict(tests)
    adjusted = _adjusted(p_values)
    flagged = _flagged(samples, marks, calibration)
    found = bool(flagged) and min(min(tests.values()) for tests in adjusted.values()) <= LEVEL
    limit, planted_flagged = _sensitivity(marks, planted, calibration, p_values, found)
    verdict = COPIES_FOUND if found else CANNOT_TELL if limit["exact"] is None else NONE_DETECTED
    return AuditResult(
        verdict=verdict,
        reason=_reason(verdict, record["num_samples"], len(flagged), adjusted, limit),
        measured_false_positive_rate=float(np.mean(np.any([c.flagged for c in calibration.values()], axis=0))),
        num_flagged=len(flagged),
        flagged=flagged,
        p_values=p_values,
        adjusted_p_values=adjusted,
        calibration={space: c.summary(samples.neighbours[space].ratios) for space, c in calibration.items()},
        detection_limit=limit,
        planted_flagged=planted_flagged,
        **record,
    )


def _adjusted(p_values: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    names = [(group, test) for group, tests in p_values.items() for test in tests]
    adjusted = dict(zip(names, holm([p_values[group][test] for group, test in names]).tolist(), strict=True))
    return {group: {test: adjusted[group, test] for test in tests} for group, tests in p_values.items()}


def _of_counts(marks: Marks, calibration: dict[str, Calibration]) -> dict[str, dict[str, float]]:
    outcomes, sizes = marks.outcomes()
    found = count_tests(np.tensordot(sizes, outcomes, axes=1), calibration)
    return {space: {test: float(p) for test, p in tests.items()} for space, tests in found.items()}


def _sensitivity(
    marks: Marks,
    planted: dict[str, Located],
    calibration: dict[str, Calibration],
    p_values: dict[str, dict[str, float]],
    found: bool,
) -> tuple[dict[str, float | None], dict[str, float]]:
    """By kind of copy, the detection limit and the share of single planted copies that are flagged.

    Planting can only lower the swap test's p-values; they are left as they are, so the limit errs on the high side.
    Where copies were found, the limit is that of an audit in which these copies, and what they did, are absent.
    """
    others = [p for tests in p_values.values() for test, p in tests.items() if test not in ("count", "exceedance")]
    num_tests = sum(len(tests) for tests in p_values.values())
    if found:
        none = np.zeros_like(marks.flagged)
        marks, others = dataclasses.replace(marks, flagged=none, exceeding=none), []
    rule = Rule(calibration, num_tests, min(others, default=1.0))
    copies = {kind: Marks.of(located, calibration) for kind, located in planted.items()}
    limit = {kind: planting.detection_limit(marks, copies[kind], rule) for kind in copies}
    return limit, {kind: float(copies[kind].flagged.any(axis=1).mean()) for kind in copies}


def _flagged(samples: Located, marks: Marks, calibration: dict[str, Calibration]) -> list[dict[str, Any]]:
    """One entry a flagged sample, from the space where it is the farthest below the threshold; lowest ratio first."""
    relative = np.stack(
        [samples.neighbours[space].ratios / (c.threshold or 1) for space, c in calibration.items()], axis=1
    )
    spaces = list(calibration)
    entries = []
    for sample in np.flatnonzero(marks.flagged.any(axis=1)):
        flagging = [column for column in range(len(spaces)) if marks.flagged[sample, column]]
        space = spaces[min(flagging, key=lambda column: relative[sample, column])]
        found = samples.neighbours[space]
        entries.append(
            {
                "sample": int(sample),
                "train_index": int(found.indices[sample]),
                "ratio": float(found.ratios[sample]),
                "distance": float(found.distances[sample]),
                "shift": found.shifts[sample].tolist(),
                "mirrored": bool(found.mirrored[sample]),
                "space": space,
                "flagged_in": [spaces[column] for column in flagging],
            }
        )
    return sorted(entries, key=lambda entry: entry["ratio"])


def _reason(
    verdict: str,
    num_samples: int,
    num_flagged: int,
    adjusted: dict[str, dict[str, float]],
    limit: dict[str, float | None],
) -> str:
    p_value, test, space = min((p, test, space) for space, tests in adjusted.items() for test, p in tests.items())
    flagged = f"{num_flagged} of {num_samples} samples are flagged as close to one training image"
    strongest = f"the {test} test in {space} has the smallest p-value, {p_value:.2g} after Holm's correction"
    if verdict == COPIES_FOUND:
        return f"{flagged}, more than held-out images explain: {strongest}{_doubt(adjusted)}"
    if verdict == CANNOT_TELL:
        return (
            f"even if every one of {num_samples} samples were an exact copy it would not stand out from the held-out "
            "images: draw more samples, or bring more held-out images that are not copies themselves (--heldout=DIR)"
        )
    text = f"{flagged}, no more than held-out images explain; {strongest}"
    if p_value <= LEVEL:
        text = f"no sample is flagged, although {strongest}: the samples know their training images in a milder way"
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


def untested(num_heldout: int, record: dict[str, Any]) -> AuditResult:
    """The verdict where there are too few held-out images to test anything."""
    return AuditResult(
        verdict=CANNOT_TELL,
        reason=(
            f"{num_heldout} held-out images are too few to calibrate with, {MIN_HELDOUT} are the least: name more "
            "images of the same origin that the generator never saw (--heldout=DIR)"
        ),
        measured_false_positive_rate=None,
        num_flagged=0,
        flagged=[],
        p_values={},
        adjusted_p_values={},
        calibration={},
        detection_limit={},
        planted_flagged={},
        **record,
    )
