"""`kgan export`: files that need no kgan, the same bytes each time, and a card that says what the run's record says."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

import kgan as package
from kgan.exporting.modelcard import model_card
from kgan.images import to_uint8
from kgan.latents import latents
from kgan.provenance.check import Verdict, check
from tests.conftest import kgan, refused
from tests.exporting.test_modelcard import CONFIG, FACTS

PLAIN_KERAS = """
import sys
sys.modules["kgan"] = None  # importing it fails
import keras, numpy as np, tensorflow as tf
z, label = np.load("z.npy"), np.arange(8) % 2
generator = keras.saving.load_model("out/generator.keras", safe_mode=True)
model = tf.saved_model.load("out/saved_model")
served = model.serve(z, label)
np.savez("made.npz", keras=generator([z, label], training=False), served=served)
"""


@pytest.fixture(scope="module")
def exported(trained_run, tmp_path_factory):
    """The run with an evaluation, exported once by the command; the folder beside has generator and z."""
    root = tmp_path_factory.mktemp("export")
    run = root / "run"
    shutil.copytree(trained_run, run)
    report = {"scores": {"frechet_distance": 12.5}, "floor": {"frechet_distance": 1.5}, "protocol": {"seed": 0}}
    (run / "evaluation.json").write_text(json.dumps(report))
    other = {"verdict": "no copies found", "protocol": {"checkpoint_sha256": "0" * 64}}
    (run / "audit.json").write_text(json.dumps(other))
    done = kgan("export", run, f"--out={root / 'out'}", "--license=cc-by-sa-4.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("wrote README.md, generator.keras, samples.png, saved_model to ")
    return root


def test_plain_keras_and_tensorflow_load_it(exported):
    z = latents(0, range(8), 100)
    np.save(exported / "z.npy", z)
    done = subprocess.run([sys.executable, "-c", PLAIN_KERAS], cwd=exported, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    from kgan.runs.generator import load

    expected = load(exported / "run").generate(8)
    with np.load(exported / "made.npz") as made:
        for name in ("keras", "served"):
            levels = to_uint8(made[name]).astype(int) - expected
            assert made[name].shape == (8, 28, 28, 1) and np.abs(levels).max() <= 1


def run_snippets(folder) -> None:
    """Runs the card's Python in the folder, where it may not print, warn or fail."""
    snippets = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), flags=re.DOTALL)
    assert len(snippets) == 2
    code = "\n".join([*snippets, "assert images.shape == (16, 28, 28, 1) and pixels.dtype == np.uint8"])
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True, timeout=300)
    words = [line for line in done.stderr.splitlines() if not re.match(r"[WI]0000|WARNING: All log", line)]
    assert (done.returncode, done.stdout, words) == (0, "", [])


def test_the_snippets_of_the_card_run_without_a_word(exported):
    run_snippets(exported / "out")


def test_those_of_an_unconditional_generator_too(tmp_path):
    from kgan.exporting.archive import keras_archive, write_saved_model
    from kgan.models.architectures import Shapes, build_generator

    config = package.TrainConfig(dataset="folder", image_size=28, channels=1, arch="mlp", latent_dim=7)
    generator = build_generator(config, Shapes(28, 1, 0))
    write_saved_model(generator, tmp_path / "saved_model")
    (tmp_path / "generator.keras").write_bytes(keras_archive(generator))
    (tmp_path / "README.md").write_text(model_card(FACTS | {"config": CONFIG | {"latent_dim": 7}}))
    run_snippets(tmp_path)


def test_two_exports_are_the_same_bytes(exported):
    again = exported / "again"
    package.export(exported / "run", out=again, license="CC-BY-SA-4.0")
    for name in ("generator.keras", "README.md", "samples.png"):
        assert (again / name).read_bytes() == (exported / "out" / name).read_bytes(), name
    import tensorflow as tf

    z, label = tf.constant(latents(1, range(8), 100)), tf.constant(np.arange(8) % 2)
    first, second = (tf.saved_model.load(str(exported / name / "saved_model")) for name in ("out", "again"))
    assert np.array_equal(first.serve(z, label), second.serve(z, label))


def test_card_record_and_picture_agree(exported):
    text = (exported / "out" / "README.md").read_text("utf-8")
    meta = yaml.safe_load(text[4:].partition("\n---\n")[0])
    record = json.loads((exported / "run" / "run.json").read_text())
    assert meta["license"] == "cc-by-sa-4.0" and meta["pipeline_tag"] == "unconditional-image-generation"
    assert meta["library_name"] == "keras" and meta["metrics"] == ["frechet_distance"]
    plain = text.replace("\\", "")
    assert "**Licence:** CC0-1.0" in plain and record["dataset"]["license"] == "CC0-1.0"
    assert record["dataset"]["sha256"] in plain and record["dataset"]["files_sha256"] in plain
    assert record["id"] in plain and "Not looked for." in plain  # the audit was of another checkpoint
    assert "**Generator updates:** 4" in plain and "**Times each training image was shown:** 0.727" in plain
    assert "g_lr 0.01" in plain and "conditional yes" not in plain  # the data decided it
    assert str(exported) not in text
    finding = check(exported / "out" / "samples.png")
    assert finding.verdict == Verdict.CONSISTENT
    marks = finding.marks
    assert (marks.data_sha256, marks.data_license) == (record["dataset"]["sha256"], record["dataset"]["license"])
    assert marks.checkpoint_sha256 in plain
    with Image.open(exported / "out" / "samples.png") as picture:
        assert picture.height > 500  # 32 rows of two classes, and the caption


def test_results_of_the_other_weights_are_left_out_of_the_card(trained_run, tmp_path):
    from kgan.exporting.facts import card_facts
    from kgan.runs.generator import load
    from kgan.runs.rundir import RunDir

    shutil.copytree(trained_run, tmp_path / "run")
    averaged, trained = (load(tmp_path / "run", ema=ema) for ema in (True, False))
    assert averaged.ema and averaged.checkpoint_sha256 == trained.checkpoint_sha256
    how = {"checkpoint_sha256": averaged.checkpoint_sha256, "ema": True}
    for name in ("evaluation.json", "audit.json"):
        (tmp_path / "run" / name).write_text(json.dumps({"protocol": how}))
    for weights, is_theirs in ((averaged, True), (trained, False)):
        facts = card_facts(weights, RunDir(tmp_path / "run"), "CC0-1.0", "best")
        assert [facts[name] is not None for name in ("evaluation", "audit")] == [is_theirs] * 2


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--out=x"], "--license is missing"),
        (["--license=MIT"], "--out is missing"),
        (["--out=x", "--license="], "--license= is empty: give it a value, or leave it out"),
        (["--out=x", "--license=MITT"], "'MITT' is no SPDX licence"),
        (["--out=full", "--license=MIT"], "--out=full is there already"),
        (["--out=/", "--license=MIT"], "--out=/ is there already"),
        (["--out=link", "--license=MIT"], "--out=link cannot be replaced by a folder: name one that is not there yet"),
        (["--out=x", "--license=MIT", "--checkpoint=9"], "--checkpoint=9: must be best, last or one of the steps 4"),
    ],
)
def test_mistakes_get_one_line(trained_run, tmp_path, flags, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    assert words in refused("export", trained_run, *flags, cwd=tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
