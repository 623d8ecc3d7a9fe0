"""Line charts and histograms as inline SVG: they take the page's colours, light or dark, and stay sharp at any size.

The page's stylesheet has the classes. Lengths are in units of which a chart is 400 wide, about a pixel each on a
telephone, so that text there is as large as it is written here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from kgan.text import rounded

_WIDTH, _HEIGHT = 400, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 32, 36
_MAX_POINTS = 400
_MARKED_POINTS = 12  # lines of so few points get a dot at each
_PADDING = 0.04
_TICKS = 4  # on an axis, about
_FAR_BELOW = 5
_KINDS = ("first", "second", "third")


@dataclass(frozen=True)
class Line:
    """A named line; points that are not finite leave a gap. A chart has at most three."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, linear or logarithmic, with its ticks. Charts that share one can be compared."""

    low: float
    high: float
    ticks: tuple[float, ...]
    is_log: bool

    @classmethod
    def over(cls, values: Iterable[float], log: bool = False, padding: float = _PADDING) -> "Scale":
        """A scale on which all the finite values have a place; logarithmic if `log` and all are positive."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        if log and low > 0:
            margin = max((high / low) ** padding, 1.02)
            low, high = low / margin, high * margin
            return cls(low, high, _log_ticks(low, high), True)
        margin = (high - low) * padding if high > low else abs(high) * 0.1 or 1.0
        low, high = low - margin, high + margin
        return cls(low, high, _ticks(low, high), False)

    def place(self, value: float) -> float:
        """Where a value is: 0 at the low end, 1 at the high one."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def line_chart(
    title: str, lines: Sequence[Line], x: Scale, y: Scale, label: str, reference: tuple[str, float] | None = None
) -> Markup:
    """A chart of the lines against the training step. `label` says in words what it shows; `reference` is a name and a
    value for a dashed line, or for a note where that is far below all lines."""
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">',
        f'<text class="title" x="0" y="14">{escape(title)}</text>',
        *_axes(x, y, "step"),
    ]
    if reference:
        parts += _reference(*reference, y)
    for number, line in enumerate(lines):
        parts += _line(line, number, x, y)
    if len(lines) > 1:
        parts.append(_key([line.name for line in lines]))
    return Markup("".join([*parts, "</svg>"]))


def histogram(
    title: str, shares: Mapping[str, Sequence[float]], top: float, x_title: str, label: str,
    mark: tuple[str, float] | None = None,
) -> Markup:  # fmt: skip
    """A chart of how values are spread: by name, the share of them in each of the equal bins from 0 to `top`, on a
    logarithmic axis, so that a few can be seen. A chart has at most two; `mark` is a name and a value on the axis."""
    x = Scale(0.0, top, _ticks(0.0, top), False)
    y = Scale.over((share for values in shares.values() for share in values if share > 0), log=True)
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">',
        f'<text class="title" x="0" y="14">{escape(title)}</text>',
        *_axes(x, y, x_title),
    ]
    if mark and 0 <= mark[1] <= top:
        at = _across(x, mark[1])
        parts.append(f'<path class="reference" d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{at + 4:.1f}" y="{_TOP + 8}">{escape(mark[0])}</text>')
    drawn = [
        f'<path class="line {kind}" d="{_outline(values, top, x, y)}"/>'
        for values, kind in zip(shares.values(), ("second", "first"), strict=False)
    ]
    parts += reversed(drawn)  # the first lies on top
    parts.append(_key(list(shares), ("second", "first")))
    return Markup("".join([*parts, "</svg>"]))


def _outline(shares: Sequence[float], top: float, x: Scale, y: Scale) -> str:
    """The upper edge of the bins, on the axis where a bin is empty."""
    bottom = _HEIGHT - _BOTTOM
    path = [f"M{_across(x, 0):.1f} {bottom}"]
    for number, share in enumerate(shares, 1):
        height = _up(y, share) if share > 0 and math.isfinite(share) else bottom
        path.append(f"V{height:.1f}H{_across(x, top * number / len(shares)):.1f}")
    return "".join([*path, f"V{bottom}"])


def bar(value: float, scale: Scale) -> Markup:
    """A small mark on an axis, for a cell of a table whose column shares the scale."""
    place = 4 + 92 * scale.place(value)
    return Markup(
        '<svg class="bar" viewBox="0 0 100 12" aria-hidden="true"><path class="grid" d="M4 6H96"/>'
        f'<circle class="first" cx="{place:.1f}" cy="6" r="4"/></svg>'
    )


def thinned(x: Sequence[float], y: Sequence[float], count: int = _MAX_POINTS) -> list[tuple[float, float]]:
    """At most about `count` points that show every peak: of each of count/2 spans, the lowest and the highest."""
    points = list(zip(x, y, strict=True))
    if len(points) <= count:
        return points
    spans = count // 2
    kept = []
    for span in range(spans):
        part = range(span * len(points) // spans, (span + 1) * len(points) // spans)
        finite = [index for index in part if math.isfinite(points[index][1])]
        gap = [index for index in part if not math.isfinite(points[index][1])][:1]
        ends = {min(finite, key=lambda i: points[i][1]), max(finite, key=lambda i: points[i][1])} if finite else set()
        kept += [points[index] for index in sorted(ends | set(gap))]
    return kept


def _across(scale: Scale, value: float) -> float:
    return _LEFT + scale.place(value) * (_WIDTH - _LEFT - _RIGHT)


def _up(scale: Scale, value: float) -> float:
    return _HEIGHT - _BOTTOM - scale.place(value) * (_HEIGHT - _TOP - _BOTTOM)


def _axes(x: Scale, y: Scale, x_title: str) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in y.ticks:
        at = _up(y, tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{right}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in x.ticks:
        at = _across(x, tick)
        anchor = "end" if at > right - 20 else "middle"
        parts.append(f'<path class="axis" d="M{at:.1f} {bottom}v4"/>')
        place = f'x="{min(at, right):.1f}" y="{bottom + 16}" text-anchor="{anchor}"'
        parts.append(f'<text class="tick" {place}>{_number(tick)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
    place = f'x="{(_LEFT + right) / 2}" y="{_HEIGHT - 5}" text-anchor="middle"'
    parts.append(f'<text class="tick" {place}>{escape(x_title)}</text>')
    return parts


def _line(line: Line, number: int, x: Scale, y: Scale) -> list[str]:
    points = thinned(line.x, line.y)
    path, pen_down = [], False
    for at, value in points:
        if not math.isfinite(value) or (y.is_log and value <= 0):
            pen_down = False
            continue
        path.append(f"{'L' if pen_down else 'M'}{_across(x, at):.1f} {_up(y, value):.1f}")
        pen_down = True
    kind = _KINDS[number]
    parts = [f'<path class="line {kind}" d="{"".join(path)}"/>']
    if len(points) <= _MARKED_POINTS:
        parts += [
            f'<circle class="{kind}" cx="{_across(x, at):.1f}" cy="{_up(y, value):.1f}" r="2.5"/>'
            for at, value in points
            if math.isfinite(value) and not (y.is_log and value <= 0)
        ]
    return parts


def _key(names: Sequence[str], kinds: Sequence[str] = _KINDS) -> str:
    """The names of the lines above the chart, at the right."""
    parts: list[str] = []
    right = float(_WIDTH - _RIGHT)
    for name, kind in reversed(list(zip(names, kinds, strict=False))):
        width = 5.7 * len(name)
        parts.append(f'<text class="tick" x="{right}" y="14" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<path class="line {kind}" d="M{right - width - 22:.1f} 10h16"/>')
        right -= width + 36
    return "".join(parts)


def _reference(name: str, value: float, y: Scale) -> list[str]:
    right = _WIDTH - _RIGHT
    if not (y.low <= value <= y.high):
        text = f"{name}: {rounded(value)}, {'below' if value < y.low else 'above'} the axis"
        return [f'<text class="tick" x="{right}" y="14" text-anchor="end">{escape(text)}</text>']
    at = _up(y, value)
    return [
        f'<path class="reference" d="M{_LEFT} {at:.1f}H{right}"/>',
        f'<text class="tick" x="{right}" y="{at - 4:.1f}" text-anchor="end">{escape(name)}</text>',
    ]


def with_reference(values: Iterable[float], reference: float | None) -> list[float]:
    """The values that a scale should cover: the reference too, unless it is far below all others."""
    listed = [value for value in values if math.isfinite(value)]
    if reference is None or not listed or reference * _FAR_BELOW < min(listed):
        return listed
    return [*listed, reference]


def _ticks(low: float, high: float) -> tuple[float, ...]:
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(multiple * power for multiple in (1, 2, 5, 10) if multiple * power >= 0.8 * rough)
    first = math.ceil(low / step)
    return tuple(step * number for number in range(first, math.floor(high / step) + 1))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), (1, 3), (1,)):
        ticks = tuple(m * 10.0**power for power in powers for m in multiples if low <= m * 10.0**power <= high)
        if len(ticks) <= 5:
            break
    ticks = ticks[:: math.ceil(len(ticks) / 6)] if ticks else ticks
    return ticks if len(ticks) > 1 else (low, high)


def _number(value: float) -> str:
    if abs(value) < 1e-12:
        return "0"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
