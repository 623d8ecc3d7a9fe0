"""What `kgan train` shows: a progress bar with the latest losses on a terminal, plain lines elsewhere."""

import contextlib
import logging
import sys

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from kgan.training.logging import LOGGER


class Display(logging.Handler):
    """Shows the lines of LOGGER on stdout; `progress` moves the bar. Use it in a `with` block.

    A pipe or a connection that broke costs only what it would have shown: log.txt has every line.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if sys.stdout.isatty():
            words = TextColumn("{task.description}", table_column=Column(no_wrap=True))
            self._bar = Progress(MofNCompleteColumn(), BarColumn(None), TimeRemainingColumn(), words, expand=True)

    def __enter__(self) -> "Display":
        self._before = LOGGER.level, LOGGER.propagate
        LOGGER.setLevel(logging.DEBUG)
        LOGGER.propagate = False
        LOGGER.addHandler(self)
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            with contextlib.suppress(OSError):
                self._bar.stop()
        LOGGER.removeHandler(self)
        level, LOGGER.propagate = self._before
        LOGGER.setLevel(level)

    def progress(self, done: int, total: int) -> None:
        if self._bar:
            self._task = self._bar.add_task("") if self._task is None else self._task
            self._bar.update(self._task, completed=done, total=total)

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            self._show(record)

    def _show(self, record: logging.LogRecord) -> None:
        if self._bar is None:
            print(record.getMessage(), flush=True)
            return
        if self._task is not None and (summary := getattr(record, "summary", None)):
            self._bar.update(self._task, description=summary)
        if record.levelno > logging.DEBUG:
            self._bar.console.print(record.getMessage(), markup=False, highlight=False, soft_wrap=True)
