"""Checks of arguments that functions of the API share. They name an argument as its flag."""

import inspect
from collections.abc import Callable, Mapping

from kgan.errors import UserError


def check_run_or_samples(run: object | None, samples: object | None) -> None:
    """Raises UserError unless exactly one of the two is given."""
    if (run is None) == (samples is None):
        raise UserError(
            "name one run folder, or give --samples=DIR, FILE.npz or FILE.npy and what to compare them with"
        )


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises UserError unless `value` is at least `low` and at most `high`."""
    if not low <= value <= high:
        raise UserError(f"--{name}={value}: must be {low:,} to {high:,}")


def refuse_changed(function: Callable, values: Mapping[str, object], purpose: str) -> None:
    """Raises UserError if one of the `values`, by parameter of `function`, is not its default: it is for `purpose`."""
    parameters = inspect.signature(function).parameters
    for name, value in values.items():
        default = parameters[name].default
        if type(value) is not type(default) or value != default:
            raise UserError(f"--{name} is for {purpose}")
