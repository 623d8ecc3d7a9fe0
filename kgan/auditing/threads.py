"""Work on blocks of arrays with a thread a core."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_limits


def in_threads(work: Callable[[int], None], items: Sequence[int], most: int) -> Iterator[int]:
    """Does `work(item)` for all items, up to `most` at a time; yields each item, in order, once it is done.

    NumPy lets go of the interpreter while it computes, so that threads help; the BLAS library's own are turned off
    meanwhile: they spin while they wait, and a search took 4 times the processor time on a busy machine.
    """
    threads = min(len(os.sched_getaffinity(0)), most)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        done = pool.map(work, items)
        try:
            for item, _ in zip(items, done, strict=True):
                yield item
        finally:
            done.close()  # what has not begun is not begun, if this ends early
