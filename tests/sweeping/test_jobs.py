"""How tasks share the machine, end, fail and are stopped; the commands here are quick ones of kgan."""

import json
import os
import signal

import pytest

from kgan import cores
from kgan.errors import Stopped
from kgan.runs import schema
from kgan.sweeping import display, jobs
from kgan.sweeping.jobs import Listener, Slot, Task
from tests.fuzzing import damaged, fuzz

LINE = dict.fromkeys(schema.MetricsLine.__required_keys__, 1.0)
LINES = "".join(json.dumps(LINE | {"step": step}) + "\n" for step in (10, 20))


class Ends(Listener):
    """Notes the exit code of each task, and sends this process a signal once `count` of them run."""

    def __init__(self, number: int | None = None, count: int = 0):
        self.codes: dict[str, int] = {}
        self._number, self._count = number, count

    def ended(self, task, command, code):
        self.codes[task.name] = code

    def tick(self, running):
        if self._number and len(running) == self._count:
            os.kill(os.getpid(), self._number)
            self._number = None


def test_one_task_gets_the_whole_machine():
    assert jobs.slots(1, [0, 1], ["0", "1"]) == [Slot((0, 1))]


def test_cores_are_divided_and_gpus_go_round():
    assert [slot.cores for slot in jobs.slots(2, range(5), [])] == [(0, 1), (2, 3, 4)]
    assert [slot.cores for slot in jobs.slots(3, [4, 6], [])] == [(4,), (4,), (6,)]
    shares = jobs.slots(3, range(6), ["0", "GPU-b"])
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in shares] == ["0", "GPU-b", "0"]
    assert jobs.slots(2, range(2), [])[0].environment == {}


def test_gpus_are_those_the_environment_allows():
    assert jobs.find_gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-b"}) == ["2", "GPU-b"]
    assert jobs.find_gpus({"CUDA_VISIBLE_DEVICES": ""}) == jobs.find_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []


def test_a_failure_ends_its_task_and_no_other(tmp_path):
    tasks = [
        Task("bad", [["train", "--lss=ns"], ["--version"]], tmp_path / "bad.log"),
        Task("good", [["--version"], ["--help"]], tmp_path / "good.log"),
        Task("absent", [["train", "--run_dir=x", "--arch=none"]], tmp_path / "absent.log"),
    ]
    ends = Ends()
    jobs.run_tasks(tasks, jobs.slots(2, [min(cores.usable())], []), ends)
    assert ends.codes == {"bad": 2, "good": 0, "absent": 2}
    assert (tmp_path / "good.log").read_text().startswith("$ kgan --version\nkgan 0")
    assert "Did you mean: loss" in display.tail(tmp_path / "bad.log")[-1]


def test_each_process_has_its_cores_and_its_environment(tmp_path, monkeypatch):
    tell = "import os; print(len(os.sched_getaffinity(0)), os.environ['CUDA_VISIBLE_DEVICES'])"
    popen = jobs.subprocess.Popen
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda command, **options: popen([command[0], "-c", tell], **options))
    mine = os.sched_getaffinity(0)
    core = min(mine)
    jobs.run_tasks([Task("a", [["x"]], tmp_path / "a.log")], [Slot((core,), {"CUDA_VISIBLE_DEVICES": "7"})], Listener())
    assert (tmp_path / "a.log").read_text().splitlines()[-1] == "1 7"
    assert os.sched_getaffinity(0) == mine


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_runs_and_starts_no_more(tmp_path, monkeypatch, number):
    popen = jobs.subprocess.Popen
    monkeypatch.setattr(
        jobs.subprocess,
        "Popen",
        lambda command, **options: popen([command[0], "-c", "import time; time.sleep(600)"], **options),
    )
    tasks = [Task(name, [["x"], ["y"]], tmp_path / f"{name}.log") for name in "abc"]
    ends = Ends(number, count=2)
    with pytest.raises(Stopped) as stopped:
        jobs.run_tasks(tasks, jobs.slots(2, [min(cores.usable())], []), ends)
    assert stopped.value.exit_code == 128 + number
    assert ends.codes == {"a": -15, "b": -15}


def test_what_runs_may_save_where_the_sweep_itself_fails(tmp_path, monkeypatch):
    saves = (
        "import pathlib, signal, sys, time; path = pathlib.Path(sys.argv[1])\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(path.write_text('saved')))\n"
        "path.write_text('runs'); time.sleep(600)"
    )
    popen, file = jobs.subprocess.Popen, tmp_path / "file"
    monkeypatch.setattr(
        jobs.subprocess, "Popen", lambda command, **options: popen([command[0], "-c", saves, str(file)], **options)
    )

    class Fails(Listener):
        def tick(self, running):
            if file.exists() and file.read_text() == "runs":
                raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        jobs.run_tasks([Task("a", [["x"]], tmp_path / "a.log")], jobs.slots(1, cores.usable(), []), Fails())
    assert file.read_text() == "saved"


def test_no_process_is_left_where_telling_of_another_fails(tmp_path, monkeypatch):
    popen, started = jobs.subprocess.Popen, []

    def start(command, **options):
        last = command[-1] == "sleeps"
        started.append(popen(["sleep", "600"] if last else ["true"], **options))
        return started[-1]

    class Fails(Listener):
        def ended(self, task, command, code):
            raise BrokenPipeError

    monkeypatch.setattr(jobs.subprocess, "Popen", start)
    tasks = [Task("a", [["ends"], ["sleeps"]], tmp_path / "a.log"), Task("b", [["ends"]], tmp_path / "b.log")]
    with pytest.raises(BrokenPipeError):
        jobs.run_tasks(tasks, jobs.slots(2, cores.usable(), []), Fails())
    assert all(process.poll() is not None for process in started)


def test_the_last_step_is_read_past_an_unfinished_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert display.last_step(path) == 0
    path.write_text(LINES + '{"st')
    assert display.last_step(path) == 20


@fuzz(damaged(LINES.encode(), LINES.replace("20", "Infinity").encode(), b"[" * 9000 + b"\n"))
def test_damaged_metrics_and_logs_are_shown_all_the_same(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "damaged.jsonl"
    path.write_bytes(content)
    assert isinstance(display.last_step(path), int)
    assert all(line.isprintable() for line in display.tail(path))
