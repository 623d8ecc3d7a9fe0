"""The processor cores that this process may use."""

import contextlib
import os
from collections.abc import Iterable, Iterator


def usable() -> list[int]:
    """Their numbers: all there are, where the system does not say which (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def limited_to(cores: Iterable[int]) -> Iterator[None]:
    """Processes started in this block by this thread have only these cores; all of them where the system cannot say
    so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
