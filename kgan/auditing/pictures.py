"""An audit's pictures: the closest pairs of images, and how close all of them are."""

from pathlib import Path

from matplotlib.figure import Figure

import kgan
from kgan import plots
from kgan.auditing.pairs import Pairs
from kgan.auditing.result import CANNOT_TELL, AuditResult, Evidence
from kgan.files import write_atomically
from kgan.images import write_png
from kgan.provenance.marks import COMPOSITE, Origin, describe, pnginfo
from kgan.runs.rundir import AUDIT_PAIRS, AUDIT_RATIOS


def pairs(result: AuditResult) -> Figure:
    """See `AuditResult.pairs`. Where the audit cannot tell, no pair is called flagged."""
    evidence, flags = _evidence(result), result.verdict != CANNOT_TELL
    blocks = {"AI-generated": evidence.sample_pairs, "held-out (unseen)": evidence.heldout_pairs}
    columns = {
        name: (pairs.images, pairs.neighbours, _captions(pairs, flags)) for name, pairs in blocks.items() if pairs
    }
    note = "image - neighbour: ratio of distances"
    note += ", in units of its threshold" if result.calibration else " (0: a copy, 1: no closer than to others)"
    note += "; below 1 an image is flagged" if flags else "; nothing is flagged, since the audit cannot tell"
    return plots.closest_pairs(columns, result.protocol["sought"], note)


def ratios(result: AuditResult) -> Figure:
    """See `AuditResult.ratios`."""
    thresholds = {space: values["threshold"] for space, values in result.calibration.items()}
    return plots.ratio_histograms(result.histograms, thresholds, result.protocol["sought"])


def save(result: AuditResult, folder: Path) -> list[Path]:
    """See `AuditResult.save_pictures`. Both are drawn before one is written."""
    pixels, chart = plots.to_pixels(pairs(result)), plots.to_png(ratios(result))
    data_sha256 = result.protocol.get("data_sha256", "")
    origin = _evidence(result).origin or Origin("", "", data_sha256, "", False, {"kgan": kgan.__version__})
    write_png(folder / AUDIT_PAIRS, pixels, pnginfo(describe(origin, pixels), COMPOSITE))
    write_atomically(folder / AUDIT_RATIOS, chart)
    return [folder / AUDIT_PAIRS, folder / AUDIT_RATIOS]


def _evidence(result: AuditResult) -> Evidence:
    if result.evidence is None:
        raise ValueError("a record without its evidence cannot be drawn: only what `audit` returns has it")
    return result.evidence


def _captions(pairs: Pairs, flags: bool) -> list[str]:
    rows = zip(pairs.indices, pairs.neighbour_indices, pairs.closeness, pairs.flagged, strict=True)
    return [f"{i} - {j}: {ratio:.2f}" + " flagged" * bool(flags and flagged) for i, j, ratio, flagged in rows]
