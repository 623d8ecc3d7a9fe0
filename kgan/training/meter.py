"""Means of the training metrics between log lines."""

from collections.abc import Mapping, Sequence

import numpy as np


class Meter:
    """Means of the metrics since the last log line. They are in the checkpoint, so that a resumed run logs the same."""

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self._sums, self._count = np.zeros(len(self.names)), 0

    def add(self, rows: np.ndarray) -> None:
        """Takes rows (steps, len(names)), one for each step."""
        for row in rows:  # one by one: a sum over several rows would round by how the calls fell
            self._sums += row.astype(np.float64)
        self._count += len(rows)

    def read_and_reset(self) -> dict[str, float]:
        """The mean of each metric since the last call; nan before there is a row."""
        means = self._sums / self._count if self._count else np.full(len(self.names), np.nan)
        self._sums, self._count = np.zeros(len(self.names)), 0
        return dict(zip(self.names, means.tolist(), strict=True))

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"meter/sums": self._sums.copy(), "meter/count": np.array(self._count)}

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Raises KeyError or ValueError if they are not what `to_arrays` gave."""
        sums, count = arrays["meter/sums"], arrays["meter/count"]
        if sums.shape != (len(self.names),) or count.shape != () or count.dtype.kind != "i" or count < 0:
            raise ValueError("the sums since the last log line are not of these metrics")
        self._sums, self._count = sums.astype(np.float64), int(count)
