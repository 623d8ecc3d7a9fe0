"""Reading a trained generator back: from latents of one's own, and without TensorFlow until the run is known."""

import subprocess
import sys

import numpy as np
import pytest

import kgan
from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.latents import latents
from kgan.models.architectures import Shapes, build_generator
from kgan.runs.generator import TrainedGenerator, class_number, in_proportion


@pytest.fixture(scope="module")
def trained() -> TrainedGenerator:
    config = TrainConfig(dataset="folder", image_size=28, channels=1, arch="mlp", latent_dim=7)
    return TrainedGenerator(config, build_generator(config, Shapes(28, 1, 0)), 0, 5, "0" * 64, {}, ema=False)


def test_given_latents_are_decoded(trained):
    z = latents(3, range(130), 7)
    assert np.array_equal(trained.generate(z=z), trained.generate(130, seed=3))
    assert not np.array_equal(trained.generate(4, truncation=0.1), trained.generate(4))
    for wrong in (np.zeros(7), np.zeros((2, 8)), np.full((1, 7), np.nan), [["a"]], [[0], [0, 1]], [[10**400] * 7], {}):
        with pytest.raises(UserError, match="must be finite numbers"):
            trained.generate(z=wrong)
    for arguments in ({}, {"n": 1, "z": z}):
        with pytest.raises(UserError, match="give either n"):
            trained.generate(**arguments)


def test_the_number_of_images_is_a_whole_number(trained):
    assert len(trained.generate(np.int64(2))) == 2 and len(trained.generate(0)) == 0
    for wrong in (2.5, -1, "2", True, float("nan"), [1]):
        with pytest.raises(UserError, match="n=.*: must be a whole number from 0"):
            trained.generate(wrong)


def test_many_generators_in_one_process_bring_no_warning_of_retracing(caplog):
    for latent_dim in range(5, 13):
        config = TrainConfig(dataset="folder", image_size=28, channels=1, arch="mlp", latent_dim=latent_dim)
        made = TrainedGenerator(config, build_generator(config, Shapes(28, 1, 0)), 0, 5, "0" * 64, {}, ema=False)
        assert made.generate(2).shape == (2, 28, 28, 1)
    assert "retracing" not in caplog.text


def test_labels_are_numbers_or_names():
    names = ["cat", "1", "dog"]
    assert [class_number(label, names) for label in (0, "0", "dog", "1", np.int64(2))] == [0, 0, 2, 1, 2]
    for wrong in (3, "3", -1, "-1", "Cat", "", 0.5, None, float("inf"), float("nan"), [0], np.arange(2)):
        with pytest.raises(UserError, match="a label must be one of 0 to 2, or of cat, 1, dog"):
            class_number(wrong, names)
    with pytest.raises(UserError, match="a label must be one of 0 to 1$"):
        class_number("cat", ["0", "1"])


@pytest.mark.parametrize("counts", [[1, 1, 1], [9, 1], [0, 6, 0, 3], [5421, 6742, 5958], [1] * 300, [0, 0]])
def test_labels_are_in_the_proportions_of_the_data_from_the_first_on(counts):
    shares = np.array(counts) / sum(counts) if any(counts) else np.full(len(counts), 1 / len(counts))
    labels = in_proportion(counts, 1000)
    assert labels.shape == (1000,) and labels.dtype == np.int64
    for n in (0, 1, 7, 100, 1000):
        assert np.array_equal(in_proportion(counts, n), labels[:n])
        assert np.all(np.abs(np.bincount(labels[:n], minlength=len(counts)) - n * shares) <= 1)
    if len(set(counts)) == 1:
        assert np.array_equal(labels, np.arange(1000) % len(counts))


def test_labels_that_are_none_are_refused(trained):
    config, record = trained.config, {"dataset": {"classes": {"cat": 3, "dog": 3}}}
    conditional = TrainedGenerator(config, build_generator(config, Shapes(28, 1, 2)), 2, 5, "0" * 64, record, ema=False)
    for wrong in ([None], [float("inf")], [[0], [0, 1]], {0}):
        with pytest.raises(UserError, match="a label must be one of 0 to 1, or of cat, dog"):
            conditional.generate(1, labels=wrong)
    with pytest.raises(UserError, match="one label, or one for each of 3 images"):
        conditional.generate(3, labels=[0, 1])


def test_an_absent_run_is_said_before_tensorflow_is_imported(tmp_path):
    code = (
        "import kgan, sys\n"
        f"try: kgan.load({str(tmp_path)!r})\n"
        "except kgan.UserError as error: print(error, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "not a run folder" in done.stdout and done.stdout.endswith("False\n"), done


def test_the_public_names_are_listed_and_others_refused():
    assert {"train", "load", "audit", "TrainConfig"} <= set(dir(kgan))
    with pytest.raises(AttributeError, match="no attribute 'tain'"):
        kgan.tain  # noqa: B018
