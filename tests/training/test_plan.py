"""What the data and the objective decide where the settings leave it open."""

import pytest

from kgan import TrainConfig
from kgan.data import sources
from kgan.data.licensing import permission
from kgan.errors import UserError
from kgan.training.plan import RESOLVED, defaults, make_plan, resolve

CARD = {"num_train": 4500, "num_heldout": 500, "image_shape": [28, 28, 1]}
TWO = {"cat": 2500, "dog": 2500}


@pytest.mark.parametrize(
    "classes, given, conditional",
    [
        (TWO, None, True),
        (TWO, False, False),
        ({"cat": 5000}, None, False),
        ({"cat": 5000}, True, True),
        ({}, None, False),
    ],
)
def test_images_of_several_classes_train_a_conditional_gan_unless_told(classes, given, conditional):
    assert resolve(TrainConfig(conditional=given), CARD | {"classes": classes})[0].conditional is conditional


def test_labels_that_are_not_there_cannot_be_given():
    with pytest.raises(UserError, match="--conditional needs labels"):
        resolve(TrainConfig(conditional=True), CARD | {"classes": {}})


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, (0.1, 0.1, 4)),
        ({"r1_weight": 0.0, "penalty_every": 1}, (0.0, 0.1, 1)),
        ({"loss": "ns"}, (0.0, 0.0, 1)),
        ({"loss": "ns", "r1_weight": 10.0}, (10.0, 0.0, 1)),
    ],
)
def test_penalties_are_those_of_the_objective_but_for_what_is_given(given, expected):
    resolved = resolve(TrainConfig(**given), CARD | {"classes": TWO})[0]
    assert (resolved.r1_weight, resolved.r2_weight, resolved.penalty_every) == expected == tuple(resolved.penalties)


def test_there_are_no_more_steps_than_a_record_holds():
    with pytest.raises(UserError, match="--epochs=100000000000000000 is 7000000000000000000 steps: a run has at most"):
        resolve(TrainConfig(epochs=10**17), CARD | {"classes": TWO})


@pytest.mark.parametrize("every", [1, 4, 7, 64])
def test_a_line_of_the_log_is_of_whole_periods_of_the_penalties(every):
    for num_train in (320, 4500, 60_000, 1_000_000):
        card = CARD | {"num_train": num_train, "classes": TWO}
        log_every = resolve(TrainConfig(penalty_every=every, batch_size=32), card)[0].log_every
        assert log_every % every == 0 and 10 <= log_every < 100 + every
    assert resolve(TrainConfig(log_every=13), CARD | {"classes": TWO})[0].log_every == 13


@pytest.mark.parametrize("verify", [False, True])
def test_verify_data_is_passed_on(folder, monkeypatch, verify):
    passed, hash_files, load = [], permission.files_sha256, sources.load

    def hashing(pictures, verify):
        passed.append(verify)
        return hash_files(pictures, verify)

    def loading(*arguments, verify, **options):
        passed.append(verify)
        return load(*arguments, verify=verify, **options)

    monkeypatch.setattr(permission, "files_sha256", hashing)
    monkeypatch.setattr(sources, "load", loading)
    config = TrainConfig(dataset="folder", data_dir=str(folder), image_size=28, channels=1, batch_size=8)
    make_plan(config.replace(verify_data=verify))
    assert passed == [verify, verify]


def test_nothing_that_is_resolved_stays_open():
    resolved = resolve(TrainConfig(), CARD | {"classes": TWO})[0]
    assert all(getattr(resolved, name) is not None for name in RESOLVED)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"conditional": False, "num_heldout": 1000},
        {"loss": "ns", "r1_weight": 10.0, "penalty_every": 4},
        {"steps": 70, "log_every": 7, "steps_per_call": 5},
        {"dataset": "folder", "data_dir": "pictures", "image_size": 28, "channels": 1},
        {"dataset": "folder", "data_dir": "digits.npz", "image_size": 28, "channels": 1},
    ],
)
def test_what_somebody_chose_is_told_from_what_the_data_decided(given):
    card = CARD | {"classes": TWO, "num_images": 5000, "num_heldout": given.get("num_heldout", 500)}
    resolved = resolve(TrainConfig(**given), card)[0]
    usual = defaults(resolved, card)
    assert {name: value for name, value in vars(resolved).items() if value != usual[name]} == given
