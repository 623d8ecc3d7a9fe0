"""--init_from: what a run takes over from another, what it says of it, and what it no longer needs it for."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import kgan
from kgan.config import TrainConfig
from kgan.data.licensing.card import FILE_NAME
from kgan.errors import UserError
from kgan.runs import checkpoint
from kgan.runs.rundir import INTERRUPTED, RunDir
from kgan.training import start
from tests.conftest import draw_folder

NETWORKS = {"dataset": "folder", "image_size": 28, "channels": 1, "arch": "mlp", "width": 0.1, "latent_dim": 8}
SETTINGS = NETWORKS | {"batch_size": 8, "steps": 4, "conditional": True}


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> RunDir:
    """A run of two classes, whose last checkpoints are of steps 2, 3 and 4; the third has the best score."""
    root = tmp_path_factory.mktemp("parent")
    data = draw_folder(root / "letters", classes=2)
    run = RunDir(kgan.train(**SETTINGS, data_dir=str(data), seed=3, save_every=1, sample_every=1, run_dir=root / "run"))
    checkpoint.keep_if_best(run.checkpoints, 3, 1.0)
    return run


@pytest.fixture
def images(tmp_path) -> str:
    """Others than the parent's, in two classes."""
    return str(draw_folder(tmp_path / "digits", 40, seed=7))


def arrays_of(run: RunDir, step: int) -> dict[str, np.ndarray]:
    return checkpoint.read(checkpoint.path_of(run.checkpoints, step))


def test_it_starts_as_the_ancestor_ended_and_says_so(parent, images, tmp_path):
    result = kgan.train(**SETTINGS, data_dir=images, seed=3, init_from=parent.path, run_dir=tmp_path / "run")
    run, ancestor = RunDir(result), kgan.load(parent.path)
    assert ancestor.step == 3
    begun = kgan.load(run.path, 0)
    np.testing.assert_array_equal(begun.generate(20, seed=5), ancestor.generate(20, seed=5))
    grids = [np.asarray(Image.open(path)) for path in (parent.sample_file(3), run.sample_file(0))]
    np.testing.assert_array_equal(*grids)
    names = [name for name in arrays_of(run, 0) if name.startswith("discriminator/")]
    assert names and all(np.array_equal(arrays_of(run, 0)[name], arrays_of(parent, 3)[name]) for name in names)
    assert not any(
        np.any(value) for name, value in arrays_of(run, 0).items() if name.startswith("d_opt") and "rate" not in name
    )
    (recorded,) = run.read_record()["ancestors"]
    assert (recorded["run_id"], recorded["checkpoint_sha256"]) == (ancestor.record["id"], ancestor.checkpoint_sha256)
    assert (recorded["step"], recorded["ema"]) == (3, True)
    assert recorded["dataset"] == ancestor.record["dataset"]
    assert f"weights of run {ancestor.record['id']} at step 3, trained on letters (CC0-1.0)" in run.log_file.read_text()


def test_ancestors_of_ancestors_are_on_record_in_marks_and_on_the_card(parent, images, tmp_path):
    settings = {**SETTINGS, "data_dir": images}
    child = kgan.train(**settings, init_from=str(parent.path), run_dir=tmp_path / "child")
    run = RunDir(kgan.train(**settings, init_from=child, run_dir=tmp_path / "run"))
    expected = [RunDir(child).read_record()["id"], parent.read_record()["id"]]
    assert [ancestor["run_id"] for ancestor in run.read_record()["ancestors"]] == expected
    samples = kgan.sample(run.path, num=2, out=tmp_path / "samples")
    arrays = kgan.sample(run.path, num=2, npz=True, out=tmp_path / "arrays")
    with Image.open(samples.files[0]) as image:
        marks = json.loads(image.info["kgan"])
    assert [ancestor["run_id"] for ancestor in marks["ancestors"]] == expected
    assert marks["ancestors"][1] == {
        "run_id": expected[1],
        "checkpoint_sha256": kgan.load(parent.path).checkpoint_sha256,
        "data_sha256": parent.read_record()["dataset"]["sha256"],
        "data_license": "CC0-1.0",
    }
    files = [*samples.files, *arrays.files, run.sample_file(0), run.animation_file]
    assert {result.verdict for result in kgan.verify(files).files} == {"consistent"}
    compared = kgan.verify([*samples.files, *arrays.files, run.sample_file(0)], run=run.path)
    assert {result.verdict for result in compared.files} == {"verified"}
    kgan.export(run.path, out=tmp_path / "export", license="MIT")
    card = (tmp_path / "export" / "README.md").read_text()
    section = card[card.index("## Weights it started from") : card.index("## Architecture")]
    assert all(name in section for name in expected) and "letters" in section and section.count("CC0\\-1\\.0") == 2
    assert str(tmp_path) not in card and str(parent.path) not in card
    record = run.read_record()
    run.update_record(ancestors=record["ancestors"][:1])
    refused = kgan.verify(samples.files, run=run.path).files
    assert {result.verdict for result in refused} == {"not what it claims"}
    assert "other runs that its weights came from" in refused[0].reason


def test_a_resumed_run_does_not_need_the_ancestor(parent, images, tmp_path, monkeypatch):
    ancestor = shutil.copytree(parent.path, tmp_path / "ancestor")
    monkeypatch.chdir(tmp_path)
    settings = {**SETTINGS, "data_dir": images, "init_from": "ancestor"}
    run = RunDir(kgan.train(**settings, run_dir=tmp_path / "run"))
    recorded = run.read_record()["ancestors"]
    shutil.rmtree(ancestor)
    assert kgan.train(**settings | {"steps": 6}, run_dir=run.path, resume="auto").step == 6
    assert run.read_record()["ancestors"] == recorded
    with pytest.raises(UserError, match="a resumed run keeps its settings: --init_from was .*ancestor and is .*other;"):
        kgan.train(**settings | {"steps": 7, "init_from": "other"}, run_dir=run.path, resume="auto")
    for path in checkpoint.paths(run.checkpoints):
        path.unlink()
    run.metrics_file.unlink()  # as if it had been killed before its first checkpoint
    run.update_record(status=INTERRUPTED, step=0)
    with pytest.raises(UserError, match="--init_from: .*ancestor: not a run folder"):
        kgan.train(run_dir=run.path, resume=True, steps=7)  # nothing of it was left


@pytest.mark.parametrize("classes, conditional", [(3, True), (2, False)])
def test_layers_that_know_the_classes_are_new_if_their_number_is(parent, tmp_path, classes, conditional):
    data = draw_folder(tmp_path / "images", classes=classes)
    settings = {**SETTINGS, "data_dir": str(data), "conditional": conditional}
    run = RunDir(kgan.train(**settings, init_from=parent.path, run_dir=tmp_path / "run"))
    begun, theirs = arrays_of(run, 0), arrays_of(parent, 3)
    source = {name: f"ema_{name}" for name in begun if name.startswith("generator/")}
    source |= {name: name for name in begun if name.startswith("discriminator/")}
    kept = {name for name, other in source.items() if np.array_equal(begun[name], theirs.get(other, np.empty(0)))}
    new = {name.rpartition("/")[0] for name in set(source) - kept}
    expected = {"generator/embedding", "discriminator/label_features"} if conditional else {"generator/dense_1"}
    assert new == expected
    now = classes if conditional else 0
    assert f"2 classes there, {now} here: new weights for {', '.join(sorted(expected, reverse=True))}" in (
        run.log_file.read_text()
    )


def test_a_layer_that_knows_no_classes_is_never_new(parent, tmp_path):
    ancestor = RunDir(shutil.copytree(parent.path, tmp_path / "ancestor"))
    lacking = {name: value for name, value in arrays_of(ancestor, 3).items() if "generator/dense_2/" not in name}
    checkpoint.save(ancestor.checkpoints, 3, lacking)
    settings = {**SETTINGS, "data_dir": str(draw_folder(tmp_path / "images", classes=3))}
    with pytest.raises(UserError, match="step-0000003.npz: does not fit the networks .* .generator/dense_2"):
        kgan.train(**settings, init_from=ancestor.path, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "other, line",
    [
        ({"width": 0.2, "latent_dim": 9}, "--width was 0.1 and is 0.2, --latent_dim was 8 and is 9;"),
        ({"arch": "dcgan"}, "--arch was mlp and is dcgan;"),
        ({"image_size": 32, "channels": 3}, "--image_size was 28 and is 32, --channels was 1 and is 3;"),
        ({"spectral_norm": True}, "--spectral_norm was False and is True;"),
    ],
)
def test_other_networks_are_refused_by_name(parent, images, tmp_path, other, line):
    with pytest.raises(UserError, match="has other networks: ") as error:
        kgan.train(**SETTINGS | other, data_dir=images, init_from=parent.path, run_dir=tmp_path / "run")
    assert f"{parent.path} has other networks: {line}" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_spectral_norm_by_default_is_spectral_norm_by_name(parent):
    ours = TrainConfig(**SETTINGS, spectral_norm=False, init_from=parent.path)
    assert start.read(ours).num_classes == 2


def test_a_run_whose_record_or_checkpoint_is_damaged_is_one_line(parent, images, tmp_path):
    ancestor = RunDir(shutil.copytree(parent.path, tmp_path / "ancestor"))
    settings = {**SETTINGS, "data_dir": images, "init_from": ancestor.path, "run_dir": tmp_path / "run"}
    arrays = arrays_of(ancestor, 3)
    checkpoint.save(ancestor.checkpoints, 3, arrays | {"generator/dense_1/kernel": np.zeros(3, np.float32)}
                    | {"ema_generator/dense_1/kernel": np.zeros(3, np.float32)})  # fmt: skip
    with pytest.raises(UserError, match="step-0000003.npz: does not fit the networks .* .generator/dense_1"):
        kgan.train(**settings)
    checkpoint.path_of(ancestor.checkpoints, 3).write_bytes(b"PK")
    with pytest.raises(UserError, match="--init_from: .*not a readable checkpoint"):
        kgan.train(**settings)
    shutil.copy(checkpoint.path_of(parent.checkpoints, 3), ancestor.checkpoints)
    ancestor.record_file.write_text("{}")
    with pytest.raises(UserError, match="run.json: does not say which run this is"):
        kgan.train(**settings)


def test_weights_that_are_not_finite_are_no_start(parent, images, tmp_path):
    ancestor = RunDir(shutil.copytree(parent.path, tmp_path / "ancestor"))
    arrays = arrays_of(ancestor, 3)
    arrays["generator/dense_1/kernel"][0] = np.nan
    checkpoint.save(ancestor.checkpoints, 3, arrays)
    with pytest.raises(UserError, match="--init_from: .*step-0000003.npz: its generator/dense_1/kernel is not finite"):
        kgan.train(**SETTINGS, data_dir=images, init_from=ancestor.path, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_frozen_layers_stay_and_the_others_learn(images, tmp_path):
    settings = {**SETTINGS, "data_dir": images, "spectral_norm": True}
    ancestor = kgan.train(**settings, run_dir=tmp_path / "ancestor")
    run = RunDir(kgan.train(**settings, init_from=ancestor, freeze_d=1, run_dir=tmp_path / "run"))
    before, after = arrays_of(run, 0), arrays_of(run, 4)
    ours = [name for name in before if name.startswith("discriminator/")]
    still = {name.split("/")[1] for name in ours if np.array_equal(before[name], after[name])}
    moved = {name.split("/")[1] for name in ours if not np.array_equal(before[name], after[name])}
    assert "dense_1" in still - moved and {"dense_2", "score", "label_features"} <= moved
    assert "kept as they are: discriminator layers dense_1\n" in run.log_file.read_text()


def test_a_layer_with_new_weights_is_not_frozen(parent, tmp_path):
    settings = {**SETTINGS, "data_dir": str(draw_folder(tmp_path / "images", classes=3)), "init_from": parent.path}
    with pytest.raises(UserError, match="--freeze_d=3 keeps the discriminator's label_features as it is.*new weights"):
        kgan.train(**settings, freeze_d=3, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = RunDir(kgan.train(**settings, freeze_d=2, run_dir=tmp_path / "run"))
    assert "kept as they are: discriminator layers dense_1, dense_2\n" in run.log_file.read_text()


def test_some_layer_must_be_left_and_there_must_be_an_ancestor(parent, images, tmp_path):
    with pytest.raises(UserError, match="--freeze_d=4: must be less than 4, the discriminator's layers with weights"):
        kgan.train(**SETTINGS, data_dir=images, init_from=parent.path, freeze_d=4, run_dir=tmp_path / "run")
    with pytest.raises(UserError, match="--freeze_d keeps layers of an earlier run.*name that run with --init_from"):
        kgan.train(freeze_d=1)


def test_permission_is_asked_for_the_ancestors_data_too(images, tmp_path):
    unlicensed = draw_folder(tmp_path / "found")
    (unlicensed / FILE_NAME).unlink()
    override = {"accept_unknown_license": True}
    first = kgan.train(**SETTINGS, **override, data_dir=str(unlicensed), run_dir=tmp_path / "first")
    settings = {**SETTINGS, "data_dir": images}
    with pytest.raises(
        UserError, match="start from was trained on found with --accept_unknown_license: give that here"
    ):
        kgan.train(**settings, init_from=first, run_dir=tmp_path / "second")
    second = kgan.train(**settings, **override, init_from=first, run_dir=tmp_path / "second")
    record = RunDir(second).read_record()
    assert record["dataset"]["overrides"] == [] and record["ancestors"][0]["dataset"]["overrides"] == [*override]
    assert "warning: found states no licence" in RunDir(second).log_file.read_text()
    with pytest.raises(UserError, match="trained on found with --accept_unknown_license"):
        kgan.train(**settings, init_from=second, run_dir=tmp_path / "third")
