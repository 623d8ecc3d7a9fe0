"""The grid of a sweep: from `NAME=VALUES` texts to the settings of each cell."""

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kgan.config import check_name, flag_value
from kgan.errors import UserError

Value = bool | int | float | str
Settings = dict[str, Value]
# A setting and its values; or several that change together, ("g_lr", "d_lr"), and tuples of theirs.
Grid = Mapping[str | tuple[str, ...], Sequence]

MAX_CELLS = 10_000
_DIGITS = 4
_SYNTAX = "NAME=V1,V2,..., NAME=log:LOW:HIGH:COUNT or NAME/NAME=V1/W1,V2/W2,..."


def parse(texts: Sequence[str], parse_value: Callable[[str, str], Value]) -> Grid:
    """The swept settings and their values, in the order given.

    A text is NAME=V1,V2,..., or NAME=log:LOW:HIGH:COUNT, COUNT values at equal ratios, or, for settings that change
    together, NAME/NAME=V1/W1,V2/W2,.... `parse_value(name, text)` gives one value and raises UserError for a setting
    that does not exist or a value that it cannot have. Raises UserError, quoting the text, for any other syntax, a
    setting or a value that comes twice, or no values.
    """
    grid: dict[str | tuple[str, ...], list] = {}
    for text in texts:
        written, equals, listed = text.partition("=")
        flag, names = f"--grid={text}", tuple(name.strip() for name in written.split("/"))
        if not (all(names) and equals):
            raise UserError(f"{flag}: must be {_SYNTAX}")
        items = [item.strip() for item in listed.split(",")]
        if not all(items):
            raise UserError(f"{flag}: a value is missing")
        _check_names([*grid, names], flag)
        if len(names) == 1:
            rows: list[tuple[Value, ...]] = [
                (value,) for item in items for value in _values(names[0], item, flag, parse_value)
            ]
            grid[names[0]] = [value for (value,) in rows]
        else:
            grid[names] = rows = [_values_together(names, item, flag, parse_value) for item in items]
        _check_unique(rows, flag)
    if not grid:
        raise UserError("give at least one --grid=NAME=V1,V2,...")
    return grid


def cells(grid: Grid, count: int | None = None) -> list[Settings]:
    """The settings of each cell, the last setting fastest; or of `count` cells, drawn without repetition.

    The draw is always the same, and a greater `count` keeps the cells of a smaller one. Raises UserError for a grid of
    more than 10,000 cells that are all asked for, for a `count` above 10,000 or above the cells there are, and for a
    setting that does not exist or comes twice, has no values or has one of them twice.
    """
    axes = _axes(grid)
    total = math.prod(map(len, axes))
    if count is None:
        if total > MAX_CELLS:
            raise UserError(f"the grid has {total:,} cells, more than {MAX_CELLS:,}: draw some with --random=N")
        return [_cell(axes, index) for index in range(total)]
    if count > min(total, MAX_CELLS):
        most = f"at most {MAX_CELLS:,}" if total > MAX_CELLS else f"the grid has only {total}"
        raise UserError(f"--random={count}: {most} cells")
    generator = random.Random(0)
    indices: set[int] = set()
    while len(indices) < count:
        indices.add(generator.randrange(total))
    return [_cell(axes, index) for index in sorted(indices)]


def _names(key: str | tuple[str, ...]) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(key)


def _axes(grid: Grid) -> list[list[Settings]]:
    """The settings at each place of each axis."""
    if not grid:
        raise UserError("the grid is empty: give at least one setting with its values")
    _check_names(list(grid), "the grid")
    return [_axis(key, values) for key, values in grid.items()]


def _axis(key: str | tuple[str, ...], values: Sequence) -> list[Settings]:
    names = _names(key)
    what = "/".join(names)
    for name in names:
        check_name(name)
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise UserError(f"the grid's values of {what} must be a list of at least one, not {values!r}")
    if not isinstance(key, str):
        for value in values:
            if not isinstance(value, tuple | list) or len(value) != len(names):
                raise UserError(f"the grid's {what}: each must be a tuple of {len(names)} values, not {value!r}")
    rows = [(value,) if isinstance(key, str) else tuple(value) for value in values]
    _check_unique(rows, f"the grid's {what}")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _check_names(keys: Sequence[str | tuple[str, ...]], what: str) -> None:
    counts = Counter(name for key in keys for name in _names(key))
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise UserError(f"{what}: {repeated[0]} is swept twice: give all its values at once")


def _check_unique(rows: Sequence[tuple[Value, ...]], what: str) -> None:
    if repeated := [row for row in rows if rows.count(row) > 1]:
        raise UserError(f"{what}: {'/'.join(map(flag_value, repeated[0]))} comes twice")


def _cell(axes: Sequence[Sequence[Settings]], index: int) -> Settings:
    chosen = []
    for axis in reversed(axes):
        index, position = divmod(index, len(axis))
        chosen.append(axis[position])
    return {name: value for settings in reversed(chosen) for name, value in settings.items()}


def _values_together(
    names: Sequence[str], item: str, flag: str, parse_value: Callable[[str, str], Value]
) -> tuple[Value, ...]:
    texts = [text.strip() for text in item.split("/")]
    if len(texts) != len(names) or not all(texts):
        raise UserError(f"{flag}: {item} must be {len(names)} values with / between them, of {' and '.join(names)}")
    return tuple(map(parse_value, names, texts))


def _values(name: str, item: str, flag: str, parse_value: Callable[[str, str], Value]) -> list[Value]:
    kind, *numbers = item.split(":")
    if kind != "log" or not numbers:
        return [parse_value(name, item)]
    try:
        low, high, count = float(numbers[0]), float(numbers[1]), int(numbers[2])
        if len(numbers) > 3 or not (0 < low < high < float("inf") and 2 <= count <= MAX_CELLS):
            raise ValueError
    except (ValueError, IndexError):
        raise UserError(f"{flag}: a range is log:LOW:HIGH:COUNT, with 0 < LOW < HIGH and COUNT at least 2") from None
    inner = [float(f"{value:.{_DIGITS}g}") for value in np.geomspace(low, high, count)[1:-1]]
    is_whole = isinstance(parse_value(name, numbers[0]), int)
    return [parse_value(name, text) for text in (numbers[0], *(_text(value, is_whole) for value in inner), numbers[1])]


def _text(value: float, is_whole: bool) -> str:
    return str(round(value)) if is_whole else repr(value)
