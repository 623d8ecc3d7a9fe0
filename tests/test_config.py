import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgan import TrainConfig
from kgan.errors import UserError


def test_json_and_flags_say_the_same():
    config = TrainConfig(dataset="folder", data_dir="a b", flip=True, spectral_norm=False, g_lr=1e-5, epochs=3)
    assert TrainConfig.from_json(config.to_json()) == config
    lines = config.to_flags().splitlines()
    expected = {"--dataset=folder", "--data_dir=a b", "--flip", "--g_lr=1e-05", "--epochs=3", "--nospectral_norm"}
    assert expected <= set(lines)
    assert not [line for line in lines if line.startswith(("--steps", "--conditional"))]


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"batch_size": 1}, "--batch_size=1: must be at least 2"),
        ({"loss": "best"}, "--loss=best: must be one of ns, minimax, hinge, lsgan, wgan"),
        ({"image_size": 30, "dataset": "folder"}, "--image_size=30: must be one of 28, 32, 40, 48, 56, 64"),
        ({"g_lr": 0.0}, "--g_lr=0.0: must be more than 0.0"),
        ({"g_lr": float("nan")}, "--g_lr=nan: must be a finite number"),
        ({"g_lr": 10**400}, "--g_lr: must be a finite number"),
        ({"epochs": 10**400}, "--epochs: must be a finite number"),
        ({"image_size": 10**5000}, "--image_size: must be a finite number"),
        ({"data_dir": "caf\udce9"}, "--data_dir=caf\N{REPLACEMENT CHARACTER}: must be UTF-8"),
        ({"data_dir": "a\n--seed=3"}, "must be UTF-8 on one line"),
        ({"init_from": ""}, "must be UTF-8 on one line, not empty"),
        ({"data_dir": "pics "}, "without blanks at its end"),
        ({"beta_1": 1.0}, "--beta_1=1.0: must be at least 0.0 and less than 1.0"),
        ({"steps": 10**18}, "--steps=1000000000000000000: must be at least 1 and at most 999999999999999999"),
        ({"epochs": 2.5}, "--epochs=2.5: must be int"),
        ({"seed": True}, "--seed=True: must be int"),
        ({"epochs": 1, "steps": 1}, "--epochs and --steps"),
        ({"dataset": "mnist", "image_size": 64}, "--image_size is for --dataset=folder or tfds; mnist has .* 28"),
        ({"accumulate": 5}, "--accumulate=5 must divide --batch_size=64 into parts of 2 or more"),
        ({"accumulate": 64}, "--accumulate=64 must divide --batch_size=64 into parts of 2 or more"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "--label_smoothing has no meaning for --loss=hinge"),
    ],
)
def test_illegal_settings_are_named_with_what_is_legal(settings, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        TrainConfig(**settings)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda kids: st.dictionaries(st.text(), kids)))
def test_no_saved_text_but_settings_is_taken(value):
    if value == {}:
        return
    with pytest.raises(UserError):
        TrainConfig.from_json(json.dumps(value))


def test_a_saved_number_that_no_float_holds_is_named():
    text = TrainConfig().to_json().replace('"g_lr": 0.0002', f'"g_lr": 1{"0" * 400}')
    with pytest.raises(UserError, match="--g_lr: must be a finite number"):
        TrainConfig.from_json(text)


def test_numbers_of_numpy_are_numbers():
    config = TrainConfig(batch_size=np.int64(32), g_lr=np.float32(0.5), flip=np.bool_(True))
    assert config == TrainConfig(batch_size=32, g_lr=0.5, flip=True)
    assert TrainConfig.from_json(config.to_json()) == config
    with pytest.raises(UserError, match="--batch_size=32.5: must be int"):
        TrainConfig(batch_size=np.float64(32.5))


def test_every_setting_has_help_and_a_legal_default():
    for field in dataclasses.fields(TrainConfig):
        assert field.metadata["help"].endswith(".")
    assert TrainConfig().differences(TrainConfig(seed=2)) == {"seed": (0, 2)}


def test_version_0_1_gave_sndcgan_spectral_norm_whatever_the_setting_said():
    saved = json.loads(TrainConfig(arch="sndcgan", dataset="cifar10").to_json()) | {"spectral_norm": False}
    assert TrainConfig.from_json(json.dumps(saved)).spectral_norm is False
    del saved["width"]  # which 0.1 did not have
    assert TrainConfig.from_json(json.dumps(saved)).spectral_norm is None
