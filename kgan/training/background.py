"""A thread that writes files while the next steps run."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class BackgroundWriter:
    """Runs functions one after the other in a thread of its own. What one raises is raised by the next call here.

    At most one is under way: `submit` waits for the one before. Use it in a `with` block; leaving the block waits for
    the last.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kgan-writer")
        self._running: Future | None = None

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown()

    def submit(self, function: Callable, *arguments) -> None:
        """Runs `function(*arguments)` once the one before it has ended."""
        self.wait()
        self._running = self._pool.submit(function, *arguments)

    def check(self) -> None:
        """Raises what the running function raised, without waiting for it."""
        if self._running and self._running.done():
            self.wait()

    def wait(self) -> None:
        """Returns when everything submitted is done."""
        running, self._running = self._running, None
        if running:
            running.result()
