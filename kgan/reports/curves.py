"""The training curves of runs, on axes that all runs share, and the histograms of their audits."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from kgan.reports.charts import Line, Scale, histogram, line_chart, with_reference
from kgan.reports.facts import Run
from kgan.runs.results import score_name
from kgan.text import rounded

_PANELS = (
    ("Loss", {"discriminator": "d_loss", "generator": "g_loss"}),
    ("Discriminator's mean logit", {"real": "d_real", "generated": "d_fake", "held-out": "d_heldout"}),
    ("Gradient norm", {"discriminator": "d_grad_norm", "generator": "g_grad_norm"}),
)
MIN_LINES = 2  # log lines that make a curve


def curves(runs: Sequence[Run]) -> list[list[Markup]]:
    """For each run its charts, the same ones in the same order; none for a run with fewer than two log lines."""
    charts: list[list[Markup]] = [[] for _ in runs]
    drawn = [(run, column) for run, column in zip(runs, charts, strict=True) if len(run.metrics) >= MIN_LINES]
    if not drawn:
        return charts
    x = Scale.over([0.0, *(line["step"] for run, _ in drawn for line in run.metrics)], padding=0.0)
    for title, keys in _PANELS:
        y = Scale.over(line[key] for run, _ in drawn for line in run.metrics for key in keys.values() if key in line)
        for run, column in drawn:
            column.append(_panel(run, title, keys, x, y))
    _add_scores(drawn, x)
    return charts


def last_line(run: Run) -> dict[str, float]:
    """What the last log line says, by what the charts call it."""
    line = run.metrics[-1]
    return {f"{title}, {name}": line[key] for title, keys in _PANELS for name, key in keys.items() if key in line}


def ratios(run: Run) -> list[Markup]:
    """How close samples and held-out images come to their nearest training image, a chart for each space of the audit;
    none for an audit of an earlier version."""
    audit = run.audit or {}
    charts = []
    for space, spread in audit.get("histograms", {}).items():
        if not (0 < spread["top"] < math.inf):
            continue
        threshold = audit.get("calibration", {}).get(space, {}).get("threshold")
        shares = {name: spread[key] for name, key in (("samples", "samples"), ("held-out images", "heldout"))}
        label = f"How close samples of {run.name} and held-out images come to their nearest training image, by {space}"
        mark = None if threshold is None else ("flagged at the left", threshold)
        title = f"Distance ratio, {space}"
        charts.append(histogram(title, shares, spread["top"], "nearest distance over mean of nearest", label, mark))
    return charts


def _panel(run: Run, title: str, keys: Mapping[str, str], x: Scale, y: Scale) -> Markup:
    steps = [line["step"] for line in run.metrics]
    there = {name: key for name, key in keys.items() if any(key in line for line in run.metrics)}
    lines = [Line(name, steps, [line.get(key, math.nan) for line in run.metrics]) for name, key in there.items()]
    ends = "; ".join(_ends(line) for line in lines)
    return line_chart(title, lines, x, y, f"{title} of {run.name} over {steps[-1]:,} steps: {ends}")


def _ends(line: Line) -> str:
    """In words, for who cannot see it; a resumed run of an earlier version has lines without a value."""
    values = [value for value in line.y if math.isfinite(value)] or line.y
    return f"{line.name} from {rounded(values[0])} to {rounded(values[-1])}"


def _add_scores(drawn: Sequence[tuple[Run, list[Markup]]], x: Scale) -> None:
    """Appends a chart of the Frechet distance for each run that was scored more than once while it trained."""
    scored = [(run, column, lines) for run, column in drawn if len(lines := _scored(run)) > 1]
    if not scored:
        return
    floors = {_scoring(run).get("floor", {}).get("frechet_distance") for run, _, _ in scored}
    floor = floors.pop() if len(floors) == 1 else None
    distances = [line["frechet_distance"] for _, _, lines in scored for line in lines]
    y = Scale.over(with_reference(distances, floor), log=True)
    for run, column, lines in scored:
        title = score_name(_scoring(run).get("protocol", {}))
        values = [line["frechet_distance"] for line in lines]
        label = f"{title} of {run.name} from {rounded(values[0])} to {rounded(values[-1])}, lower is better"
        line = Line(title, [line["step"] for line in lines], values)
        reference = None if floor is None else ("real images", floor)
        column.append(line_chart(title[:1].upper() + title[1:], [line], x, y, label, reference))


def _scored(run: Run) -> list[dict]:
    return [line for line in run.metrics if "frechet_distance" in line]


def _scoring(run: Run) -> Mapping:
    return run.record.get("evaluation") or {}
