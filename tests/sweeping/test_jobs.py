"""How tasks share the machine, end, fail and are stopped; the commands here are quick ones of kgan."""

import os
import signal
import threading
import time

import pytest

from kgan.errors import Stopped
from kgan.sweeping import display, jobs
from kgan.sweeping.jobs import Place, Task


def test_one_task_gets_the_whole_machine():
    assert jobs.places(1, [0, 1], ["0", "1"]) == [Place()]


def test_cores_are_divided_and_gpus_go_round():
    assert [place.cores for place in jobs.places(2, range(5), [])] == [(0, 1), (2, 3, 4)]
    assert [place.cores for place in jobs.places(3, [4, 6], [])] == [(4,), (4,), (6,)]
    shares = jobs.places(3, range(6), ["0", "GPU-b"])
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in shares] == ["0", "GPU-b", "0"]
    assert jobs.places(2, range(2), [])[0].environment == {}


def test_gpus_are_those_the_environment_allows():
    assert jobs.find_gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-b"}) == ["2", "GPU-b"]
    assert jobs.find_gpus({"CUDA_VISIBLE_DEVICES": ""}) == jobs.find_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []


def test_a_failure_ends_its_task_and_no_other(tmp_path):
    tasks = [
        Task("bad", [["train", "--lss=ns"], ["--version"]], tmp_path / "bad.log"),
        Task("good", [["--version"], ["--help"]], tmp_path / "good.log"),
        Task("absent", [["train", "--run_dir=x", "--arch=none"]], tmp_path / "absent.log"),
    ]
    ends = {}
    jobs.run_all(tasks, jobs.places(2, [0], []), ended=lambda task, command, code: ends.update({task.name: code}))
    assert ends == {"bad": 2, "good": 0, "absent": 2}
    assert (tmp_path / "good.log").read_text().startswith("$ kgan --version\nkgan 0")
    assert "Did you mean: loss" in display.tail(tmp_path / "bad.log")[-1]


def test_each_process_has_its_cores_and_its_environment(tmp_path, monkeypatch):
    tell = "import os; print(len(os.sched_getaffinity(0)), os.environ['CUDA_VISIBLE_DEVICES'])"
    popen = jobs.subprocess.Popen
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda command, **options: popen([command[0], "-c", tell], **options))
    mine = os.sched_getaffinity(0)
    core = min(mine)
    jobs.run_all([Task("a", [["x"]], tmp_path / "a.log")], [Place((core,), {"CUDA_VISIBLE_DEVICES": "7"})])
    assert (tmp_path / "a.log").read_text().splitlines()[-1] == "1 7"
    assert os.sched_getaffinity(0) == mine


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_runs_and_starts_no_more(tmp_path, monkeypatch, number):
    popen = jobs.subprocess.Popen
    monkeypatch.setattr(
        jobs.subprocess,
        "Popen",
        lambda command, **options: popen([command[0], "-c", "import time; time.sleep(60)"], **options),
    )
    tasks = [Task(name, [["x"], ["y"]], tmp_path / f"{name}.log") for name in "abc"]
    ends = {}
    threading.Timer(0.7, os.kill, (os.getpid(), number)).start()
    began = time.monotonic()
    with pytest.raises(Stopped) as stopped:
        jobs.run_all(tasks, jobs.places(2, [0], []), ended=lambda task, _, code: ends.update({task.name: code}))
    assert stopped.value.exit_code == 128 + number
    assert ends == {"a": -15, "b": -15} and time.monotonic() - began < 30


def test_the_last_step_is_read_past_an_unfinished_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert display.last_step(path) == 0
    path.write_text('{"step": 10}\n{"step": 20}\n{"st')
    assert display.last_step(path) == 20
