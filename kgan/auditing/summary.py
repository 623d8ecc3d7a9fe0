"""An audit in words: the verdict in a paragraph, and what it could have missed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kgan.text import table

if TYPE_CHECKING:
    from kgan.auditing.result import AuditResult


def summary(result: "AuditResult") -> str:
    """What `kgan audit` prints, lines joined by newlines."""
    return "\n".join(_lines(result))


def _lines(result: "AuditResult") -> Iterator[str]:
    yield from (f"skipped {line}" for line in result.skipped)
    how = result.protocol
    sought = f"{how['sought']}s"
    yield f"{result.num_samples:,} samples, {how['num_train']:,} {sought}, {how['num_heldout']:,} held-out images"
    if known := result.duplicates["heldout_exact"]:
        yield f"{known:,} of the held-out images are {sought}, pixel for pixel, and hide copies: take them out."
    if drawn := result.duplicates["heldout_sampled"]:
        yield f"{drawn:,} of the held-out images are samples, and were left out: is --heldout what it should be?"
    if repeated := result.duplicates["heldout_repeated"]:
        yield f"{repeated:,} more held-out images repeat others, and were left out."
    yield f"{result.verdict}: {result.reason}."
    if result.p_values:
        yield from _sensitivity(result)
    if recovery := result.latent_recovery:
        said = "recovers training images better" if recovery["recovers_training_images"] else "treats both alike"
        yield f"Latent recovery: the generator {said} (p = {recovery['p_value']:.2g}, gap {recovery['gap']:.1%})."


def _sensitivity(result: "AuditResult") -> Iterator[str]:
    aim = max(space["expected_false_positive_rate"] for space in result.calibration.values())
    rate = result.measured_false_positive_rate
    yield (
        f"{rate:.2%} of the held-out images are flagged, each half by the other half's thresholds (expected: {aim:.2%} "
        "each in pixels and in principal components)."
    )
    yield "The smallest shares of copies that would have been detected:"
    shares = {
        kind: "not even all of them" if limit is None else f"{limit:.2%}"
        for kind, limit in result.detection_limit.items()
    }
    rows = [(kind, share, f"{result.planted_flagged[kind]:.0%}") for kind, share in shares.items()]
    yield table(("kind of copy", "share, 95 times in 100", "single copies flagged"), rows)
