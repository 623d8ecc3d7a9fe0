"""`kgan.sweep` from start to end, with a stand-in for `kgan train` and `kgan evaluate` that needs no TensorFlow."""

import subprocess

import pytest

import kgan
from kgan import TrainConfig
from kgan.errors import UserError
from kgan.runs.rundir import RunDir
from kgan.sweeping import jobs
from kgan.sweeping.sweep import SweepListener
from tests.conftest import draw_folder

# Leaves what training or evaluating would have; d_lr=0.1 diverges, and 0.2 is stopped by somebody else.
STAND_IN = """
import json, os, sys
from pathlib import Path
from kgan import TrainConfig
from kgan.runs.rundir import RunDir
from kgan.training.plan import make_plan
command, *arguments = sys.argv[1:]
if command == "evaluate":
    run = RunDir.open(arguments[0])
    record = {"run_id": run.read_record()["id"], "step": 4, "distance_name": "classifier FD"}
    scores = {"frechet_distance": 10.0 + run.read_config().seed}
    (run.path / "evaluation.json").write_text(json.dumps({"scores": scores, "protocol": record}))
    sys.exit(0)
given = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
try:
    config = TrainConfig(dataset="folder", data_dir=given["data_dir"], arch="mlp", image_size=28, channels=1,
                         steps=4, batch_size=16, seed=int(given["seed"]), d_lr=float(given["d_lr"]))
    plan = make_plan(config)
    run = RunDir.create(given["run_dir"], plan.config)
except Exception as error:
    sys.exit(f"kgan: error: {error}")
if config.d_lr == 0.2:
    os.kill(os.getpid(), 15)
(run.checkpoints / "step-0000004.npz").touch()
run.update_record(status="non-finite" if config.d_lr == 0.1 else "finished", dataset=plan.card, step=4)
sys.exit(4 if config.d_lr == 0.1 else 0)
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """kgan.sweep over 160 unlabelled images, with the stand-in, into tmp_path/"sweep"."""
    draw_folder(tmp_path / "images", 160, classes=0)
    popen = subprocess.Popen
    monkeypatch.setattr(
        jobs.subprocess,
        "Popen",
        lambda command, **options: popen(
            [command[0], "-c", STAND_IN, *command[command.index("kgan") + 1 :]], **options
        ),
    )
    settings = {"dataset": "folder", "data_dir": str(tmp_path / "images"), "image_size": 28, "channels": 1}
    settings |= {"arch": "mlp", "steps": 4, "batch_size": 16, "d_lr": 4e-4}
    return lambda grid, **options: kgan.sweep(settings, grid, sweep_dir=tmp_path / "sweep", **options)


class Log(SweepListener):
    """Notes the name of each task with the exit code of its last command."""

    def __init__(self):
        self.ends = []

    def ended(self, task, command, code):
        self.ends.append((task.name, command[0], code))


def test_a_cell_that_somebody_else_stops_is_not_done(sweep, tmp_path):
    result = sweep({"d_lr": [0.2], "seed": [0, 1]})
    assert [row.status for row in result.rows] == ["interrupted"] * 2
    assert result.failed == tuple(row.run_dir for row in result.rows)


def test_a_cell_that_another_sweep_takes_up_has_not_failed(sweep, tmp_path):
    class Overtakes(SweepListener):
        def started(self, task):
            self.other = RunDir.create(tmp_path / "sweep" / task.name, TrainConfig())

    result = sweep({"seed": [0]}, listener=Overtakes())
    assert "another process is training here" in (tmp_path / "sweep/seed=0.log").read_text()
    assert [row.status for row in result.rows] == ["running"] and result.failed == ()


def test_no_cell_starts_where_one_has_no_run_to_start_from(sweep, tmp_path):
    with pytest.raises(UserError, match="^the cell init_from=.* cannot be: --init_from: .*nowhere: not a run folder"):
        sweep({"init_from": [None, str(tmp_path / "nowhere")]})
    assert not (tmp_path / "sweep").exists()


def test_a_damaged_run_stops_a_sweep_only_where_it_is_one_of_its_cells(sweep, tmp_path):
    assert [row.status for row in sweep({"seed": [0]}).rows] == ["finished"]
    (tmp_path / "sweep/seed=0/config.json").write_text("{")
    assert [row.status for row in sweep({"seed": [1]}).rows] == ["finished"]
    with pytest.raises(UserError, match="^[^:]*config.json: not readable"):
        sweep({"seed": [0]})


def test_cells_fail_alone_are_tried_again_and_are_ranked(sweep, tmp_path):
    broken = tmp_path / "sweep/seed=1"
    broken.mkdir(parents=True)
    (broken / "notes.txt").write_text("in the way")
    log, counts = Log(), []
    result = sweep({"seed": [0, 1]}, jobs=2, progress=lambda done, total: counts.append((done, total)), listener=log)
    assert sorted(log.ends) == [("seed=0", "train", 0), ("seed=1", "train", 1)] and counts == [(1, 2), (2, 2)]
    assert result.failed == (broken,) and result.best is None and result.figure is None
    assert [row.status for row in result.rows] == ["finished", "failed"]
    assert result.csv.read_text().splitlines()[1:] == [
        f"0,finished,,{tmp_path}/sweep/seed=0",
        f"1,failed,,{tmp_path}/sweep/seed=1",
    ]
    (broken / "notes.txt").unlink()
    weights = tmp_path / "sweep/seed=0/checkpoints/step-0000004.npz"
    trained = weights.stat().st_mtime_ns
    result = sweep({"seed": [0, 1]}, evaluate=True)
    assert [(row.score, row.commands) for row in result.rows] == [(10.0, ()), (11.0, ())] and not result.failed
    assert result.best.settings == {"seed": 0} and result.figure == tmp_path / "sweep/sweep.png"
    assert weights.stat().st_mtime_ns == trained


def test_a_dry_run_says_what_is_left_and_writes_nothing(sweep, tmp_path):
    result = sweep({"seed": [0, 1], "d_lr": [4e-4]}, dry_run=True, evaluate=True)
    train, evaluate = result.rows[1].commands
    run = f"{tmp_path}/sweep/seed=1_d_lr=0.0004"
    assert train[0] == "train" and {"--seed=1", "--arch=mlp", f"--run_dir={run}"} <= set(train)
    assert evaluate == ("evaluate", run)
    assert result.csv is None and not (tmp_path / "sweep").exists()


def test_a_loss_that_became_non_finite_is_a_result_and_not_tried_again(sweep):
    for _ in range(2):
        log = Log()
        result = sweep({"seed": [0], "d_lr": [0.1]}, evaluate=True, listener=log)
        assert [row.status for row in result.rows] == ["non-finite"] and not result.failed
    assert log.ends == []


def test_another_run_in_the_place_of_a_cell_is_refused(sweep):
    sweep({"seed": [0]})
    with pytest.raises(UserError, match="holds another run: --d_lr was 0.0004 and is 0.001"):
        kgan.sweep(
            {"dataset": "folder", "data_dir": "x", "d_lr": 1e-3, "arch": "mlp", "image_size": 28, "channels": 1}
            | {"steps": 4, "batch_size": 16},
            {"seed": [0]},
            sweep_dir=sweep({"seed": [0]}).sweep_dir,
            dry_run=True,
        )


def test_mistakes_are_told_before_anything_is_made(sweep, tmp_path):
    for options, words in (({"jobs": 0}, "--jobs=0"), ({"random": 3}, "has only 2 cells")):
        with pytest.raises(UserError, match=words):
            sweep({"seed": [0, 1]}, **options)
    for grid, words in (
        ({"g_lr": [1e-4, -1.0]}, r"the cell g_lr=-1.0 cannot be: --g_lr=-1.0: must be more than 0.0"),
        ({"arch": ["mlp", "vit"]}, "the cell arch=vit cannot be: --arch=vit: must be one of dcgan"),
        ({"batch_size": [8, 600]}, "the cell batch_size=600 cannot be: --batch_size=600 is more than the 144"),
        ({"data_dir": ["/nowhere"]}, "/nowhere: not a folder"),
    ):
        with pytest.raises(UserError, match=words):
            sweep(grid)
    with pytest.raises(UserError, match="there is no setting 'los'"):
        kgan.sweep({"los": "ns"}, {"seed": [0]}, sweep_dir=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
