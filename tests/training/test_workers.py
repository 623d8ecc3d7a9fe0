"""Several processes train together, as on several machines: one writes, all stop at one step, none waits for ever."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from kgan.runs import checkpoint
from tests.conftest import kgan

STEPS_WITHOUT_END = 100_000


def free_addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("localhost", 0))
        return [f"localhost:{probe.getsockname()[1]}" for probe in probes]


def cluster_of(num_workers: int, chief: bool = False) -> list[str]:
    """The TF_CONFIG of each process, the chief's first if there is one beside the workers."""
    addresses = free_addresses(num_workers + chief)
    cluster = {"worker": addresses[chief:]} | ({"chief": addresses[:1]} if chief else {})
    tasks = [("chief", 0)] * chief + [("worker", index) for index in range(num_workers)]
    return [json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}) for kind, index in tasks]


@pytest.fixture
def start():
    """Starts `kgan train` with these flags in each process of a cluster. Those left are killed after the test."""
    started = []

    def start_workers(configs, *arguments, of_one=None):
        workers = []
        for number, config in enumerate(configs):
            command = [sys.executable, "-m", "kgan", "train", *map(str, arguments), *(of_one or {}).get(number, ())]
            environment = {**os.environ, "TF_CONFIG": config}
            pipe = subprocess.PIPE
            workers.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
        started.extend(workers)
        return workers

    yield start_workers
    for worker in started:
        worker.kill()
        worker.communicate()


def ends(workers) -> list[tuple[int, str]]:
    """The exit code and stderr of each, once all have ended."""
    errors = [worker.communicate(timeout=240)[1] for worker in workers]
    return [(worker.returncode, without_waiting(error)) for worker, error in zip(workers, errors, strict=True)]


def without_waiting(text: str) -> str:
    """All decode the same folder, and one of them does it for all."""
    return "".join(line for line in text.splitlines(True) if not line.endswith("waiting for it\n"))


def wait_for_steps(run, workers) -> None:
    until = time.monotonic() + 240
    while not (run / "metrics.jsonl").exists():
        assert time.monotonic() < until and all(worker.poll() is None for worker in workers), ends(workers)
        time.sleep(0.1)


def is_one_line(text: str) -> bool:
    return text.count("\n") == 1 and text.startswith("kgan: ")


@pytest.mark.parametrize(
    "num_workers, chief", [(2, False), pytest.param(3, True, marks=pytest.mark.slow)], ids=["2 workers", "chief and 3"]
)
def test_workers_write_one_run_folder(start, tmp_path, folder_flags, num_workers, chief):
    flags = [*folder_flags, "--steps=6", "--save_every=3", "--steps_per_call=2", "--log_every=2", "--precision=float32"]
    workers = start(cluster_of(num_workers, chief), *flags, f"--run_dir={tmp_path / 'run'}")
    outputs = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers), outputs
    assert "step 6/6" in outputs[0][0] and all("step" not in output for output, _ in outputs[1:])
    assert [without_waiting(error) for _, error in outputs] == [""] * len(workers)
    path, arrays = checkpoint.read_last(tmp_path / "run" / "checkpoints")
    assert checkpoint.step_of(path) == arrays["step"] == 6
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished" and record["device"]["replicas"] == len(workers)
    assert kgan("train", *flags, f"--run_dir={tmp_path / 'alone'}").returncode == 0
    together, alone = (
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0]) for name in ("run", "alone")
    )
    for name in ("d_real", "d_fake", "d_grad_norm"):
        assert together[name] == pytest.approx(alone[name], rel=1e-3), name


@pytest.mark.slow
def test_a_signal_to_one_stops_all_at_one_step_and_another_number_goes_on(start, tmp_path, folder_flags):
    run = tmp_path / "run"
    flags = [*folder_flags, f"--steps={STEPS_WITHOUT_END}", "--log_every=5", "--precision=float32"]
    workers = start(cluster_of(2), *flags, f"--run_dir={run}")
    wait_for_steps(run, workers)
    workers[1].send_signal(signal.SIGTERM)
    (chief_code, chief_says), (code, says) = ends(workers)
    step = checkpoint.step_of(checkpoint.paths(run / "checkpoints")[-1])
    assert chief_code == code == 128 + signal.SIGTERM
    assert is_one_line(chief_says) and f"stopped at step {step}, all saved" in chief_says
    assert is_one_line(says) and f"stopped at step {step}; worker 0" in says and "all saved" not in says
    for count in (1, 4):
        step += 2
        workers = start(cluster_of(count), f"--resume={run}", f"--steps={step}")
        assert [code for code, _ in ends(workers)] == [0] * count
        assert checkpoint.step_of(checkpoint.paths(run / "checkpoints")[-1]) == step


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1, 3])
def test_all_end_when_one_is_killed_and_name_it(start, tmp_path, folder_flags, killed):
    run = tmp_path / "run"
    flags = [*folder_flags, f"--steps={STEPS_WITHOUT_END}", "--log_every=5", "--save_every=5", f"--run_dir={run}"]
    workers = start(cluster_of(4), *flags)
    wait_for_steps(run, workers)
    workers[killed].kill()
    for index, (code, says) in enumerate(ends(workers)):
        if index != killed:
            assert code == 3 and is_one_line(says)
            assert f"lost worker {killed} (" in says and f"kgan train --resume={run}" in says
    resumed = kgan("train", f"--resume={run}", f"--steps={STEPS_WITHOUT_END}", "--dry_run")
    assert resumed.returncode == 0, resumed


@pytest.mark.slow
@pytest.mark.parametrize(
    "flag, words",
    [
        ("--seed=5", "other settings or images"),
        ("--precision=bfloat16", "another precision"),
        ("--width=0.5", "other settings or images"),  # other networks cannot even be made together
    ],
)
def test_workers_with_other_flags_are_refused_by_all(start, tmp_path, folder_flags, flag, words):
    flags = [*folder_flags, "--precision=float32", f"--run_dir={tmp_path / 'run'}"]
    for code, says in ends(start(cluster_of(2), *flags, of_one={1: [flag]})):
        assert code == 2 and is_one_line(says) and words in says and "worker 1" in says


@pytest.mark.slow
def test_what_keeps_the_chief_from_starting_ends_the_others(start, tmp_path, folder_flags):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (chief_code, chief_says), (code, says) = ends(start(cluster_of(2), *folder_flags, f"--run_dir={tmp_path / 'run'}"))
    assert chief_code == 2 and "is not empty" in chief_says and is_one_line(chief_says)
    assert code == 3 and "worker 0" in says and "its own output says why" in says and is_one_line(says)


def test_a_port_in_use_is_named(start, folder_flags, tmp_path):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        taken = f"localhost:{other.getsockname()[1]}"
        cluster = {"worker": [taken, *free_addresses(1)]}
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})
        [(code, says)] = ends(start([config], *folder_flags, f"--run_dir={tmp_path / 'run'}"))
    assert code == 2 and is_one_line(says) and taken in says
