"""How far a long computation has come, for callbacks called with (done, total)."""

from collections.abc import Callable

Progress = Callable[[int, int], None]


class Counter:
    """Adds up the stages of a computation for one progress callback; `total` is that of all of them."""

    def __init__(self, progress: Progress | None, total: int):
        self.progress, self.total, self._begun = progress, total, 0

    def stage(self, count: int, weight: int = 1) -> Progress:
        """A callback for the next stage, of `count` items that count `weight` each."""
        start = self._begun
        self._begun += count * weight

        def report(done: int, _: int) -> None:
            if self.progress:
                self.progress(min(start + done * weight, self.total), self.total)

        return report
