"""Every matplotlib figure: functions of arrays that return a Figure, with no global state and no display."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

_LINES = (("black", "-"), ("0.55", "-"))


def curves(metrics: Sequence[Mapping], score_name: str | None = None, floor: float | None = None) -> Figure:
    """Losses, the discriminator's mean logits, and gradient norms against the step, from lines of metrics.jsonl.

    If some of the lines have a Frechet distance, also that, on a logarithmic axis called `score_name`, above the
    `floor` that real images have.
    """
    scored = [line for line in metrics if "frechet_distance" in line]
    figure = Figure(figsize=(8, 11 if scored else 8), layout="constrained")
    panels = (
        ("loss", {"discriminator": "d_loss", "generator": "g_loss"}),
        ("mean logit D", {"real": "d_real", "generated": "d_fake"}),
        ("gradient norm", {"discriminator": "d_grad_norm", "generator": "g_grad_norm"}),
    )
    steps = [line["step"] for line in metrics]
    axes = figure.subplots(len(panels) + bool(scored), sharex=True, squeeze=False)[:, 0]
    for axis, (title, lines) in zip(axes, panels, strict=False):
        for (label, key), (colour, style) in zip(lines.items(), _LINES, strict=True):
            axis.plot(steps, [line[key] for line in metrics], color=colour, linestyle=style, linewidth=1.2)
            if steps:
                axis.annotate(
                    label,
                    (steps[-1], metrics[-1][key]),
                    xytext=(4, 0),
                    textcoords="offset points",
                    color=colour,
                    va="center",
                )
        axis.set_ylabel(title)
    if scored:
        _draw_scores(axes[-1], scored, floor)
        axes[-1].set_ylabel(score_name or "Frechet distance")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("step (generator updates)")
    return figure


def _draw_scores(axis, scored: Sequence[Mapping], floor: float | None) -> None:
    scores = [line["frechet_distance"] for line in scored]
    axis.plot([line["step"] for line in scored], scores, color="black", marker="o", markersize=3, linewidth=1.2)
    if min(scores) > 0:
        axis.set_yscale("log")
    if floor is not None:
        axis.axhline(floor, color="0.55", linestyle="--", linewidth=1.0)
        axis.annotate(
            "real images", (1, floor), xycoords=axis.get_yaxis_transform(), color="0.55", va="bottom", ha="right"
        )


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
