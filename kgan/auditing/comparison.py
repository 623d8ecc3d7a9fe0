"""The comparison behind the copy audit: did a generator learn from its training images, or does it hand them out again?

Samples and held-out images, which the generator never saw, are searched for among the training images in the same
way. A copy's ratio (see `neighbour_ratios`) is small. Without copying, samples have no more small ratios than held-out
images of the same kinds have, and that is tested, in pixel space and in that of 64 principal components (of large
images, those of sums over blocks of pixels, see `coarse`):

- count: samples below a threshold that held-out images set, against the beta-binomial distribution;
- exceedance: samples below every held-out image, against the hypergeometric one;
- swap: the search turned round. Training and held-out images are searched for among the samples; without copying the
  two are exchangeable, however poor the generator is. Images that stand in both sets are left out of it.

Kinds are the cells of a k-means of the training images, a hundred held-out images each (see `calibration`): a generator
that makes one kind only is held against that kind.

Count and exceedance take the samples for as varied as the held-out images: of a generator that makes a few images over
and over, one that happens to be close to a training image counts as often as it was drawn. Where they find copies among
samples that repeat each other, exactly or nearly, the reason says so.

Holm's correction covers all of them. Copies are found if count or exceedance is rejected, or swap where some sample is
flagged. `compare` never says that images are free to use: it says what was looked for, at what false-positive rate, and
the smallest share of copies that it would have detected.
"""

import collections
import dataclasses
import hashlib
from typing import Any

import numpy as np

from kgan.auditing import planting, verdict
from kgan.auditing.calibration import LEVEL, Calibration, Matches
from kgan.auditing.pairs import closest_pairs
from kgan.auditing.result import CANNOT_TELL, NONE_DETECTED, AuditResult, Evidence
from kgan.auditing.statistics import exceedance_pvalue, histograms, k_means, nearest_centre
from kgan.data.view import Images, view_of
from kgan.progress import Counter, Progress
from kgan.searching.neighbours import DUPLICATE_RADIUS, PCA, PIXELS, SPACES, NeighbourSearch

_MOST_STRATA, _HELDOUT_PER_STRATUM = 50, 100
_DIGEST_ROWS = 1024


def compare(
    samples: Images,
    train: Images,
    heldout: Images,
    alpha: float = 1e-3,
    shifts: int = 1,
    exchangeable: bool = True,
    flipped: bool = False,
    passes_per_image: float | None = None,
    progress: Progress | None = None,
) -> AuditResult:
    """Tests whether `samples` contain more near-copies of `train` than `heldout`, images of the same origin, does.

    All three are uint8 (n, h, w, c): arrays, memory maps or views of them. `alpha` is the false-positive rate that
    flagging an image is calibrated to. Mirror images are looked for in colour, and where the generator was trained on
    `flipped` images. `exchangeable=False` where `train` is a collection of known works, not of one origin with
    `heldout`: no strata then, and no swap test. Held-out images that repeat each other calibrate once, and those that
    are samples too, and no training images, not at all. `progress(done, total)` counts pairs of images. Fewer than 20
    held-out images give "cannot tell", and so does a single image to look for, unless too many samples equal it. Raises
    ValueError for arrays of other types or shapes that differ, without samples or training images, and for alpha
    outside (0, 1).
    """
    _check(samples, train, heldout, alpha)
    mirror = flipped or train.shape[-1] == 3
    images = {"samples": samples, "train": train, "heldout": heldout}
    digests = {name: _digests(array, mirror) for name, array in images.items()}
    rows = _calibrating(digests)
    distinct = view_of(heldout, rows)
    tested = len(distinct) >= verdict.MIN_HELDOUT
    copied = planting.planted_indices(len(train)) if tested else np.zeros(0, np.int64)
    kinds = planting.kinds_of_copy(mirror) if tested else ()
    searched = len(samples) + len(distinct) + len(kinds) * len(copied)
    swapped = len(heldout) + len(train) if tested and exchangeable else 0
    counter = Counter(progress, searched * len(train) + swapped * len(samples))
    num_strata = min(_MOST_STRATA, max(1, len(distinct) // _HELDOUT_PER_STRATUM)) if exchangeable else 1
    search = _Search(train, shifts, mirror, num_strata, counter)
    evidence = Evidence(search.matches(samples), search.matches(distinct))
    planted = search.matches_by_kind({kind: planting.altered(train[copied], kind) for kind in kinds})
    result = AuditResult(
        verdict=CANNOT_TELL,
        reason=verdict.too_few(len(distinct)),
        alpha=alpha,
        num_samples=len(samples),
        duplicates=_duplicates(search.references, digests, evidence.heldout),
        passes_per_image=passes_per_image,
        histograms=_histograms(evidence),
        protocol=_protocol(search.references, samples, train, distinct)
        | {"sought": "training image" if exchangeable else "known work", "num_strata": len(search.centres)},
        evidence=evidence,
    )
    is_lone = len(search.references.kept) == 1
    del search  # its memory is needed for the swap test
    if tested:
        calibration = Calibration.by_space(evidence.heldout, result.protocol["num_strata"], alpha)
        swap: dict[str, dict[str, float]] = {}
        if exchangeable:
            only_train, only_heldout = _without_twins((train, digests["train"]), (heldout, digests["heldout"]))
            swap, collapsed = _swap_test(samples, only_train, only_heldout, shifts, mirror, counter)
            result.duplicates["samples_collapsed"] = collapsed
        result = verdict.judged(result, calibration, swap, planted)
        if is_lone and result.verdict == NONE_DETECTED:
            result = _untold(result, evidence)
    return _with_pairs(result, samples, train, heldout, rows)


def _histograms(evidence: Evidence) -> dict[str, dict[str, Any]]:
    return {
        space: histograms(neighbours.ratios, evidence.heldout.neighbours[space].ratios)
        for space, neighbours in evidence.samples.neighbours.items()
    }


def _untold(result: AuditResult, evidence: Evidence) -> AuditResult:
    """The result where a single image was looked for: of that, less than exact copies cannot be told."""
    num_equal = int((evidence.samples.neighbours[PIXELS].distances == 0).sum())
    reason = verdict.lone(result.protocol["sought"], result.protocol["num_train"], num_equal)
    return dataclasses.replace(result, verdict=CANNOT_TELL, reason=reason)


class _Search:
    """Training images, ready to be searched for the neighbours and strata of others."""

    def __init__(self, train: Images, shifts: int, mirror: bool, num_strata: int, counter: Counter):
        self.references = NeighbourSearch(train, shifts=shifts, mirror=mirror, collapse=True)
        self.centres = k_means(self.references.spaces[PCA].reduced.vectors, num_strata)
        self.counter, self.num_train = counter, len(train)

    def matches(self, images: Images) -> Matches:
        neighbours = self.references.search(images, progress=self.counter.stage(len(images), self.num_train))
        return Matches(neighbours, nearest_centre(self.references.coordinates(images), self.centres))

    def matches_by_kind(self, images: dict[str, np.ndarray]) -> dict[str, Matches]:
        """The matches of several arrays, in one search."""
        if not images:
            return {}
        together, stops = self.matches(np.concatenate(list(images.values()))), np.cumsum([*map(len, images.values())])
        return {kind: together[slice(stop - len(images[kind]), stop)] for kind, stop in zip(images, stops, strict=True)}


def _with_pairs(result: AuditResult, samples: Images, train: Images, heldout: Images, rows: np.ndarray) -> AuditResult:
    """The result with the pixels of the closest pairs; `rows` of the held-out images were searched for."""
    evidence = result.evidence
    assert evidence is not None
    thresholds = {space: float(values["threshold"]) for space, values in result.calibration.items()}
    evidence = dataclasses.replace(
        evidence, sample_pairs=closest_pairs(evidence.samples.neighbours, samples, train, thresholds)
    )
    if len(rows):
        pairs = closest_pairs(evidence.heldout.neighbours, view_of(heldout, rows), train, thresholds)
        evidence = dataclasses.replace(evidence, heldout_pairs=dataclasses.replace(pairs, indices=rows[pairs.indices]))
    return dataclasses.replace(result, evidence=evidence)


def _swap_test(
    samples: Images, train: Images, heldout: Images, shifts: int, mirror: bool, counter: Counter
) -> tuple[dict[str, dict[str, float]], int]:
    """By space, the exceedance of training images over held-out ones, both searched for among the samples; and how many
    samples are near-duplicates of others.

    Principal components are those of the samples: the training images' own would treat the two unlike.
    """
    search = NeighbourSearch(samples, shifts=shifts, mirror=mirror, collapse=True)
    if not (len(train) and len(heldout)):
        return {space: {"swap": 1.0} for space in SPACES}, len(samples) - len(search.kept)
    theirs = search.search(heldout, progress=counter.stage(len(heldout), len(samples)))
    smallest = {space: float(theirs[space].ratios.min()) for space in SPACES}
    exceeding = search.count_below(train, smallest, progress=counter.stage(len(train), len(samples)))
    p_values = {space: {"swap": exceedance_pvalue(len(train), len(heldout), exceeding[space])} for space in SPACES}
    return p_values, len(samples) - len(search.kept)


def _calibrating(digests: dict[str, list[str]]) -> np.ndarray:
    """The rows of the held-out images that calibrate, ascending int64.

    Of those that repeat each other it is the first: counted twice, an image that lies far from the training images
    would make those of samples look close. An image that is a sample too did come out of the generator: where it nearly
    copies a training image it would hide such copies. One that is a training image besides shows how often images are
    the same without copying, and stays.
    """
    drawn = _drawn(digests)
    first: dict[str, int] = {}
    for row, digest in enumerate(digests["heldout"]):
        if digest not in drawn:
            first.setdefault(digest, row)
    return np.array([*first.values()], np.int64)


def _without_twins(*sets: tuple[Images, list[str]]) -> list[Images]:
    """The images of each set, given with their digests, that equal no other image of any.

    A held-out image that also stands in the training set is as close as a copy, and would hide all copies. What is left
    out follows from the images alone, whichever set they are in, so that those left are as exchangeable as before.
    """
    counts = collections.Counter(digest for _, digests in sets for digest in digests)
    alone = [np.flatnonzero([counts[digest] == 1 for digest in digests]) for _, digests in sets]
    return [
        images if len(rows) == len(images) else view_of(images, rows)
        for (images, _), rows in zip(sets, alone, strict=True)
    ]


def _drawn(digests: dict[str, list[str]]) -> set[str]:
    """Those of samples that are no training images."""
    return set(digests["samples"]) - set(digests["train"])


def _duplicates(search: NeighbourSearch, digests: dict[str, list[str]], heldout: Matches) -> dict[str, int]:
    """Counts only: a duplicate between held-out and training images shows how close images come without copying."""
    known, drawn = set(digests["train"]), _drawn(digests)
    num_drawn = sum(digest in drawn for digest in digests["heldout"])
    return {
        "samples_exact": len(digests["samples"]) - len(set(digests["samples"])),
        "train_exact": len(digests["train"]) - len(known),
        "train_collapsed": len(digests["train"]) - len(search.kept),
        "heldout_exact": sum(digest in known for digest in digests["heldout"]),
        "heldout_sampled": num_drawn,
        "heldout_repeated": len(digests["heldout"]) - num_drawn - len(heldout.strata),
        "heldout_equal": int((heldout.neighbours[PIXELS].distances == 0).sum()),
        "heldout_near": int((heldout.neighbours[PIXELS].distances <= search.radius).sum()),
    }


def _protocol(search: NeighbourSearch, samples: Images, train: Images, heldout: Images) -> dict[str, Any]:
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
        "pca_block_side": search.coarse.side if search.coarse else 1,  # pixels; the components are those of block sums
        "duplicate_radius": DUPLICATE_RADIUS,
        "distance": "Euclidean, in grey levels, over the training image less `shifts` pixels at each edge",
        "correction": "Holm",
        "level": LEVEL,
        "power": planting.POWER,
        "sha256": {name: _digest(array) for name, array in arrays.items()},
    }


def _digests(images: Images, mirror: bool) -> list[str]:
    """Of each image; with `mirror` an image and its mirror image, which are the same to the search, have one digest."""
    found = [_digest(images[row]) for row in range(len(images))]
    return [min(digest, _digest(images[row][:, ::-1])) for row, digest in enumerate(found)] if mirror else found


def _digest(array: Images) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(array), _DIGEST_ROWS):
        digest.update(np.ascontiguousarray(array[start : start + _DIGEST_ROWS]).data)
    return digest.hexdigest()


def _check(samples: Images, train: Images, heldout: Images, alpha: float) -> None:
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
