"""The copy audit: did a generator learn from its training images, or does it hand them out again?

Samples and held-out images, which the generator never saw, are searched for among the training images in the same
way. A copy's ratio (see `neighbour_ratios`) is small, also relative to what is usual around its neighbour. An honest
generator's samples have no more small relative ratios than held-out images have, and that is tested, in pixel space
and in that of 64 principal components:

- count: samples below a threshold that half of the held-out images set, against the beta-binomial distribution;
- exceedance: samples below every held-out image, against the hypergeometric one;
- swap: the search turned round. Training and held-out images are searched for among the samples; without copying the
  two are exchangeable, however poor the generator is.

Holm's correction covers all of them. `audit` never says that images are free to use: it says what was looked for,
at what false-positive rate, and the smallest share of copies that it would have found.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kgan.evaluation import planting
from kgan.evaluation.calibration import LEVEL, Calibration, Marks, Rule, marked
from kgan.evaluation.neighbours import (
    DUPLICATE_RADIUS,
    PCA,
    PIXELS,
    SPACES,
    Neighbours,
    NeighbourSearch,
    neighbour_ratios,
)
from kgan.evaluation.statistics import (
    copying_statistic,
    exceedance_pvalue,
    holm,
    k_means,
    nearest_centre,
)

__all__ = ["AuditResult", "Evidence", "audit", "exceedance_pvalue", "neighbour_ratios"]

COPIES_FOUND, NONE_DETECTED, CANNOT_TELL = "copies found", "no copying detected", "cannot tell"
MIN_HELDOUT = 20

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the verdict rests on, for pictures: by space, the neighbours among the training images."""

    samples: dict[str, Neighbours]
    heldout: dict[str, Neighbours]


@dataclasses.dataclass
class AuditResult:
    """The record of an audit; `dataclasses.asdict` of it is audit.json.

    `flagged` has one entry a flagged sample, lowest ratio first: sample, train_index, ratio, relative_ratio (which the
    thresholds are for), distance (Euclidean, in grey levels), shift (dy, dx), mirrored, space, and the spaces that flag
    it. `p_values` and `adjusted_p_values` (Holm) are by space, then test. `detection_limit` is, by kind of copy, the
    smallest planted share that is found 95
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


def audit(
    samples: np.ndarray,
    train: np.ndarray,
    heldout: np.ndarray,
    alpha: float = 1e-3,
    shifts: int = 1,
    mirror: bool | None = None,
    swap: bool = True,
    passes_per_image: float | None = None,
    other_p_values: Mapping[str, Mapping[str, float]] | None = None,
    progress: Progress | None = None,
) -> AuditResult:
    """Tests whether `samples` contain more near-copies of `train` than `heldout`, images of the same origin, does.

    All three are uint8 (n, h, w, c). `alpha` is the false-positive rate an image that is flagged is calibrated to;
    `mirror` None looks for mirror images in colour only. `swap=False` where `train` and `heldout` are not exchangeable
    (a collection of known works). `other_p_values`, by group and test, join Holm's correction. `progress(done, total)`
    counts pairs of images. Fewer than 20 held-out images give "cannot tell". Raises ValueError for arrays of other
    types or shapes that differ, without samples or training images, and for alpha outside (0, 1).
    """
    _check(samples, train, heldout, alpha)
    mirror = train.shape[-1] == 3 if mirror is None else mirror
    tested = len(heldout) >= MIN_HELDOUT
    copied = planting.chosen_for_planting(len(train)) if tested else []
    kinds = planting.kinds_of_copy(mirror) if tested else ()
    counter = _Counter(
        progress, _num_pairs(len(samples), len(train), len(heldout), len(kinds) * len(copied), tested and swap)
    )

    search = NeighbourSearch(train, shifts=shifts, mirror=mirror, collapse=True, localise=True)
    evidence = Evidence(*(search.search(images, progress=counter.step(len(train))) for images in (samples, heldout)))
    planted = {
        kind: search.search(planting.altered(train[copied], kind), progress=counter.step(len(train))) for kind in kinds
    }
    record = {
        "alpha": alpha,
        "num_samples": len(samples),
        "passes_per_image": passes_per_image,
        "duplicates": _duplicates(search, train, heldout, evidence),
        "copying_statistic": _copying_statistic(search, samples, train, heldout, evidence),
        "protocol": _protocol(search, samples, train, heldout),
        "evidence": evidence,
    }
    del search  # its memory is needed for the swap
    if not tested:
        return _untested(len(heldout), record)
    calibration = {space: Calibration.of(evidence.heldout[space].relative_ratios, alpha) for space in SPACES}
    p_values = {space: calibration[space].p_values(evidence.samples[space].relative_ratios) for space in SPACES}
    if swap:
        for space, p_value in _swap_test(samples, train, heldout, shifts, mirror, counter).items():
            p_values[space]["swap"] = p_value
    p_values |= {group: dict(tests) for group, tests in (other_p_values or {}).items()}
    return _judged(record, calibration, p_values, planted)


def _swap_test(
    samples: np.ndarray, train: np.ndarray, heldout: np.ndarray, shifts: int, mirror: bool, counter: "_Counter"
) -> dict[str, float]:
    """By space, the exceedance of training images over held-out ones, both searched for among the samples.

    Principal components and usual ratios are those of the samples: the training images' own would treat the two unlike.
    """
    search = NeighbourSearch(samples, shifts=shifts, mirror=mirror, collapse=True, localise=True)
    theirs = search.search(heldout, progress=counter.step(len(samples)))
    ours = search.search(train, progress=counter.step(len(samples)))
    exceeding = {
        space: int((ours[space].relative_ratios < theirs[space].relative_ratios.min()).sum()) for space in SPACES
    }
    return {space: exceedance_pvalue(len(train), len(heldout), exceeding[space]) for space in SPACES}


def _judged(
    record: dict[str, Any],
    calibration: dict[str, Calibration],
    p_values: dict[str, dict[str, float]],
    planted: dict[str, dict[str, Neighbours]],
) -> AuditResult:
    samples = record["evidence"].samples
    adjusted = _adjusted(p_values)
    flagged = _flagged(samples, calibration)
    found = bool(flagged) and min(min(tests.values()) for tests in adjusted.values()) <= LEVEL
    limit, planted_flagged = _sensitivity(samples, planted, calibration, p_values, found)
    verdict = COPIES_FOUND if found else CANNOT_TELL if limit["exact"] is None else NONE_DETECTED
    return AuditResult(
        verdict=verdict,
        reason=_reason(verdict, record["num_samples"], len(flagged), adjusted, limit),
        measured_false_positive_rate=float(np.mean(np.any([c.flagged for c in calibration.values()], axis=0))),
        num_flagged=len(flagged),
        flagged=flagged,
        p_values=p_values,
        adjusted_p_values=adjusted,
        calibration={space: c.summary(samples[space].relative_ratios) for space, c in calibration.items()},
        detection_limit=limit,
        planted_flagged=planted_flagged,
        **record,
    )


def _adjusted(p_values: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    names = [(group, test) for group, tests in p_values.items() for test in tests]
    adjusted = dict(zip(names, holm([p_values[group][test] for group, test in names]).tolist(), strict=True))
    return {group: {test: adjusted[group, test] for test in tests} for group, tests in p_values.items()}


def _sensitivity(
    samples: dict[str, Neighbours],
    planted: dict[str, dict[str, Neighbours]],
    calibration: dict[str, Calibration],
    p_values: dict[str, dict[str, float]],
    found: bool,
) -> tuple[dict[str, float | None], dict[str, float]]:
    """By kind of copy, the detection limit and the share of single planted copies that are flagged.

    Planting can only lower the swap test's p-values; they are left as they are, so the limit errs on the high side.
    Where copies were found, the limit is that of an audit in which these copies, and what they did, are absent.
    """
    marks = marked(samples, calibration)
    others = [p for tests in p_values.values() for test, p in tests.items() if test not in ("count", "exceedance")]
    num_tests = sum(len(tests) for tests in p_values.values())
    if found:
        marks, others = Marks(np.zeros_like(marks.flagged), np.zeros_like(marks.exceeding)), []
    rule = Rule(calibration, len(marks.flagged), num_tests, min(others, default=1.0))
    copies = {kind: marked(neighbours, calibration) for kind, neighbours in planted.items()}
    limit = {kind: planting.detection_limit(marks, copies[kind], rule) for kind in copies}
    return limit, {kind: float(copies[kind].flagged.any(axis=1).mean()) for kind in copies}


def _flagged(samples: dict[str, Neighbours], calibration: dict[str, Calibration]) -> list[dict[str, Any]]:
    """One entry a flagged sample, from the space where it is the farthest below the threshold; lowest ratio first."""
    below = marked(samples, calibration).flagged
    relative = np.stack(
        [samples[space].relative_ratios / (c.threshold or 1) for space, c in calibration.items()], axis=1
    )
    spaces = list(calibration)
    entries = []
    for sample in np.flatnonzero(below.any(axis=1)):
        flagging = [column for column in range(len(spaces)) if below[sample, column]]
        space = spaces[min(flagging, key=lambda column: relative[sample, column])]
        found = samples[space]
        entries.append(
            {
                "sample": int(sample),
                "train_index": int(found.indices[sample]),
                "ratio": float(found.ratios[sample]),
                "relative_ratio": float(found.relative_ratios[sample]),
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
        return f"{flagged}, more than held-out images explain: {strongest}"
    if verdict == CANNOT_TELL:
        return (
            f"even if every one of {num_samples} samples were an exact copy it would not stand out from the held-out "
            "images: draw more samples, or bring more held-out images that are not copies themselves (--heldout=DIR)"
        )
    text = f"{flagged}, no more than held-out images explain; {strongest}"
    if p_value <= LEVEL:
        text = f"no sample is flagged, although {strongest}: the samples know their training images in a milder way"
    return f"at this sensitivity: {text}. Exact copies would have been found from a share of {limit['exact']:.2%} on"


def _untested(num_heldout: int, record: dict[str, Any]) -> AuditResult:
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


def _copying_statistic(
    search: NeighbourSearch, samples: np.ndarray, train: np.ndarray, heldout: np.ndarray, evidence: Evidence
) -> dict[str, float | int | None]:
    """C_T on distances and k-means cells in the space of principal components; a cell a hundred held-out images."""
    centres = k_means(search.coordinates(train[search.kept]), min(20, max(1, len(heldout) // 100)))
    sample_cells, heldout_cells = (nearest_centre(search.coordinates(images), centres) for images in (samples, heldout))
    return copying_statistic(
        evidence.samples[PCA].distances, evidence.heldout[PCA].distances, sample_cells, heldout_cells
    )


def _duplicates(search: NeighbourSearch, train: np.ndarray, heldout: np.ndarray, evidence: Evidence) -> dict[str, int]:
    """Counts only: a duplicate between held-out and training images is part of what honest closeness is."""
    known = {_digest(image) for image in train}
    return {
        "train_exact": len(train) - len(known),
        "train_collapsed": len(train) - len(search.kept),
        "heldout_exact": sum(_digest(image) in known for image in heldout),
        "heldout_near": int((evidence.heldout[PIXELS].distances <= search.radius).sum()),
    }


def _protocol(search: NeighbourSearch, samples: np.ndarray, train: np.ndarray, heldout: np.ndarray) -> dict[str, Any]:
    arrays = {"samples": samples, "train": train, "heldout": heldout}
    return {
        "num_train": len(train),
        "num_heldout": len(heldout),
        "image_shape": list(train.shape[1:]),
        "k": search.k,
        "shifts": search.shifts,
        "mirror": search.mirror,
        "spaces": list(SPACES),
        "pca_components": search.num_components,
        "duplicate_radius": DUPLICATE_RADIUS,
        "distance": "Euclidean, in grey levels, over the training image less `shifts` pixels at each edge",
        "correction": "Holm",
        "level": LEVEL,
        "power": planting.POWER,
        "sha256": {name: _digest(array) for name, array in arrays.items()},
    }


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def _check(samples: np.ndarray, train: np.ndarray, heldout: np.ndarray, alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha}: it must be between 0 and 1")
    for name, images in {"samples": samples, "train": train, "heldout": heldout}.items():
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(
                f"{name} must be uint8 (n, h, w, c), not {images.dtype} {images.shape} (kgan.images.to_uint8)"
            )
        if images.shape[1:] != train.shape[1:]:
            raise ValueError(f"{name} are {images.shape[1:]} images, the training images {train.shape[1:]}")
    if len(samples) == 0 or len(train) == 0:
        raise ValueError("there must be samples and training images")


class _Counter:
    """Adds up the searches of an audit, in pairs of images, for one progress bar."""

    def __init__(self, progress: Progress | None, total: int):
        self.progress, self.total, self.done = progress, total, 0

    def step(self, num_references: int) -> Progress:
        start = self.done

        def report(done: int, _: int) -> None:
            self.done = start + done * num_references
            if self.progress:
                self.progress(min(self.done, self.total), self.total)

        return report


def _num_pairs(num_samples: int, num_train: int, num_heldout: int, num_planted: int, swap: bool) -> int:
    pairs = (num_samples + num_heldout + num_planted) * num_train
    return pairs + (num_heldout + num_train) * num_samples * swap
