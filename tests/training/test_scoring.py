"""Scores while training: when, what they leave, and that the best checkpoint outlives a crash."""

import json
import shutil

import numpy as np
import pytest

import kgan as package
from kgan.errors import UserError
from kgan.evaluation import protocol
from kgan.runs import checkpoint
from kgan.runs.generator import TrainedGenerator, load
from kgan.training import scoring
from kgan.training.plan import Plan, make_plan
from tests.conftest import draw_folder

SCORED = [9, 18, 27]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGAN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> package.TrainConfig:
    """Three epochs of 9 steps on 160 unlabelled images, scored after each."""
    data = draw_folder(tmp_path_factory.mktemp("data") / "images", 160, classes=0)
    return package.TrainConfig(
        dataset="folder", data_dir=str(data), image_size=28, channels=1, arch="mlp", batch_size=16, epochs=3,
        save_every=4, log_every=5, eval_every=1, g_lr=0.01, ema_decay=0.5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return package.train(config, run_dir=tmp_path_factory.mktemp("whole") / "run").path


def lines(run) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def scores(run) -> dict[int, float]:
    return {line["step"]: line["frechet_distance"] for line in lines(run) if "frechet_distance" in line}


def test_scored_steps_are_logged_and_saved_and_the_best_is_kept(run):
    assert list(scores(run)) == SCORED
    assert [line["step"] for line in lines(run)] == [5, 9, 10, 15, 18, 20, 25, 27]
    assert set(scoring.SCORES) <= set(lines(run)[-1])
    step = min(scores(run), key=scores(run).get)
    assert json.loads((run / "checkpoints" / "best.json").read_text()) == {"step": step, "score": scores(run)[step]}
    kept = [checkpoint.step_of(path) for path in checkpoint.paths(run / "checkpoints")]
    assert kept == sorted({20, 24, 27, step})
    assert load(run).step == step
    record = json.loads((run / "run.json").read_text())["evaluation"]
    assert record["protocol"]["num_samples"] == 72 and record["protocol"]["distance_name"] == "PCA FD"
    assert 0 < record["floor"]["frechet_distance"] < min(scores(run).values())


def test_the_score_is_that_of_evaluate(run, config):
    prepared = scoring.prepare(make_plan(config))
    network = protocol.load_network(prepared.choice, prepared.reference)
    evaluator = protocol.Evaluator(network, prepared.reference, 72)
    found = load(run, "27")
    assert found.ema
    assert evaluator.scores(found.generate(72, config.seed))["frechet_distance"] == scores(run)[27]


@pytest.mark.parametrize("num_train", [None, 140])
def test_samples_are_held_against_the_images_that_are_trained_on(config, num_train):
    plan = make_plan(config.replace(num_train=num_train))
    reference = scoring.prepare(plan).reference
    assert np.array_equal(reference.images[:], plan.data.images[plan.training])
    assert np.array_equal(reference.fit_images[:], plan.data.images[make_plan(config).training])  # all not held out
    assert (reference.data_sha256, reference.num_heldout) == (plan.data.sha256, plan.card["num_heldout"])


@pytest.mark.parametrize("moment", ["save", "keep_if_best"])
def test_the_best_outlives_a_crash(run, config, tmp_path, monkeypatch, moment):
    crashed, original = tmp_path / "run", getattr(checkpoint, moment)

    def crash(folder, step, *rest):
        if step == 18:
            raise RuntimeError("killed")
        return original(folder, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, moment, crash)
        with pytest.raises(RuntimeError, match="killed"):
            package.train(config, run_dir=crashed)
    package.train(config, run_dir=crashed, resume=True)
    assert scores(crashed) == pytest.approx(scores(run), rel=1e-6)
    best = [json.loads((path / "checkpoints" / "best.json").read_text()) for path in (crashed, run)]
    assert best[0] == pytest.approx(best[1], rel=1e-6)


def test_what_a_crash_left_out_of_best_json_is_entered_on_resuming(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    opened = scoring.RunDir.open(tmp_path / "run")
    (opened.checkpoints / "best.json").write_text('{"step": 27, "score": 1e9}')
    scoring.restore_best(opened)
    assert checkpoint.best(opened.checkpoints) == min(scores(run).items(), key=lambda scored: scored[1])


def test_a_run_that_goes_on_from_an_earlier_checkpoint_forgets_a_later_best(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    opened = scoring.RunDir.open(tmp_path / "run")
    newest = checkpoint.paths(opened.checkpoints)[-1]
    newest.write_bytes(b"damaged")
    (opened.checkpoints / "best.json").write_text(f'{{"step": {checkpoint.step_of(newest)}, "score": 1e-9}}')
    opened.update_record(status="interrupted")
    package.train(run_dir=opened.path, resume=True)
    assert newest.exists() and newest.with_name(f"{newest.name}.damaged").read_bytes() == b"damaged"
    assert checkpoint.best(opened.checkpoints)[1] == pytest.approx(min(scores(run).values()), rel=1e-6)


def test_samples_that_are_held_against_real_ones_have_the_classes_in_their_proportions(tmp_path, monkeypatch):
    data = draw_folder(tmp_path / "images", 200, classes=5)
    for path in sorted((data / "class4").glob("*.png"))[8:]:
        path.rename(data / "class0" / path.name)
    (data / "dataset.json").unlink()
    drawn, generate = [], TrainedGenerator.generate

    def noting(self, n=None, seed=0, labels=None, **options):
        drawn.append(np.bincount(self.labels_for(range(n), labels)).tolist())
        return generate(self, n, seed, labels, **options)

    monkeypatch.setattr(TrainedGenerator, "generate", noting)
    run = package.train(
        dataset="folder", data_dir=str(data), accept_unknown_license=True, image_size=28, channels=1, arch="mlp",
        batch_size=16, steps=11, eval_every=1, eval_samples=75, run_dir=tmp_path / "run",
    )  # fmt: skip
    package.evaluate(run, features="pca", num_samples=75)
    package.audit(run, num_samples=75)
    assert drawn == [[27, 15, 15, 15, 3]] * 3  # of 72, 40, 40, 40 and 8


def test_all_that_samples_takes_the_best_checkpoint(config, tmp_path):
    settings = {"steps": 4, "epochs": None, "eval_every": None, "save_every": 1}
    run = package.train(config, **settings, run_dir=tmp_path / "run").path
    checkpoint.keep_if_best(run / "checkpoints", 2, 1.0)
    for which, step in ({}, 2), ({"checkpoint": "last"}, 4):
        sampled = package.sample(run, num=1, grid=False, out=tmp_path / str(step), **which)
        evaluated = package.evaluate(run, num_samples=70, **which)
        audited = package.audit(run, num_samples=20, **which)
        assert (sampled.step, evaluated.protocol["step"], audited.protocol["step"]) == (step, step, step)
        package.export(run, out=tmp_path / f"export-{step}", license="MIT", **which)
        assert load(run, step).checkpoint_sha256 in (tmp_path / f"export-{step}" / "README.md").read_text("utf-8")


def test_a_run_that_goes_on_is_scored_in_the_features_that_it_had(config, monkeypatch):
    asked, select = [], protocol.select_features

    def noting(name, *rest, **options):
        asked.append(name)
        return select("auto", *rest, **options)

    monkeypatch.setattr(protocol, "select_features", noting)
    for earlier in (None, {"protocol": {"features": "classifier"}}):
        scoring.prepare(make_plan(config), earlier)
    assert asked == ["auto", "classifier"]


def test_too_few_images_are_refused_before_anything_is_written(config, tmp_path):
    with pytest.raises(UserError, match="--eval_every: 40 images are too few for pca features: .*more training images"):
        package.train(config, eval_samples=40, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("d_steps, total", [(1, 40), (2, 41), (3, 40), (5, 33)])
def test_scored_steps(d_steps, total):
    settings = {"eval_every": 2, "d_steps": d_steps, "steps": total}
    plan = Plan(package.TrainConfig(**settings), None, None, None, {}, batches_per_epoch=7, total_steps=total)
    expected = {next(step for step in range(total + 1) if step * d_steps >= passes or step == total)
                for passes in range(14, 14 * 40, 14)}  # fmt: skip
    assert {plan.next_score(step) for step in range(total)} == expected
    assert all(plan.next_score(step) > step for step in range(total))
    assert Plan(package.TrainConfig(), None, None, None, {}, 7, 40).next_score(3) is None


def test_a_damaged_best_json_is_named(tmp_path):
    (tmp_path / "best.json").write_text("{}")
    with pytest.raises(UserError, match="best.json: not readable"):
        checkpoint.best(tmp_path)
