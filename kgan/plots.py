"""Every matplotlib figure: functions of arrays that return a Figure, with no global state and no display."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
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


def closest_pairs(columns: Mapping[str, tuple[np.ndarray, np.ndarray, Sequence[str]]], other: str, note: str) -> Figure:
    """Images beside their nearest neighbours and the difference of the two, one block of three columns for each entry.

    `columns` maps the name of a block's images to (images, neighbours, captions): uint8 (n, h, w, c) twice, already
    laid over each other, and n lines of text. `other` names the neighbours, `note` explains the captions. Differences
    are absolute, from white (none) to black, the mean over colours.
    """
    rows = max(len(images) for images, _, _ in columns.values())
    figure = Figure(figsize=(4.2 * len(columns), 0.7 + 1.45 * rows), layout="constrained")
    for block, (name, (images, neighbours, captions)) in zip(
        figure.subfigures(1, len(columns), squeeze=False)[0], columns.items(), strict=True
    ):
        axes = block.subplots(rows, 3, squeeze=False)
        for axis, title in zip(axes[0], (name, other, "difference"), strict=True):
            axis.set_title(title, fontsize=9)
        for axis in axes.flat:
            axis.set_axis_off()
        for row, image, neighbour, caption in zip(axes, images, neighbours, captions, strict=False):
            difference = 255 - np.abs(image.astype(np.int16) - neighbour).mean(axis=-1)
            for axis, picture in zip(row, (image.squeeze(), neighbour.squeeze(), difference), strict=True):
                axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            row[1].text(0.5, -0.04, caption, transform=row[1].transAxes, ha="center", va="top", fontsize=7)
    figure.supxlabel(note, fontsize=8)
    return figure


def ratio_histograms(spaces: Mapping[str, tuple[np.ndarray, np.ndarray, float | None]]) -> Figure:
    """The neighbour ratios of generated and held-out images, one panel a space: (m,), (n,) and the threshold or None.

    Shares of images on a logarithmic axis, so that a few copies in the left tail can be seen.
    """
    figure = Figure(figsize=(4.5 * len(spaces), 3.6), layout="constrained")
    axes = figure.subplots(1, len(spaces), sharey=True, squeeze=False)[0]
    for axis, (space, (generated, heldout, threshold)) in zip(axes, spaces.items(), strict=True):
        limit = max(1e-6, *(ratios.max() for ratios in (generated, heldout) if len(ratios)))
        named = {"generated": generated, "held-out": heldout}
        for (name, ratios), (colour, _), style in zip(named.items(), _LINES, ("-", "--"), strict=True):
            if len(ratios):
                weights = np.full(len(ratios), 1 / len(ratios))
                axis.hist(
                    ratios, np.linspace(0, limit, 61), weights=weights, histtype="step", color=colour, linestyle=style,
                    linewidth=1.2, label=name,
                )  # fmt: skip
        if threshold is not None:
            axis.axvline(threshold, color="black", linestyle=":", linewidth=1.0, label="flagged below")
        axis.set_yscale("log")
        axis.set_xlabel(f"relative neighbour ratio ({space})")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of images")
    axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def to_pixels(figure: Figure, dpi: int = 110) -> np.ndarray:
    """The figure as an image, (H, W, 3) uint8, for a PNG that carries marks."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
