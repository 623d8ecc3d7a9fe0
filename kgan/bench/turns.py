"""Cases that take turns: each handles some images, and rates are compared within a round."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Handle = Callable[[], int]
"""Handles some images, to the end, and returns how many."""


@dataclass(frozen=True)
class Case:
    """`start()` gets everything ready and returns what is measured. `flops` is the arithmetic of one image."""

    name: str
    precision: str
    start: Callable[[], Handle]
    flops: int = 0


@dataclass(frozen=True)
class Row:
    """Medians over the rounds of a case's rate and of its ratio to the first case in the same round, with its range."""

    name: str
    precision: str
    images_per_second: float
    flops_per_second: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int


def measure(cases: Sequence[Case], rounds: int, seconds: float) -> Iterator[list[float]]:
    """One list a round, the rate of every case in images a second.

    In each round every case has its turn of at least `seconds`, so that whatever slows the machine down for a while
    slows them all. Starting and the first two calls, which trace and compile, are not measured.
    """
    handles = [case.start() for case in cases]
    for handle in handles * 2:
        handle()
    for _ in range(rounds):
        yield [_rate(handle, seconds) for handle in handles]


def summarise(cases: Sequence[Case], rates: np.ndarray) -> list[Row]:
    """Rates (rounds, cases) in images a second, as one row a case."""
    ratios = rates / rates[:, :1]
    medians = np.median(rates, axis=0)
    return [
        Row(
            name=case.name,
            precision=case.precision,
            images_per_second=float(medians[column]),
            flops_per_second=float(medians[column] * case.flops),
            ratio=float(np.median(ratios[:, column])),
            ratio_low=float(ratios[:, column].min()),
            ratio_high=float(ratios[:, column].max()),
            rounds=len(rates),
        )
        for column, case in enumerate(cases)
    ]


def _rate(handle: Handle, seconds: float) -> float:
    begin, images = time.perf_counter(), 0
    while (taken := time.perf_counter() - begin) < seconds or not images:
        images += handle()
    return images / taken
