"""Work on blocks of arrays in several threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_limits

from kgan import cores


def in_threads(work: Callable[[int], None], items: Sequence[int], most: int) -> Iterator[int]:
    """Does `work(item)` for all items in up to `most` threads, a thread a core; yields each item, in order, when done.

    NumPy releases the interpreter's lock while it computes, so that threads help; the BLAS library's own are turned off
    meanwhile: they spin while they wait, and a search took 4 times the processor time on a busy machine.
    """
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(min(len(cores.usable()), most)) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for item, future in zip(items, futures, strict=True):
                future.result()
                yield item
        finally:
            for future in futures:
                future.cancel()  # what has not begun is not begun, if this ends early
