"""kgan on a real Slurm, of two nodes on this machine: see slurm.sh."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kgan.runs import checkpoint
from tests.conftest import kgan

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "slurm.sh"
KGAN = [sys.executable, "-m", "kgan"]
NEEDED = ("slurmctld", "slurmd", "munged", "srun", "ip", "nsenter", "unshare")


def is_possible() -> bool:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return os.geteuid() == 0 and all(shutil.which(program, path=path) for program in NEEDED)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_possible(), reason="needs root, slurm-wlm, munge and iproute2"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Runs a Slurm command on the cluster, and returns its output."""
    cluster = tmp_path_factory.mktemp("cluster") / "slurm"
    environment = {**os.environ, "SLURM_CONF": str(cluster / "slurm.conf"), "PYTHONPATH": str(ROOT)}

    def run(*command) -> str:
        command = [str(word) for word in command]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done
        return done.stdout

    try:
        subprocess.run([SCRIPT, "start", cluster], check=True, timeout=100)
        yield run
    finally:
        subprocess.run([SCRIPT, "stop", cluster], timeout=60)


def record_of(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


@pytest.mark.parametrize("size, replicas", [(["-N2"], 2), (["-N2", "--ntasks-per-node=2"], 4)])
def test_the_tasks_of_a_step_train_one_run(slurm, tmp_path, folder_flags, size, replicas):
    output = slurm("srun", *size, "--label", *KGAN, "train", *folder_flags, f"--run_dir={tmp_path / 'run'}")
    assert len(re.findall(r"worker \d \(kgan-n[12]:\d+\) of \d: waiting for the others", output)) == replicas
    record = record_of(tmp_path / "run")
    assert record["status"] == "finished" and record["device"]["replicas"] == replicas


def test_a_job_that_slurm_stops_goes_on_with_fewer_nodes(slurm, tmp_path, folder_flags):
    run = tmp_path / "run"
    flags = [*folder_flags, "--steps=100000", "--log_every=5", f"--run_dir={run}"]
    stopping = tmp_path / "stop.sh"  # asks Slurm to send the signal once the first steps are made
    stopping.write_text(
        f"#!/bin/sh\n{shlex.join(['srun', *KGAN, 'train', *flags])} & \n"
        f"until [ -s {run / 'metrics.jsonl'} ]; do sleep 0.2; done\n"
        "scancel --signal=TERM $SLURM_JOB_ID.0\nwait\n"
    )
    slurm("sbatch", "--wait", "-N2", f"--output={tmp_path / 'log.txt'}", stopping)
    log = (tmp_path / "log.txt").read_text()
    step = checkpoint.step_of(checkpoint.paths(run / "checkpoints")[-1])
    assert f"kgan: stopped at step {step}, all saved" in log
    assert f"kgan: stopped at step {step}; worker 0" in log
    slurm("srun", "-N1", *KGAN, "train", f"--resume={run}", f"--steps={step + 2}")
    assert record_of(run)["status"] == "finished" and record_of(run)["device"]["replicas"] == 1


def test_the_cells_of_a_sweep_are_an_array_of_jobs(slurm, tmp_path, folder_flags):
    sweep = ["sweep", *folder_flags, "--grid=loss=ns,hinge", f"--sweep_dir={tmp_path / 'sweep'}"]
    cells = kgan(*sweep, "--dry_run", new_process=True).stdout
    assert cells.count("\n") == 2
    (tmp_path / "cells.txt").write_text(cells)
    job = f'eval "$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {tmp_path / "cells.txt"})"'
    slurm("sbatch", "--wait", "--array=1-2", f"--output={tmp_path}/%a.log", f"--wrap={job}")
    assert kgan(*sweep).returncode == 0
    assert (tmp_path / "sweep" / "sweep.csv").read_text().count("finished") == 2
