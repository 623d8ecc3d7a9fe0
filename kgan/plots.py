"""Every matplotlib figure: functions of arrays that return a Figure, with no global state and no display."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

_LINES = (("black", "-"), ("0.55", "-"))


def curves(metrics: Sequence[Mapping]) -> Figure:
    """Losses, the discriminator's mean logits, and gradient norms against the step, from lines of metrics.jsonl."""
    figure = Figure(figsize=(8, 8), layout="constrained")
    panels = (
        ("loss", {"discriminator": "d_loss", "generator": "g_loss"}),
        ("mean logit D", {"real": "d_real", "generated": "d_fake"}),
        ("gradient norm", {"discriminator": "d_grad_norm", "generator": "g_grad_norm"}),
    )
    steps = [line["step"] for line in metrics]
    axes = figure.subplots(len(panels), sharex=True)
    for axis, (title, lines) in zip(axes, panels, strict=True):
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
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("step (generator updates)")
    return figure


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
