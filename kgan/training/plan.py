"""What a run will do, resolved before TensorFlow starts: the images, the number of steps, the resolved settings."""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np

from kgan.config import MAX_STEPS, TrainConfig, checked, may_change
from kgan.data import sources
from kgan.data.licensing import permission
from kgan.data.sources import ImageSet
from kgan.data.split import default_heldout
from kgan.errors import UserError

DEFAULT_EPOCHS = 50
RESOLVED = (
    "image_size",
    "channels",
    "conditional",
    "num_heldout",
    "r1_weight",
    "r2_weight",
    "penalty_every",
    "epochs",
    "log_every",
    "sample_every",
    "save_every",
)
"""The settings that `resolve` fills in."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """`config` has every setting that the data decide filled in. `data` is the whole data set, of which `training`,
    ascending int64 indices, are trained on and `heldout` are not; `card` records it and how many these are."""

    config: TrainConfig
    data: ImageSet = dataclasses.field(repr=False)
    training: np.ndarray = dataclasses.field(repr=False)
    heldout: np.ndarray = dataclasses.field(repr=False)
    card: dict
    batches_per_epoch: int
    total_steps: int

    @property
    def num_classes(self) -> int:
        """Of the classes that the networks are told of: 0 where they take no label."""
        return self.data.num_classes if self.config.conditional else 0

    def epoch(self, step: int) -> float:
        """Passes over the training images after `step` steps."""
        return step * self.config.d_steps / self.batches_per_epoch

    def next_score(self, step: int) -> int | None:
        """The first step after `step` at which the generator is scored, or None if it never is.

        That is the first one at or past a multiple of --eval_every epochs, and the last step of all.
        """
        if not self.config.eval_every:
            return None
        every = self.config.eval_every * self.batches_per_epoch
        scores = step * self.config.d_steps // every + 1
        return min(-(-scores * every // self.config.d_steps), self.total_steps)

    def next_event(self, step: int) -> int:
        """The first step after `step` at which something is logged, drawn, saved or scored; at most the last step."""
        cadences = (self.config.log_every, self.config.sample_every, self.config.save_every)
        nexts = [step + every - step % every for every in cadences if every]
        return min(*nexts, self.next_score(step) or self.total_steps, self.total_steps)


def make_plan(config: TrainConfig) -> Plan:
    """Loads the data and fills in what they decide. Raises UserError, naming the flag, if the two do not fit."""
    permitted = permission.permitted(
        config.dataset,
        config.data_dir,
        accept_unknown_license=config.accept_unknown_license,
        ignore_datamining=config.ignore_datamining,
        verify_data=config.verify_data,
    )
    data = sources.load(
        config.dataset,
        config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        verify=config.verify_data,
    )
    split = data.split(config.num_heldout, config.num_train)
    card = permission.training_card(data, permitted, len(split.training), len(split.heldout))
    resolved, batches, total_steps = resolve(config, card)
    if config.data_dir:
        resolved = resolved.replace(data_dir=os.path.abspath(config.data_dir))
    return Plan(
        config=resolved,
        data=data,
        training=split.training,
        heldout=split.heldout,
        card=card,
        batches_per_epoch=batches,
        total_steps=total_steps,
    )


def with_usual(config: TrainConfig) -> TrainConfig:
    """The settings with those filled in that need no data: how long to train, and the objective's penalties."""
    epochs = config.epochs or (None if config.steps else DEFAULT_EPOCHS)
    return config.replace(epochs=epochs, **config.penalties._asdict())


def resolve(config: TrainConfig, card: dict) -> tuple[TrainConfig, int, int]:
    """The settings with those filled in that the data on this card decide, the batches of an epoch, and the steps.

    Raises UserError, naming the flag, if settings and data do not fit together.
    """
    num_train = card["num_train"]
    if config.conditional and not card["classes"]:
        raise UserError("--conditional needs labels: a folder for each class, or a file that has labels")
    if config.batch_size > num_train:
        raise UserError(f"--batch_size={config.batch_size} is more than the {num_train} training images")
    batches = num_train // config.batch_size
    config = with_usual(config)
    total_steps = config.steps or -(-(config.epochs or 0) * batches // config.d_steps)
    if total_steps > MAX_STEPS:
        raise UserError(f"--epochs={config.epochs} is {total_steps} steps: a run has at most {MAX_STEPS}")
    steps_per_epoch = -(-batches // config.d_steps)
    whole = config.penalty_every or 1  # so that each line of the log is of as many steps with penalties
    height, _, channels = card["image_shape"]
    resolved = config.replace(
        image_size=height,
        channels=channels,
        conditional=len(card["classes"]) > 1 if config.conditional is None else config.conditional,
        num_heldout=card["num_heldout"],
        log_every=config.log_every or whole * -(-int(np.clip(steps_per_epoch // 20, 10, 100)) // whole),
        sample_every=config.sample_every or max(25, min(steps_per_epoch, total_steps // 10)),
        save_every=config.save_every or max(100, steps_per_epoch),
    )
    return resolved, batches, total_steps


def defaults(config: TrainConfig, card: Mapping) -> dict:
    """The default of each setting by its name: of those in RESOLVED, what is chosen for these data and the other
    settings of `config` if nobody says otherwise, as far as the card tells."""
    usual = dataclasses.asdict(TrainConfig())
    try:
        usual |= {name: getattr(resolve(config.replace(**{name: None}), dict(card))[0], name) for name in RESOLVED}
    except (KeyError, ValueError, TypeError, UserError):  # the card is of another version
        return usual
    if config.dataset == "folder":
        usual |= {"image_size": 64, "channels": 3}
    if isinstance(card.get("num_images"), int):
        usual["num_heldout"] = default_heldout(card["num_images"])
    return usual


def chosen(config: TrainConfig, card: Mapping) -> dict:
    """The settings that are not the defaults, less what only the data decide."""
    usual = defaults(config, card)
    return {name: value for name, value in dataclasses.asdict(config).items() if value != usual[name]}


def resume_config(saved: TrainConfig, given: Mapping[str, object]) -> TrainConfig:
    """The saved settings, with what `given` may change: those of `config.may_change`.

    Raises UserError showing every other difference.
    """
    changeable = may_change()
    given = {name: checked(name, value) for name, value in given.items()}
    changes = {name: value for name, value in given.items() if name in changeable}
    different = [name for name in given if name not in changeable and given[name] != getattr(saved, name)]
    if different:
        listed = ", ".join(f"--{name} was {getattr(saved, name)} and is {given[name]}" for name in different)
        others = ", ".join(f"--{name}" for name in changeable)
        raise UserError(f"a resumed run keeps its settings: {listed}; only {others} may change")
    if "epochs" in changes or "steps" in changes:
        changes = {"epochs": None, "steps": None} | changes
    if changes.get("data_dir"):
        changes["data_dir"] = os.path.abspath(str(changes["data_dir"]))
    return saved.replace(**changes)
