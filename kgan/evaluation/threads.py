"""Work on blocks of arrays with a thread a core."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def in_threads(work: Callable[[int], None], items: Sequence[int], most: int) -> Iterator[int]:
    """Does `work(item)` for all items, up to `most` at a time; yields each item, in order, once it is done.

    NumPy lets go of the interpreter while it computes, so that threads help; those that OpenBLAS has of its own would
    be in their way (they spin while they wait, and a search took 4 times the processor time on a busy machine). Where
    they cannot be turned off, theirs are the only ones.
    """
    with _single_threaded_products() as single:
        threads = min(len(os.sched_getaffinity(0)), most) if single else 1
        with ThreadPoolExecutor(threads) as pool:
            done = pool.map(work, items)
            try:
                for item, _ in zip(items, done, strict=True):
                    yield item
            finally:
                done.close()  # what has not begun is not begun, if this ends early


@contextlib.contextmanager
def _single_threaded_products() -> Iterator[bool]:
    """Within, a matrix product stays in the thread that asks for it; yields whether that could be arranged.

    It can for the OpenBLAS inside NumPy's wheels, through the functions that the library has for it.
    """
    try:
        library = ctypes.CDLL(np.linalg._umath_linalg.__file__)  # finds what it is linked with, too
        threads, set_threads = library.scipy_openblas_get_num_threads64_, library.scipy_openblas_set_num_threads64_
    except (AttributeError, OSError):
        yield False
        return
    before = threads()
    set_threads(1)
    try:
        yield True
    finally:
        set_threads(before)
