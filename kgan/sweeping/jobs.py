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

from kgan.errors import Stopped
from kgan.training.stopping import stop_signals

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Place:
    """A share of the machine: the CPU cores (None: all) and changes to the environment."""

    cores: tuple[int, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """`commands`, each the arguments of `kgan`, run one after the other until one fails; `log` gets their output."""

    name: str
    commands: list[list[str]]
    log: Path


@dataclass
class Running:
    """A task under way: the process of its command number `position`."""

    task: Task
    place: Place
    position: int
    process: subprocess.Popen


def places(jobs: int, cores: Sequence[int], gpus: Sequence[str]) -> list[Place]:
    """The shares of `jobs` tasks at once: the cores divided, and one GPU each, in turn. One task gets all there is."""
    if jobs == 1:
        return [Place()]
    shares = [
        tuple(cores[slot * len(cores) // jobs : (slot + 1) * len(cores) // jobs]) or (cores[slot % len(cores)],)
        for slot in range(jobs)
    ]
    return [
        Place(share, {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if gpus else {})
        for slot, share in enumerate(shares)
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


def run_all(
    tasks: Sequence[Task],
    shares: Sequence[Place],
    started: Callable[[Task], None] = lambda task: None,
    ended: Callable[[Task, list[str], int], None] = lambda task, command, code: None,
    tick: Callable[[Sequence[Task]], None] = lambda tasks: None,
    succeeded: Callable[[Task, list[str], int], bool] = lambda task, command, code: code == 0,
) -> None:
    """Runs the tasks, as many at once as there are shares.

    `started(task)` and `ended(task, its last command, exit code)` are called for each, `tick(those running)` now and
    then. `succeeded(task, command, exit code)` says whether its next command may run; the code of one that did is 0.
    Ctrl-C or SIGTERM is passed on as SIGTERM; when all have saved and ended, Stopped is raised. A second Ctrl-C
    kills them.
    """
    waiting, running, told = deque(tasks), [], False
    with stop_signals() as stop:
        try:
            while running or (waiting and not stop.received):
                free = [share for share in shares if all(one.place is not share for one in running)]
                while waiting and free and not stop.received:
                    task = waiting.popleft()
                    running.append(_start(task, free.pop(0)))
                    started(task)
                time.sleep(_POLL_SECONDS)
                if stop.received and not told:
                    told = True
                    for one in running:
                        one.process.terminate()
                running = [after for one in running if (after := _next(one, ended, succeeded, bool(stop.received)))]
                tick([one.task for one in running])
        finally:
            for one in running:
                one.process.kill()
                one.process.wait()
    if stop.received:
        raise Stopped("stopped, and what was running is saved; the same command goes on", stop.received)


def _start(task: Task, place: Place, position: int = 0) -> Running:
    """The process inherits the cores that this thread has while it is made; its own session keeps the terminal's
    Ctrl-C from it, which `run_all` passes on once."""
    command = [sys.executable, "-m", "kgan", *task.commands[position]]
    all_cores = os.sched_getaffinity(0)
    with open(task.log, "ab") as log:
        log.write(f"$ kgan {shlex.join(task.commands[position])}\n".encode())
        log.flush()
        try:
            os.sched_setaffinity(0, place.cores or all_cores)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | place.environment,
            )
        finally:
            os.sched_setaffinity(0, all_cores)
    return Running(task, place, position, process)


def _next(one: Running, ended: Callable, succeeded: Callable, stopping: bool) -> Running | None:
    """The task as it is now: the same, at its next command, or None if it has ended."""
    code = one.process.poll()
    if code is None:
        return one
    command = one.task.commands[one.position]
    went_well = succeeded(one.task, command, code)
    if went_well and not stopping and one.position + 1 < len(one.task.commands):
        return _start(one.task, one.place, one.position + 1)
    ended(one.task, command, 0 if went_well else code)
    return None
