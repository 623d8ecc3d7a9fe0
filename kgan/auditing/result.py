"""The record of an audit: what audit.json holds, and what its pictures are drawn from."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kgan.auditing.calibration import Matches
from kgan.auditing.pairs import Pairs
from kgan.auditing.summary import summary
from kgan.files import write_atomically
from kgan.provenance.marks import Origin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COPIES_FOUND, NONE_DETECTED, CANNOT_TELL = "copies found", "no copying detected", "cannot tell"


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a verdict rests on: the neighbours of all images, and the closest pairs of either kind with their pixels.

    `origin` says where the samples come from, for the marks of the pictures; None if nobody knows.
    """

    samples: Matches
    heldout: Matches
    sample_pairs: Pairs | None = None
    heldout_pairs: Pairs | None = None
    origin: Origin | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditResult:
    """The record of an audit. All fields but `evidence` and `skipped` are keys of audit.json.

    `flagged` has one entry for each flagged sample, lowest ratio first: sample, train_index, ratio, distance
    (Euclidean, in grey levels), shift (dy, dx), mirrored, space, the spaces that flag it, and its file if it lay in a
    folder. `p_values` and `adjusted_p_values` (Holm) are by space, then test. `histograms` are of the ratios by space:
    the shares of "samples" and of "heldout" images in equal bins from 0 to "top".
    `detection_limit` is, by kind of copy, the smallest planted share that is detected 95 times in 100 (None: not even
    if all samples were such copies); `planted_flagged` the share of single planted copies that are flagged.
    `latent_recovery` is in the file only if it was asked for. `skipped` has a line for each file that was not an image
    to audit.
    """

    verdict: str
    reason: str
    alpha: float
    measured_false_positive_rate: float | None = None
    num_samples: int
    num_flagged: int = 0
    flagged: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    p_values: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    adjusted_p_values: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    calibration: dict[str, dict[str, float | int]] = dataclasses.field(default_factory=dict)
    histograms: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    detection_limit: dict[str, float | None] = dataclasses.field(default_factory=dict)
    planted_flagged: dict[str, float] = dataclasses.field(default_factory=dict)
    duplicates: dict[str, int]
    passes_per_image: float | None
    protocol: dict[str, Any]
    latent_recovery: dict[str, float | int | bool] | None = None
    evidence: Evidence | None = dataclasses.field(default=None, repr=False, compare=False)
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The audit in words, as `kgan audit` prints it."""
        return summary(self)

    def with_files(self, files: Sequence[str]) -> "AuditResult":
        """The same audit; each flagged sample has the name of its file too, of those in `files` (n,)."""
        flagged = [entry | {"file": files[entry["sample"]]} for entry in self.flagged]
        return dataclasses.replace(self, flagged=flagged)

    def with_samples_at(self, places: np.ndarray) -> "AuditResult":
        """The same audit, of samples that are called by these numbers (n,) in place of 0 .. n - 1."""
        flagged = [entry | {"sample": int(places[entry["sample"]])} for entry in self.flagged]
        evidence = self.evidence
        if evidence and evidence.sample_pairs:
            pairs = dataclasses.replace(evidence.sample_pairs, indices=places[evidence.sample_pairs.indices])
            evidence = dataclasses.replace(evidence, sample_pairs=pairs)
        return dataclasses.replace(self, flagged=flagged, evidence=evidence)

    def to_dict(self) -> dict[str, Any]:
        """The content of audit.json, as JSON values."""
        left_out = {"evidence", "skipped"} | ({"latent_recovery"} if self.latent_recovery is None else set())
        names = (field.name for field in dataclasses.fields(self))
        return {name: getattr(self, name) for name in names if name not in left_out}

    def save(self, path: str | os.PathLike) -> None:
        """Writes audit.json, whole or not at all."""
        write_atomically(path, (json.dumps(self.to_dict(), indent=2) + "\n").encode())

    def pairs(self) -> "Figure":
        """The samples, and the held-out images, closest to a training image, each beside it; a training image once."""
        from kgan.auditing import pictures  # brings Matplotlib

        return pictures.pairs(self)

    def ratios(self) -> "Figure":
        """Histograms of the neighbour ratios of samples and held-out images in each space."""
        from kgan.auditing import pictures  # brings Matplotlib

        return pictures.ratios(self)

    def save_pictures(self, folder: str | os.PathLike) -> list[Path]:
        """Writes `pairs`, marked as partly AI-generated, and `ratios` as PNG files; returns their paths."""
        from kgan.auditing import pictures  # brings Matplotlib

        return pictures.save(self, Path(folder))
