"""Commands run side by side: each in a process of its own, on its share of the machine, with its output in a log."""

import os
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kgan import cores
from kgan.errors import Stopped
from kgan.training.stopping import stop_signals

STOPPED = 143  # the code of a task that was stopped between two of its commands
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Slot:
    """A share of the machine: the CPU cores and changes to the environment."""

    cores: tuple[int, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """`commands`, each the arguments of `kgan`, run one after the other until one fails; `log` gets their output.

    The first of them trains for `total_steps`, and appends to `metrics`, a metrics.jsonl, as it goes.
    """

    name: str
    commands: list[list[str]]
    log: Path
    metrics: Path = Path(os.devnull)
    total_steps: int | None = None


class Listener:
    """Is told about the tasks as they run. The methods of this class do nothing."""

    def started(self, task: Task) -> None:
        """The first command of the task has started."""

    def ended(self, task: Task, command: list[str], code: int) -> None:
        """The task is over; `command` was its last one, and ended with this exit code."""

    def tick(self, running: Sequence[Task]) -> None:
        """Called several times a second with the tasks that run now."""


@dataclass
class _Running:
    """A task under way: the process of its command number `position`."""

    task: Task
    slot: Slot
    position: int
    process: subprocess.Popen


def slots(jobs: int, cores: Sequence[int], gpus: Sequence[str]) -> list[Slot]:
    """The shares of `jobs` tasks at once: the cores divided, and one GPU each, in turn. One task gets all there is."""
    shares = [
        tuple(cores[slot * len(cores) // jobs : (slot + 1) * len(cores) // jobs]) or (cores[slot % len(cores)],)
        for slot in range(jobs)
    ]
    return [
        Slot(share, {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus and jobs > 1 else {})
        for number, share in enumerate(shares)
    ]


def find_gpus(environment: Mapping[str, str]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES may be set to, one GPU each; none without NVIDIA's driver."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        named = [name.strip() for name in environment["CUDA_VISIBLE_DEVICES"].split(",")]
        return [name for name in named if name and name != "-1"]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in listed.stdout.splitlines()))]


def run_tasks(
    tasks: Sequence[Task],
    slots: Sequence[Slot],
    listener: Listener,
    succeeded: Callable[[Task, list[str], int], bool] = lambda task, command, code: code == 0,
) -> None:
    """Runs the tasks, as many at once as there are slots.

    `succeeded(task, command, exit code)` says whether the task's next command may run; the listener gets 0 for the code
    of a last one that did. Ctrl-C or SIGTERM is passed on as SIGTERM; when all have saved and ended, Stopped is raised.
    A second Ctrl-C kills them; of any other error they save and end first.
    """
    waiting, terminated = deque(tasks), False
    running: list[_Running] = []
    with stop_signals() as stop:
        try:
            while running or (waiting and not stop.received):
                free = [slot for slot in slots if all(one.slot is not slot for one in running)]
                while waiting and free and not stop.received:
                    task = waiting.popleft()
                    running.append(_start(task, free.pop(0)))
                    listener.started(task)
                time.sleep(_POLL_SECONDS)
                if stop.received and not terminated:
                    terminated = True
                    for one in running:
                        one.process.terminate()
                stopping = bool(stop.received)
                for one in list(running):
                    running.remove(one)  # what an error finds in the list is stopped: at no time is a process in none
                    if after := _next(one, listener, succeeded, stopping):
                        running.append(after)
                listener.tick([one.task for one in running])
        except BaseException as error:
            for one in running:
                one.process.kill() if isinstance(error, KeyboardInterrupt) else one.process.terminate()
            for one in running:
                one.process.wait()
            raise
    if stop.received:
        raise Stopped("stopped, and what was running is saved; the same command resumes it", stop.received)


def _start(task: Task, slot: Slot, position: int = 0) -> _Running:
    """The process has a session of its own, which keeps the terminal's Ctrl-C from it: `run_tasks` passes that on
    once."""
    command = [sys.executable, "-P", "-m", "kgan", *task.commands[position]]  # -P: nothing is imported from this folder
    with open(task.log, "ab") as log:
        log.write(f"$ kgan {shlex.join(task.commands[position])}\n".encode("utf-8", "surrogateescape"))
        log.flush()
        with cores.limited_to(slot.cores):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | slot.environment,
            )
    return _Running(task, slot, position, process)


def _next(one: _Running, listener: Listener, succeeded: Callable, stopping: bool) -> _Running | None:
    """The task as it is now: the same, at its next command, or None if it has ended."""
    code = one.process.poll()
    if code is None:
        return one
    command = one.task.commands[one.position]
    went_well = succeeded(one.task, command, code)
    has_more = one.position + 1 < len(one.task.commands)
    if went_well and has_more and not stopping:
        return _start(one.task, one.slot, one.position + 1)
    listener.ended(one.task, command, code if not went_well else STOPPED if has_more else 0)
    return None
