"""The grid of a sweep: from `NAME=VALUES` texts to the settings of each cell."""

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kgan.config import check_name
from kgan.errors import UserError

Value = bool | int | float | str
Settings = dict[str, Value]

MAX_CELLS = 10_000
_DIGITS = 4


def parse(texts: Sequence[str], parse_value: Callable[[str, str], Value]) -> dict[str, list[Value]]:
    """The swept settings and their values, in the order given.

    A text is NAME=V1,V2,... or NAME=log:LOW:HIGH:COUNT, COUNT values at equal ratios. `parse_value(name, text)` gives
    one value and raises UserError for a setting that does not exist or a value that it cannot have. Raises UserError,
    quoting the text, for any other syntax, a setting or a value that comes twice, or no values.
    """
    grid: dict[str, list[Value]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        name, flag = name.strip(), f"--grid={text}"
        if not (name and equals):
            raise UserError(f"{flag}: must be NAME=V1,V2,... or NAME=log:LOW:HIGH:COUNT")
        if name in grid:
            raise UserError(f"{flag}: {name} is swept twice: put all its values in one --grid")
        items = [item.strip() for item in listed.split(",")]
        if not all(items):
            raise UserError(f"{flag}: a value is missing")
        grid[name] = [value for item in items for value in _values(name, item, flag, parse_value)]
        _check_unique(grid[name], flag)
    if not grid:
        raise UserError("give at least one --grid=NAME=V1,V2,...")
    return grid


def cells(grid: Mapping[str, Sequence[Value]], count: int | None = None) -> list[Settings]:
    """The settings of each cell, the last setting fastest; or of `count` cells, drawn without repetition.

    The draw is always the same, and a greater `count` keeps the cells of a smaller one. Raises UserError for a grid of
    more than 10,000 cells, one with fewer than `count`, or one with a setting that does not exist, has no values or has
    one of them twice.
    """
    _check(grid)
    total = math.prod(map(len, grid.values()))
    if (count or total) > MAX_CELLS:
        raise UserError(f"the grid has {total:,} cells, more than {MAX_CELLS:,}: draw some with --random=N")
    if count is None:
        return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if count > total:
        raise UserError(f"--random={count}: the grid has only {total} cells")
    generator = random.Random(0)
    indices: set[int] = set()
    while len(indices) < count:
        indices.add(generator.randrange(total))
    return [_cell(grid, index) for index in sorted(indices)]


def shown(value: Value) -> str:
    """A value as a flag would have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(grid: Mapping[str, Sequence[Value]]) -> None:
    if not grid:
        raise UserError("the grid is empty: give at least one setting with its values")
    for name, values in grid.items():
        check_name(name)
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise UserError(f"the grid's values of {name} must be a list of at least one, not {values!r}")
        _check_unique(values, f"the grid's {name}")


def _check_unique(values: Sequence[Value], what: str) -> None:
    if repeated := [value for value in values if values.count(value) > 1]:
        raise UserError(f"{what}: {shown(repeated[0])} comes twice")


def _cell(grid: Mapping[str, Sequence[Value]], index: int) -> Settings:
    settings: Settings = {}
    for name, values in reversed(list(grid.items())):
        index, position = divmod(index, len(values))
        settings[name] = values[position]
    return {name: settings[name] for name in grid}


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
