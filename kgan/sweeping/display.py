"""What a person sees while a sweep runs: on a terminal a bar for each running cell, elsewhere a line now and then."""

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kgan.errors import NonFiniteLoss
from kgan.sweeping import jobs
from kgan.sweeping.jobs import Task
from kgan.text import one_line

_STOPPED = (130, jobs.STOPPED, -signal.SIGTERM)
_TAIL_LINES = 12
_TAIL_BYTES = 8192


class Display:
    """`started`, `ended` and `tick` are what `jobs.run_all` calls. Use it in a `with` block.

    `total_steps` and `metrics` are, by the name of a task, the steps of its training and its metrics.jsonl. `failures`
    has the names of the tasks that failed; a loss that became non-finite is told like a failure, but is a result.
    """

    def __init__(self, total_steps: Mapping[str, int], metrics: Mapping[str, Path], num_tasks: int):
        self.failures: set[str] = set()
        self._total_steps, self._metrics = total_steps, metrics
        self._console, self._bars = Console(), {}
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(*columns, console=self._console) if sys.stdout.isatty() else None
        self._num_done, self._num_tasks = 0, num_tasks
        if self._progress:
            self._overall = self._progress.add_task("all cells", total=num_tasks)

    def __enter__(self) -> "Display":
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        if self._progress:
            self._progress.stop()

    def started(self, task: Task) -> None:
        if self._progress:
            self._bars[task.name] = self._progress.add_task(task.name, total=self._total_steps[task.name])
        else:
            self._say(f"started   {task.name}")

    def ended(self, task: Task, command: list[str], code: int) -> None:
        self._num_done += 1
        if self._progress:
            self._progress.remove_task(self._bars.pop(task.name))
            self._progress.update(self._overall, completed=self._num_done)
        if code in (0, *_STOPPED):
            word = "finished " if code == 0 else "stopped  "
            self._say(f"{word} {task.name} ({self._num_done} of {self._num_tasks})")
            return
        if code != NonFiniteLoss.exit_code:
            self.failures.add(task.name)
        self._say(f"failed    {task.name}: kgan {command[0]} ended with {code}; the end of {task.log}:")
        for line in tail(task.log):
            self._say(f"    {line}")

    def tick(self, running: Sequence[Task]) -> None:
        for task in running if self._progress else ():
            self._progress.update(self._bars[task.name], completed=last_step(self._metrics[task.name]))

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def tail(path: Path) -> list[str]:
    """The last twelve lines of a log, made safe to show."""
    return [one_line(line) for line in _end(path).decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]]


def last_step(metrics: Path) -> int:
    """The step of the last whole line of a metrics.jsonl; 0 before there is one."""
    for line in reversed(_end(metrics).splitlines()):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def _end(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            return stream.read()
    except FileNotFoundError:
        return b""
