"""A cell's folder, what is left to do in it, and how it is told from another run's."""

import json
import shutil

import pytest

from kgan.errors import UserError
from kgan.runs.rundir import RunDir
from kgan.sweeping import display, results
from kgan.sweeping.cells import folder_name, make_cells, resolved_in
from kgan.training.plan import resolve

SHARED = {"dataset": "mnist5k", "steps": 4}
CARD = {"num_train": 4500, "num_heldout": 500, "image_shape": [28, 28, 1], "classes": {"0": 1}, "sha256": "d" * 64}


def make(folder, *grid, **shared):
    return make_cells(SHARED | shared, grid, folder)


def train(cell, status="finished", step=4, path=None):
    """What `kgan train` would have left of a cell, less the weights."""
    run = RunDir.create(path or cell.run.path, resolve(cell.config, CARD)[0])
    run.update_record(status=status, dataset=CARD)
    (run.checkpoints / f"step-{step:07}.npz").touch()
    run.unlock()
    return run


def write_evaluation(run: RunDir, distance: float, step: int = 4, **how):
    report = {"scores": {"frechet_distance": distance}, "floor": {"frechet_distance": 1.0}}
    report["protocol"] = {"run_id": run.read_record()["id"], "step": step, "distance_name": "classifier FD", **how}
    (run.path / "evaluation.json").write_text(json.dumps(report))


def test_values_that_mean_the_same_are_one_cell_and_no_two_share_a_folder(tmp_path):
    grid = [{"augment": "diffaug"}, {"augment": "color,translation,cutout"}]
    with pytest.raises(UserError, match="two cells of the grid are augment=diffaug: values of a setting that mean"):
        make(tmp_path, *grid)


def test_folder_names_are_safe_and_tell_settings_apart():
    assert folder_name({"loss": "ns", "g_lr": 1e-5, "flip": True}) == "loss=ns_g_lr=1e-05_flip=true"
    names = {folder_name({"data_dir": path}) for path in ("/a/b", "/a b", "/a;b", "x" * 300, "x" * 301)}
    assert len(names) == 5
    assert all(not set(name) & set("/ ;'\"$") and len(name) < 200 for name in names)


def test_a_cell_that_train_would_refuse_is_named(tmp_path):
    with pytest.raises(UserError, match=r"the cell loss=hinge,seed=1 cannot be: --label_smoothing has no meaning"):
        make(tmp_path, {"loss": "ns", "seed": 1}, {"loss": "hinge", "seed": 1}, label_smoothing=0.1)
    with pytest.raises(UserError, match=r"the cell g_lr=0.0 cannot be: --g_lr=0.0: must be more than 0"):
        make(tmp_path, {"g_lr": 0.0})


def test_what_is_left_to_do(tmp_path):
    (cell,) = make(tmp_path, {"seed": 1})
    path = str(cell.run.path)
    training = ["train", "--dataset=mnist5k", "--steps=4", "--seed=1", f"--run_dir={path}", "--resume=auto"]
    assert cell.run.status() == "waiting"
    assert cell.commands(True, True) == [training, ["evaluate", path], ["audit", path]]
    run = train(cell, "running")
    assert [command[0] for command in cell.commands(True, False)] == ["train", "evaluate"]
    run.lock()
    assert cell.commands(True, True) == []
    run.unlock()
    run.update_record(status="finished")
    assert cell.commands(False, False) == []
    assert cell.commands(True, False) == [["evaluate", path]]
    write_evaluation(run, 2.5, step=3)  # of an earlier checkpoint
    assert cell.commands(True, False) == [["evaluate", path]]
    write_evaluation(run, 2.5, ema=False)  # of the weights that are not averaged
    assert cell.commands(True, False) == [["evaluate", path]]
    write_evaluation(run, 2.5)
    (run.path / "audit.json").write_text('{"verdict": "no copying detected"}')
    assert cell.commands(True, True) == []
    run.update_record(status="interrupted")
    assert [command[0] for command in cell.commands(True, True)] == ["train", "evaluate", "audit"]
    run.update_record(status="non-finite")
    assert cell.commands(True, True) == []


def test_a_folder_with_another_run_is_refused_with_the_difference(tmp_path):
    (cell,) = make(tmp_path, {"seed": 1})
    train(cell)
    cards = {cell.name: CARD}
    assert resolved_in(tmp_path, [cell], cards)[0].run.path == cell.run.path
    (longer,) = make(tmp_path, {"seed": 1}, steps=8, d_lr=1e-3)
    with pytest.raises(UserError, match=r"seed=1 holds another run: --steps was 4 and is 8, --d_lr was 0.0004 and is"):
        resolved_in(tmp_path, [longer], cards)
    (other,) = make(tmp_path, {"seed": 1}, num_heldout=7)
    with pytest.raises(UserError, match="--num_heldout was 500 and is 7"):
        resolved_in(tmp_path, [other])
    with pytest.raises(UserError, match="was trained on other images"):
        resolved_in(tmp_path, [cell], {cell.name: CARD | {"sha256": "e" * 64}})


def test_a_folder_of_images_may_be_named_from_here(tmp_path, monkeypatch):
    """A run keeps its absolute path."""
    monkeypatch.chdir(tmp_path)
    (cell,) = make(tmp_path, {"data_dir": "images"})
    run = train(cell)
    run.write_config(run.read_config().replace(data_dir=str(tmp_path / "images")))
    assert resolved_in(tmp_path, [cell], {cell.name: CARD})[0].run.path == cell.run.path


def test_another_grid_finds_the_runs_with_its_settings(tmp_path):
    (narrow,) = make(tmp_path, {"loss": "ns"})
    train(narrow)
    wide = make(tmp_path, {"loss": "ns", "seed": 0}, {"loss": "ns", "seed": 1})
    cells = resolved_in(tmp_path, wide, {cell.name: CARD for cell in wide})
    assert [cell.name for cell in cells] == ["loss=ns", "loss=ns_seed=1"]
    assert [cell.run.status() for cell in cells] == ["finished", "waiting"]


def test_a_run_of_other_length_or_penalties_is_not_the_cell_that_leaves_them_to_the_defaults(tmp_path):
    """Where the data are not read, as in a dry run, too."""
    shared = {"dataset": "mnist5k"}
    for given in ({"epochs": 10}, {"r1_weight": 0.0}):
        (other,) = make_cells(shared | given, [{"seed": 1}], tmp_path)
        run = train(other, path=tmp_path / "other")
        (cell,) = make_cells(shared, [{"seed": 1}], tmp_path)
        for cards in (None, {cell.name: CARD}):
            assert resolved_in(tmp_path, [cell], cards)[0].run.path == cell.run.path
        shutil.rmtree(run.path)
        train(other)
        with pytest.raises(UserError, match=rf"holds another run: --{next(iter(given))} was"):
            resolved_in(tmp_path, [cell])
        shutil.rmtree(other.run.path)


def test_a_run_of_another_name_is_a_cell_only_on_the_same_images(tmp_path):
    shared = {"dataset": "folder", "image_size": 28, "channels": 1, "steps": 4}
    (old,) = make_cells(shared, [{"data_dir": "a", "seed": 1}], tmp_path)
    train(old)
    for folder, found in (("a", True), ("b", False)):
        (cell,) = make_cells({**shared, "data_dir": folder}, [{"seed": 1}], tmp_path)
        card = CARD | {"sha256": (CARD["sha256"] if found else "e" * 64)}
        for cards in (None, {cell.name: card}):
            assert (resolved_in(tmp_path, [cell], cards)[0].run.path == old.run.path) == found


def test_settings_are_passed_on_as_they_are_kept(tmp_path):
    """An `os.PathLike`, such as what `kgan.train` returns, as its path."""
    (cell,) = make(tmp_path, {"seed": 1}, init_from=tmp_path / "earlier")
    assert f"--init_from={tmp_path / 'earlier'}" in cell.commands(False, False)[0]
    (cell,) = make(tmp_path, {"init_from": tmp_path / "earlier"})
    assert cell.name == make(tmp_path, {"init_from": str(tmp_path / "earlier")})[0].name


def test_sweep_csv_has_a_row_a_cell(tmp_path):
    cells = make(tmp_path, {"loss": "ns", "seed": 0}, {"loss": "ns", "seed": 1}, {"loss": "hinge", "seed": 0})
    write_evaluation(train(cells[0]), 12.28)
    write_evaluation(train(cells[1]), 3.5)
    rows = [results.gather(cell, evaluate=False, audit=False) for cell in cells]
    written = results.write(tmp_path, rows, with_verdict=False)
    assert written == (tmp_path / "sweep.csv", tmp_path / "sweep.png") and written[1].exists()
    lines = (tmp_path / "sweep.csv").read_text().splitlines()
    assert lines[0] == "loss,seed,status,score,run_dir"
    assert lines[1] == f"ns,0,finished,12.28,{tmp_path}/loss=ns_seed=0"
    assert lines[3] == f"hinge,0,waiting,,{tmp_path}/loss=hinge_seed=0"
    table = display.table(results.SweepResult(tmp_path, tuple(rows)), has_verdict=True)
    assert [str(cell) for cell in table.columns[3].cells] == ["3.50", "12.3", ""]
    results.write(tmp_path, rows, with_verdict=True)
    assert (tmp_path / "sweep.csv").read_text().startswith("loss,seed,status,score,verdict,run_dir\n")


def test_scores_of_different_units_are_not_ranked_and_the_table_says_what_they_are(tmp_path):
    cells = make(tmp_path, {"num_train": 200}, {"num_train": 1000}, {"num_train": 2000})
    write_evaluation(train(cells[0]), 20.0, features="pca", num_samples=100, reference="train")
    write_evaluation(train(cells[1]), 10.0, features="classifier", num_samples=500, reference="train")
    rows = tuple(results.gather(cell, evaluate=False, audit=False) for cell in cells)
    result = results.SweepResult(tmp_path, rows)
    assert result.best is None and result.ranked == list(rows)
    assert result.objection == "the scores are not comparable, for not all have the same features, number of samples"
    assert results.write(tmp_path, rows, with_verdict=False) == (tmp_path / "sweep.csv", None)
    assert (tmp_path / "sweep.csv").read_text().splitlines() == [
        "num_train,status,score,features,num_samples,run_dir",
        f"200,finished,20,pca,100,{tmp_path}/num_train=200",
        f"1000,finished,10,classifier,500,{tmp_path}/num_train=1000",
        f"2000,waiting,,,,{tmp_path}/num_train=2000",
    ]
