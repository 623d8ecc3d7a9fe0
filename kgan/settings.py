"""A setting: a field of a dataclass with its help and its legal values, from which flags, checks and tables come."""

import dataclasses
import os
import sys
import types
import typing

from kgan.errors import UserError
from kgan.text import one_line


def setting(
    default, text: str, *, choices=None, lower=None, upper=None, above=None, below=None, normal=None, may_change=False
):
    """A field with its help and its legal values: `choices`, or bounds (lower/upper inclusive, above/below not).

    `choices` may be a table by name; what is added to the table is legal from then on. `normal` gives a value the one
    form that is kept and compared, or raises UserError. A resumed run keeps its settings but for those that
    `may_change`.
    """
    legal = {"choices": choices, "lower": lower, "upper": upper, "above": above, "below": below, "normal": normal}
    return dataclasses.field(default=default, metadata={"help": text, "may_change": may_change, **legal})


def value_type(field: dataclasses.Field) -> type:
    """The plain type behind a field's annotation: bool, int, float or str."""
    if isinstance(field.type, types.UnionType):
        return next(kind for kind in typing.get_args(field.type) if kind is not type(None))
    return typing.cast(type, field.type)


def checked(field: dataclasses.Field, value):
    """The value in the form in which it is kept. Raises UserError, naming the field and what is legal."""
    if value is None and field.default is None:
        return None
    kind, legal = value_type(field), field.metadata
    value = os.fspath(value) if kind is str and isinstance(value, os.PathLike) else value
    value = value.item() if getattr(value, "shape", None) == () else value  # of NumPy
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ((isinstance(value, kind) and isinstance(value, bool) == (kind is bool)) or (kind is float and is_number)):
        raise UserError(f"--{field.name}={one_line(repr(value))}: must be {kind.__name__}")
    if is_number and not abs(value) <= sys.float_info.max:
        shown = f"={value}" if isinstance(value, float) else ""  # Python does not write out the largest integers
        raise UserError(f"--{field.name}{shown}: must be a finite number with at most 308 digits")
    if legal["choices"] and value not in legal["choices"]:
        raise UserError(f"--{field.name}={one_line(value)}: must be one of {', '.join(map(str, legal['choices']))}")
    if is_number and not _within(value, legal):
        raise UserError(f"--{field.name}={value}: must be {_describe(legal)}")
    kept = legal["normal"](value) if legal["normal"] else kind(value)
    if kind is str and not (_fits_a_flagfile(value) and _fits_a_flagfile(kept)):
        raise UserError(
            f"--{field.name}={one_line(value)}: must be UTF-8 on one line, not empty and without blanks at its end, or "
            "flags.txt could not hold it"
        )
    return kept


def _within(value: float, legal) -> bool:
    return (
        (legal["lower"] is None or value >= legal["lower"])
        and (legal["upper"] is None or value <= legal["upper"])
        and (legal["above"] is None or value > legal["above"])
        and (legal["below"] is None or value < legal["below"])
    )


def _fits_a_flagfile(text: str) -> bool:
    """False also for the name of a file that is in another encoding than UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return text != "" and text == text.rstrip() and not {"\n", "\r"} & set(text)


def _describe(legal) -> str:
    signs = {"lower": "at least", "above": "more than", "upper": "at most", "below": "less than"}
    bounds = [f"{sign} {legal[name]}" for name, sign in signs.items() if legal[name] is not None]
    return " and ".join(bounds)
