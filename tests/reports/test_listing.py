"""The runs of a folder in a line each."""

import json

from kgan import TrainConfig
from kgan.reports import listing
from kgan.runs.rundir import RunDir

LINE = dict.fromkeys(("images_per_second", "data_wait", "d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm"), 1.0)


def make(path, **record) -> RunDir:
    run = RunDir.create(path, TrainConfig())
    run.update_record(**record)
    run.unlock()
    return run


def test_runs_are_listed_with_status_score_and_verdict(tmp_path):
    evaluated = make(tmp_path / "runs/a", status="finished", step=1200, total_steps=1200)
    report = {"scores": {"frechet_distance": 4.25}, "floor": {}, "protocol": {"distance_name": "classifier FD"}}
    (evaluated.path / "evaluation.json").write_text(json.dumps(report))
    (evaluated.path / "audit.json").write_text(json.dumps({"verdict": "cannot tell"}))
    while_training = {"protocol": {"distance_name": "classifier FD"}, "floor": {}}
    scored = make(tmp_path / "runs/b", status="interrupted", step=30, total_steps=90, evaluation=while_training)
    for step, distance in ((10, 9.0), (20, 7.0), (30, 8.0)):
        scored.append_metrics({"step": step, **LINE, "g_grad_norm": 1.0, "frechet_distance": distance})
    (make(tmp_path / "runs/c").path / "run.json").write_text("{")
    (tmp_path / "runs/d").mkdir()
    (make(tmp_path / "runs/g", status="finished").path / "config.json").write_text("{")
    training = make(tmp_path / "runs/e", status="running")
    training.append_metrics({"step": 40, **LINE, "g_grad_norm": 1.0})
    killed = make(tmp_path / "runs/f", status="running", step=0, total_steps=90)
    killed.append_metrics({"step": 50, **LINE, "g_grad_norm": 1.0})
    training.lock()
    runs = listing.runs_here(tmp_path)
    training.unlock()
    assert [(run.path.name, run.status, run.step, run.score, run.verdict) for run in runs] == [
        ("a", "finished", 1200, 4.25, "cannot tell"),
        ("b", "interrupted", 30, 7.0, ""),
        ("c", "unreadable", None, None, ""),
        ("e", "running", 40, None, ""),
        ("f", "interrupted", 50, None, ""),
        ("g", "unreadable", None, None, ""),
    ]
    lines = listing.table(runs).splitlines()
    assert lines[1].split() == f"{tmp_path}/runs/a finished 1,200 of 1,200 classifier FD 4.25 cannot tell".split()
    assert (
        len({line.index("unreadable") if "unreadable" in line else line.find("status") for line in lines} - {-1}) == 1
    )


def test_scores_of_training_and_of_an_evaluation_are_told_apart(tmp_path):
    how = {"distance_name": "classifier FD", "features": "classifier", "num_samples": 2250}
    evaluated = make(tmp_path / "a")
    evaluated.evaluation_file.write_text(json.dumps({"scores": {"frechet_distance": 4.0}, "protocol": how}))
    for count, is_said in ((2250, False), (500, True)):
        trained = make(tmp_path / f"b{count}", evaluation={"protocol": how | {"num_samples": count}, "floor": {}})
        trained.append_metrics({"step": 10, **LINE, "g_grad_norm": 1.0, "frechet_distance": 3.0})
        last = listing.table(listing.list_runs(tmp_path)).splitlines()[-1]
        assert (last == "the scores are not comparable, for not all have the same number of samples") == is_said


def test_a_folder_of_runs_is_listed_from_inside_and_others_are_empty(tmp_path):
    make(tmp_path / "runs/a")
    assert [run.path.name for run in listing.runs_here(tmp_path / "runs")] == ["a"]
    assert listing.runs_here(tmp_path / "runs/a") == listing.runs_here(tmp_path / "nowhere") == []
    (tmp_path / "runs/a/evaluation.json").touch()
    assert [(run.path.name, run.status) for run in listing.runs_here(tmp_path / "runs")] == [("a", "unreadable")]
    (tmp_path / "models/bert").mkdir(parents=True)
    (tmp_path / "models/bert/config.json").write_text('{"model_type": "bert"}')  # other programs' are no runs
    assert listing.runs_here(tmp_path / "models") == []
