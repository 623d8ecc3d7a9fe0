"""`kgan bench`: every case runs, and ratios are taken within a round."""

import json
import threading

import keras
import numpy as np
import pytest

from kgan.bench import flops, keras_loops, torch_loop
from kgan.bench.bench import PLAIN
from kgan.bench.kgan_loops import Training
from kgan.bench.turns import Case, measure, summarise
from kgan.config import TrainConfig
from kgan.models.architectures import Shapes
from tests.conftest import kgan, refused


def test_ratios_are_taken_within_a_round():
    cases = [Case(name, "float32", lambda: lambda: 1, flops=3) for name in "ab"]
    first, second = summarise(cases, np.array([[10.0, 20.0], [1.0, 4.0], [10.0, 30.0]]))
    assert (first.name, first.images_per_second, first.flops_per_second) == ("a", 10, 30)
    assert (first.ratio, first.ratio_low, first.ratio_high, first.rounds) == (1, 1, 1, 3)
    assert (second.images_per_second, second.ratio, second.ratio_low, second.ratio_high) == (20, 3, 2, 4)


def test_cases_take_turns():
    log = []

    def case(name: str) -> Case:
        return Case(name, "float32", lambda: lambda: log.append(name) or 1)

    rates = list(measure([case("a"), case("b")], rounds=2, seconds=0))
    assert log == ["a", "b"] * 4  # the first two of each are not measured
    assert np.shape(rates) == (2, 2) and np.min(rates) > 0


def test_a_training_that_had_no_turn_ends_all_the_same(tmp_path):
    training = Training(TrainConfig(), tmp_path / "run")
    training.start()
    ended = threading.Thread(target=training.end, daemon=True)
    ended.start()
    ended.join(60)
    assert not ended.is_alive() and not list(tmp_path.iterdir())


def test_arithmetic_is_counted_by_hand():
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(5, 3, 2, "same")(image)
    x = keras.layers.Conv2DTranspose(4, 5, 2, "same")(x)
    x = keras.layers.Dense(7)(keras.layers.Flatten()(x))
    by_hand = 3 * 3 * 3 * 3 * 3 * 5 + 3 * 3 * 5 * 5 * 5 * 4 + 6 * 6 * 4 * 7
    assert flops.forward_flops(keras.Model(image, x)) == 2 * by_hand


@pytest.mark.parametrize("arch", PLAIN)
def test_networks_in_torch_have_the_same_parameters_and_shapes(arch):
    torch = pytest.importorskip("torch")
    generator, discriminator = keras_loops.networks(TrainConfig(arch=arch, precision="float32"), Shapes(28, 1))
    ours = [torch_loop.translated(model) for model in (generator, discriminator)]
    for model, translated in zip((generator, discriminator), ours, strict=True):
        weights = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
        assert sum(parameter.numel() for parameter in translated.parameters()) == weights
    images = ours[0](torch.zeros(2, 100))
    assert images.shape == (2, 1, 28, 28) and ours[1](images).shape == (2, 1)


def test_the_command_prints_one_list_with_every_case():
    done = kgan("bench", "--rounds=1", "--seconds=0", "--arch=mlp", "--batch_size=8", "--only=float32", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    names = ["Keras, tf.function", "kgan train", "kgan train, its step alone", "Keras, train_on_batch"]
    assert [row["name"] for row in rows][:4] == names
    assert rows[-1]["name"] == "kgan train, its step without arithmetic"
    assert all(row["images_per_second"] > 0 and row["matmul_flops_per_second"] > 0 for row in rows)
    assert "bench takes flags only" in refused("bench", "fast")
