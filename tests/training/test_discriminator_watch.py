"""What is said of a discriminator that overfits, or tells nothing apart, and what that rests on."""

import keras
import numpy as np
import pytest

import kgan
from kgan import TrainConfig
from kgan.data.sources import SOURCES, ImageSet
from kgan.runs.rundir import RunDir
from kgan.training.meter import HeldoutMeter
from kgan.training.plan import Plan
from kgan.training.watch import WINDOW, DiscriminatorWatch
from tests.conftest import draw_folder


def brightness(*inputs) -> keras.Model:
    """A discriminator whose logit is the mean pixel in [-1, 1], but for what dropout takes in training."""
    image = keras.Input((4, 4, 1))
    score = keras.layers.GlobalAveragePooling2D()(keras.layers.Dropout(0.9)(image))
    return keras.Model([image, *inputs] if inputs else image, score)


def plan(heldout: int, **settings) -> Plan:
    """Of 60 training images of level 255, and held-out ones of level 127.5 on average."""
    images = np.full((60 + heldout, 4, 4, 1), 255, np.uint8)
    images[60:, :2], images[60:, 2:] = 0, 255
    config = TrainConfig(dataset="folder", log_every=10, batch_size=8, augment="diffaug", **settings)
    data = ImageSet(SOURCES["folder"], images, None, ())
    return Plan(config, data, np.arange(60), np.arange(60, 60 + heldout), {}, 7, 100)


@pytest.mark.parametrize("inputs", [(), (keras.Input((), dtype="int64"),)])
def test_it_is_real_less_the_gap_between_images_as_they_are(inputs):
    meter = HeldoutMeter(plan(20), brightness(*inputs))
    assert meter.measure(10, {"d_real": 7.0})["d_heldout"] == pytest.approx(6.0, abs=1e-6)


def test_many_meters_in_one_process_bring_no_warning_of_retracing(caplog):
    for _ in range(6):
        HeldoutMeter(plan(20), brightness()).measure(10, {"d_real": 7.0})
    assert "retracing" not in caplog.text


def test_without_held_out_images_there_is_nothing():
    assert HeldoutMeter(plan(0), brightness()).measure(10, {"d_real": 7.0}) == {}


def test_which_images_is_a_matter_of_seed_and_step():
    images = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1), np.uint8)
    data = ImageSet(SOURCES["folder"], images, None, ())

    def measured(step, seed):
        config = TrainConfig(dataset="folder", log_every=10, batch_size=8, seed=seed)
        meter = HeldoutMeter(Plan(config, data, np.arange(60), np.arange(60, 100), {}, 7, 100), brightness())
        return meter.measure(step, {"d_real": 0.0})["d_heldout"]

    assert measured(10, 0) == measured(10, 0)
    assert len({measured(10, 0), measured(20, 0), measured(10, 1)}) == 3


def line(gap: float, whole: float = 1.0) -> dict[str, float]:
    return {"d_real": 5.0, "d_heldout": 5.0 - gap, "d_fake": 5.0 - whole}


def at_steps(lines, apart: int = 10) -> list[dict[str, float]]:
    return [{"step": apart * number, **one} for number, one in enumerate(lines, 1)]


def said(lines, earlier=(), apart=10, **settings) -> list[str]:
    watch = DiscriminatorWatch(TrainConfig(**settings), "runs/x", at_steps(earlier))
    return [advice for line in at_steps(lines, apart) for advice in watch.follow(line)]


def test_an_open_gap_is_said_once_and_not_again_when_resumed():
    opening = [line(0.0)] * 5 + [line(0.6 + 0.01 * number) for number in range(WINDOW)]
    (advice,) = said([*opening, *opening])
    assert "overfits" in advice and "r_v 0.5" in advice and "kgan audit runs/x" in advice
    assert said(opening, earlier=opening) == []
    assert len(said(opening[:-3]) + said(opening[-3:], earlier=opening[:-3])) == 1


@pytest.mark.parametrize(
    "lines",
    [
        [line(0.4)] * 50,
        [line(0.9)] * (WINDOW - 1),
        [line(8.0 * (-1) ** number + 0.7) for number in range(50)],  # as good as noise
        [line(-0.9, whole=-1.0)] * 50,
        [{"d_real": 1.0, "d_fake": 0.0}] * 50,
        [line(0.0, whole=0.015)] * 50,
        [line(0.0, whole=0.5 * (-1) ** number + 0.05) for number in range(50)],
    ],
)
def test_a_gap_that_is_small_or_noise_is_none(lines):
    assert said(lines) == []


def test_a_discriminator_that_tells_nothing_apart_is_said_once():
    blind = [line(0.0, whole=0.005 * (-1) ** number) for number in range(30)]
    (advice,) = said([line(0.0)] * 20 + blind)
    assert "learns nothing" in advice and "--init_stddev=0.04" in advice
    assert said(blind, earlier=blind) == []
    assert len(said([{"d_real": 0.0, "d_fake": 0.0}] * 30)) == 1
    (advice,) = said(blind, init_stddev=0.0)
    assert "Begin anew with another --d_lr" in advice and "--init_stddev" not in advice


def test_a_discriminator_that_has_only_begun_to_learn_is_given_time():
    rising = [line(0.0, whole=0.0005 * number) for number in range(1, 21)]
    assert said([*rising, line(0.0, whole=0.05)]) == []
    assert said([line(0.0, whole=0.001)] * WINDOW, apart=1) == []
    assert len(said([line(0.0, whole=0.001)] * WINDOW)) == 1


def test_it_may_come_after_the_images_were_known_by_heart():
    lines = [line(0.9)] * WINDOW + [line(0.0, whole=0.0)] * WINDOW
    assert ["overfits" in advice for advice in said(lines)] == [True, False]


def test_the_advice_names_what_is_not_done_yet():
    known = [line(0.9)] * WINDOW
    assert "--augment" in said(known)[0] and "--augment" not in said(known, augment="diffaug")[0]


def test_a_discriminator_that_learns_its_images_by_heart_is_noticed(tmp_path):
    data = draw_folder(tmp_path / "images", 116)
    settings = {
        "dataset": "folder", "data_dir": str(data), "image_size": 28, "channels": 1, "arch": "mlp", "d_lr": 1e-3,
        "num_heldout": 100, "batch_size": 16, "log_every": 10, "run_dir": tmp_path / "run",
    }  # fmt: skip
    run = RunDir(kgan.train(**settings, steps=300))
    lines = run.read_metrics()
    assert lines[-1]["d_real"] - lines[-1]["d_heldout"] > 0.5 * (lines[-1]["d_real"] - lines[-1]["d_fake"])
    assert run.log_file.read_text().count("it overfits") == 1
    kgan.train(**settings, steps=400, resume="auto")
    assert run.log_file.read_text().count("it overfits") == 1


def test_a_discriminator_that_does_not_learn_is_noticed(tmp_path):
    data = draw_folder(tmp_path / "images", 20)
    settings = {"dataset": "folder", "data_dir": str(data), "image_size": 28, "channels": 1, "arch": "mlp"}
    run = kgan.train(
        **settings, init_stddev=1e-3, d_lr=1e-12, batch_size=8, log_every=10, steps=150, run_dir=tmp_path / "run"
    )
    assert RunDir(run).log_file.read_text().count("--init_stddev=0.002") == 1
