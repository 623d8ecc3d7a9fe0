"""An evaluation in words: the scores beside the real-data baseline, and what they are of."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kgan.evaluation.protocol import TITLES, direction, title_of
from kgan.text import table

if TYPE_CHECKING:
    from kgan.evaluation.evaluate import Evaluation


def summary(result: "Evaluation") -> str:
    """What `kgan evaluate` prints, lines joined by newlines."""
    return "\n".join(_lines(result))


def _lines(result: "Evaluation") -> Iterator[str]:
    yield from (f"skipped {line}" for line in result.skipped)
    how = result.protocol
    yield f"features: {how['features']} ({how['features_reason']}), sha256 {how['features_sha256'][:12]}"
    count = how["num_samples"]
    yield (
        f"N = {count:,} ({how['num_samples_reason']}): samples against {count:,} of {how['reference_images']:,} "
        f"{how['reference']} images of {how['dataset']}; baseline: {count:,} others of them against the same"
    )
    yield _scores(result)
    if "warning" in how:
        yield f"(!): {how['warning']}"
    of_splits = ", of the Inception-score form over 10 splits" if "inception_score" in result.scores else ""
    yield f"(sd): of {title_of('kernel_distance', how)} over 100 subsets{of_splits}; not standard errors"


def _scores(result: "Evaluation") -> str:
    how, rows = result.protocol, []
    for name in (name for name in TITLES if name in result.scores):
        title = title_of(name, how) + " (!)" * (name in how.get("unreliable_scores", ()))
        spread = [f"{result.spread[name]:.4g}"] if result.spread else []
        rows.append([title, _number(result.scores, name), _number(result.floor, name), *spread, direction(name)])
    samples, spread = "samples", []
    if result.spread:
        samples, spread = f"mean of {len(how['seeds'])} seeds", ["sd over seeds"]
    return table(["score", samples, "real-data baseline", *spread, "better"], rows)


def _number(scores: dict[str, float], name: str) -> str:
    deviation = scores.get(f"{name}_std")
    return f"{scores[name]:.4g}" + ("" if deviation is None else f" (sd {deviation:.2g})")
