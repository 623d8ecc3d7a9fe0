"""Pictures of someone's own, before they are decoded: what a folder of them and a file of them have in common."""

import abc
import collections
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kgan import cores
from kgan.files import State, states
from kgan.pictures.picture import Picture

Shape = tuple[int, int, int]
Given = TypeVar("Given")
Result = TypeVar("Result")
_WAITING = 4  # pictures for each thread, those that it is at among them


class Pictures(abc.ABC):
    """Pictures in a fixed order, of which nothing has been decoded yet; `place` is the folder or file they lie in, and
    `part` says which of those there they are, where they are not all."""

    has_metadata = True
    """Whether the pictures may say that they must not be mined."""

    def __init__(self, place: Path, part: str = ""):
        self.place = place
        self.part = part

    @property
    def name(self) -> str:
        """What to call them if nobody says otherwise."""
        return self.place.resolve().name or "folder"

    @property
    def others(self) -> Mapping[str, int]:
        """How many pictures lie there in formats that are not read, by suffix."""
        return {}

    @property
    def about(self) -> Mapping[str, Any]:
        """What their publisher says of them: fields of a `Source`."""
        return {}

    @functools.cached_property
    def states(self) -> list[State]:
        """What tells whether the pictures have changed since it was first asked for."""
        return states(self.files())

    @abc.abstractmethod
    def files(self) -> list[str]:
        """The files that pictures and labels lie in."""

    @abc.abstractmethod
    def files_sha256(self) -> str:
        """A hash of all that the pictures and their labels are made of; every file is read."""

    @abc.abstractmethod
    def own_shape(self) -> Shape | None:
        """The (h, w, c) of every picture, or None where they differ."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Picture]: ...

    @abc.abstractmethod
    def labels(self, rows: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """The labels (len(rows),) int64 of these pictures, and the classes' names; None and () without classes.

        Known once all pictures were taken from the iterator.
        """


def in_parallel(function: Callable[[Given], Result], given: Iterable[Given]) -> Iterator[Result]:
    """`function` of each picture, or name of one, in their order, on all cores; few are held at a time."""
    num_threads = len(cores.usable())
    waiting: collections.deque[Future] = collections.deque()
    # Pillow warns of pictures that are odd but readable; this is for the thread that starts the others
    with ThreadPoolExecutor(num_threads) as pool, warnings.catch_warnings(action="ignore"):
        for one in given:
            waiting.append(pool.submit(function, one))
            if len(waiting) >= _WAITING * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def numbered(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels from 0 on, int64 (n,), of classes that have only numbers, and these numbers as their names. A number
    that no picture has is no class: nothing could be learnt of it."""
    numbers, labels = np.unique(labels, return_inverse=True)
    return labels.astype(np.int64), tuple(map(str, numbers.tolist()))
