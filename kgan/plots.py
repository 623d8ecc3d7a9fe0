"""Every matplotlib figure: functions of arrays that return a Figure, with no global state and no display.

In a notebook the Figure shows itself as a cell's last value. Figures of generated images say so.
"""

import io
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

_BLACK, _NOTE, _GREY, _PALE = "black", "0.35", "0.55", "0.85"
_CAPTION = "AI-generated"
_TICKS_SIDE_BY_SIDE = 22  # characters
_FAR_BELOW = 5
_DPI = 160
_PAIR = 0.66  # inches a side of an image beside its neighbour
_PANEL_POINTS, _LINE_POINTS = 160, 11  # the height of a panel of curves, about, and of a line of type
_CELL = 0.7  # inches a side of a small image


def curves(
    metrics: Sequence[Mapping], score_name: str | None = None, floor: float | None = None, width: float = 8
) -> Figure:
    """Losses, the discriminator's mean logits (of held-out images too where they were rated), and gradient norms
    against the step, from lines of metrics.jsonl.

    If some of the lines have a Frechet distance, also that, on a logarithmic axis called `score_name`, above the
    `floor` that real images have. `width` is in inches: type stays the same size, so that less is larger type.
    """
    scored = [line for line in metrics if "frechet_distance" in line]
    panels = (
        ("loss", {"discriminator": "d_loss", "generator": "g_loss"}),
        ("mean logit D", {"real": "d_real", "generated": "d_fake", "held-out": "d_heldout"}),
        ("gradient norm", {"discriminator": "d_grad_norm", "generator": "g_grad_norm"}),
    )
    figure = Figure(figsize=(width, 11 if scored else 8), layout="constrained")
    steps = [line["step"] for line in metrics]
    axes = figure.subplots(len(panels) + bool(scored), sharex=True, squeeze=False)[:, 0]
    for axis, (title, lines) in zip(axes, panels, strict=False):
        drawn = {label: [line.get(key, math.nan) for line in metrics] for label, key in lines.items()}
        _draw_lines(axis, steps, drawn)
        axis.set_ylabel(title)
    if scored:
        _draw_scores(axes[-1], [line["step"] for line in scored], [line["frechet_distance"] for line in scored], floor)
        axes[-1].set_ylabel(score_name or "Frechet distance")
    axes[-1].set_xlabel("step (generator updates)")
    return _plain(figure)


def sample_grid(images: np.ndarray, columns: int = 8) -> Figure:
    """(n, h, w, c) uint8 generated images, row by row, above a caption that says what they are."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns * _CELL, rows * _CELL + 0.5), layout="constrained")
    for place, axis in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        _draw_image(axis, images[place] if place < len(images) else None)
    figure.supxlabel(_CAPTION, fontsize=8)
    return figure


def sweep(
    settings: Sequence[Mapping],
    scores: Sequence[float],
    name: str = "Frechet distance",
    floor: float | None = None,
    together: Iterable[Sequence[str]] = (),
) -> Figure:
    """The score of each cell, a point, against each setting that differs; seeds have no panel if others differ.

    `together` names settings that change together and share a panel. Pale lines join the cells that are alike but for
    the setting; a bar is the median of all with one value. `name` is the score's, `floor` what real images have: a
    line, or where it is far below all cells, a note.
    """
    settings = _joined(settings, together)
    differing = [key for key in settings[0] if len({cell[key] for cell in settings}) > 1]
    names = [key for key in differing if key != "seed"] or differing or list(settings[0])
    figure = Figure(figsize=(max(4.5, 2.6 * len(names) + 0.8), 3.8), layout="constrained")
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axis, key in zip(axes, names, strict=True):
        _draw_setting(axis, key, settings, scores)
        if floor is not None and floor >= min(scores) / _FAR_BELOW:
            _draw_floor(axis, floor)
    note = "circle: a run   bar: the median of the runs with that value\ngrey line: runs that differ in nothing else"
    if floor is not None and floor < min(scores) / _FAR_BELOW:
        note += f"\nreal images have {floor:.3g}, below the axis"
    figure.supxlabel(note, fontsize=8, color=_NOTE)
    axes[0].set_ylabel(name)
    _make_logarithmic(axes[0], scores)
    return _plain(figure)


def closest_pairs(columns: Mapping[str, tuple[np.ndarray, np.ndarray, Sequence[str]]], other: str, note: str) -> Figure:
    """Images beside their nearest neighbours and the difference of the two, one block of three columns for each entry.

    `columns` maps the name of a block's images to (images, neighbours, captions): uint8 (n, h, w, c) twice, already
    laid over each other, and n lines of text. `other` names the neighbours, `note` explains the captions. Differences
    are absolute, from white (none) to black, the mean over colours.
    """
    rows, note = max(len(images) for images, _, _ in columns.values()), textwrap.fill(note, 34 * len(columns))
    block, row_height, top = 3 * _PAIR + 0.12, _PAIR + 0.24, 0.42
    width, height = 0.12 + len(columns) * (block + 0.2), top + rows * row_height + 0.15 * (note.count("\n") + 2)
    figure = Figure(figsize=(width, height))
    for number, (name, (images, neighbours, captions)) in enumerate(columns.items()):
        left = 0.16 + number * (block + 0.2)
        for row, (image, neighbour, caption) in enumerate(zip(images, neighbours, captions, strict=True)):
            difference = 255 - np.abs(image.astype(np.int16) - neighbour).mean(axis=-1, keepdims=True)
            bottom = height - top - row * row_height - _PAIR
            for place, picture in enumerate((image, neighbour, difference)):
                axis = figure.add_axes(
                    ((left + place * (_PAIR + 0.06)) / width, bottom / height, _PAIR / width, _PAIR / height)
                )
                _draw_image(axis, picture)
                if row == 0:
                    axis.set_title((name, other, "difference")[place].replace(" ", "\n"), fontsize=8, pad=3)
            figure.text(
                (left + block / 2) / width, (bottom - 0.03) / height, caption, ha="center", va="top", fontsize=8
            )
    figure.supxlabel(note, fontsize=8, y=0.05 / height, va="bottom")
    return figure


def ratio_histograms(
    spaces: Mapping[str, Mapping], thresholds: Mapping[str, float], other: str = "training image"
) -> Figure:
    """The neighbour ratios of generated and held-out images, one panel a space, from the histograms of an audit and the
    thresholds of the spaces that have one.

    Shares of images on a logarithmic axis, so that a few copies in the left tail can be seen.
    """
    figure = Figure(figsize=(4.3, 0.3 + 2.0 * len(spaces)), layout="constrained")
    axes = figure.subplots(len(spaces), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (space, histograms) in zip(axes, spaces.items(), strict=True):
        named = {"generated": histograms["samples"], "held-out": histograms["heldout"]}
        for (name, shares), colour, style in zip(named.items(), (_BLACK, _GREY), ("-", "--"), strict=True):
            if shares:
                edges = np.linspace(0, histograms["top"], len(shares) + 1)
                axis.stairs(shares, edges, baseline=None, color=colour, linestyle=style, linewidth=1.2, label=name)
        threshold = thresholds.get(space)
        if threshold is not None:
            axis.axvline(threshold, color=_BLACK, linestyle=":", linewidth=1.0, label="flagged below")
        axis.set_yscale("log")
        axis.set_ylabel(f"share of images\n({space})", fontsize=9)
    axes[-1].set_xlabel(f"distance to the nearest {other},\nover the mean distance to the nearest ones", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return _plain(figure)


def to_png(figure: Figure, dpi: int = _DPI) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def to_pixels(figure: Figure) -> np.ndarray:
    """The figure as an image, (H, W, 3) uint8, for a PNG that carries marks."""
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_lines(axis, x: Sequence[float], lines: Mapping[str, Sequence[float]]) -> None:
    """Up to three lines, each named at its end; names that would cover each other are moved apart."""
    ends = []
    for (name, y), (colour, style) in zip(lines.items(), ((_BLACK, "-"), (_GREY, "-"), (_BLACK, ":")), strict=False):
        axis.plot(x, y, color=colour, linestyle=style, linewidth=1.2)
        if x and math.isfinite(y[-1]):
            ends.append((y[-1], name, colour))
    (low, high), free = axis.get_ylim(), 0.0
    for end, name, colour in sorted(ends):
        height = (end - low) / (high - low) * _PANEL_POINTS
        offset = (4, max(height, free) - height)
        free = height + offset[1] + _LINE_POINTS
        axis.annotate(name, (x[-1], end), xytext=offset, textcoords="offset points", color=colour, va="center")


def _draw_scores(axis, steps: Sequence[int], values: Sequence[float], floor: float | None) -> None:
    axis.plot(steps, values, color=_BLACK, marker="o", markersize=3, linewidth=1.2)
    _make_logarithmic(axis, values)
    if floor is not None:
        _draw_floor(axis, floor)


def _make_logarithmic(axis, values: Sequence[float]) -> None:
    if min(values) > 0:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())


def _draw_floor(axis, floor: float) -> None:
    axis.axhline(floor, color=_GREY, linestyle="--", linewidth=1.0)
    axis.annotate("real images", (1, floor), xycoords=axis.get_yaxis_transform(), color=_GREY, va="bottom", ha="right")


def _joined(settings: Sequence[Mapping], together: Iterable[Sequence[str]]) -> list[dict]:
    """The cells with each group of settings as one: a line for each name, and the values in a tuple."""
    group_of = {key: tuple(keys) for keys in together for key in keys}
    groups = dict.fromkeys(group_of.get(key, (key,)) for key in settings[0])
    return [
        {"\n".join(keys): cell[keys[0]] if len(keys) == 1 else tuple(cell[key] for key in keys) for keys in groups}
        for cell in settings
    ]


def _tick(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _draw_setting(axis, key: str, settings: Sequence[Mapping], scores: Sequence[float]) -> None:
    values = list(dict.fromkeys(cell[key] for cell in settings))
    if all(isinstance(value, int | float) for value in values):
        values = sorted(values)
    alike: dict[tuple, list[tuple[int, float]]] = {}
    for cell, score in zip(settings, scores, strict=True):
        others = tuple((name, value) for name, value in cell.items() if name != key)
        alike.setdefault(others, []).append((values.index(cell[key]), score))
    for points in alike.values():
        axis.plot(*zip(*sorted(points), strict=True), color=_PALE, linewidth=1.0, zorder=1)
    for place in range(len(values)):
        here = [score for points in alike.values() for where, score in points if where == place]
        axis.plot([place] * len(here), here, "o", markerfacecolor="white", color=_BLACK, markersize=4, zorder=2)
        axis.plot([place - 0.2, place + 0.2], [np.median(here)] * 2, color=_BLACK, linewidth=2, zorder=3)
    labels = ["\n".join(map(_tick, value)) if isinstance(value, tuple) else _tick(value) for value in values]
    axis.set_xticks(range(len(values)), labels, parse_math=False)
    if sum(max(map(len, label.splitlines() or [""])) for label in labels) > _TICKS_SIDE_BY_SIDE:
        axis.tick_params(axis="x", labelrotation=40)
        for label in axis.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axis.set_xlim(-0.5, len(values) - 0.5)
    axis.set_xlabel(key)


def _draw_image(axis, image: np.ndarray | None) -> None:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    if image is not None:
        axis.imshow(
            image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest"
        )


def _plain(figure: Figure) -> Figure:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure
