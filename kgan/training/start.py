"""Starting from an earlier run (--init_from): its weights are read, held against the settings, and put in place."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kgan.config import TrainConfig
from kgan.data.licensing import permission
from kgan.errors import UserError
from kgan.runs import ancestry, checkpoint, environment
from kgan.runs.rundir import RunDir
from kgan.runs.schema import AncestorRecord

if TYPE_CHECKING:
    from kgan.steps.state import State

_NETWORKS = ("arch", "width", "latent_dim", "image_size", "channels")
"""The settings, but for spectral norm, that decide what the networks are."""


@dataclass(frozen=True)
class Start:
    """The weights that a run starts from: `arrays` of the checkpoint at `path`, of networks with `num_classes` classes
    (0: unconditional). `ancestors` is what the new run's record says of where they come from, the nearest first."""

    path: os.PathLike
    arrays: Mapping[str, np.ndarray]
    num_classes: int
    ancestors: list[AncestorRecord]

    @property
    def sha256(self) -> str:
        """That of the checkpoint."""
        return self.ancestors[0]["checkpoint_sha256"]


def read(config: TrainConfig) -> Start:
    """What --init_from names: the best checkpoint if one was scored, else the last, with the averaged weights.

    `config` is resolved. Raises UserError, in one line, if there is no such run, its networks are others than those of
    `config`, or its data want a permission that was not given.
    """
    try:
        run = RunDir.open(str(config.init_from))
        theirs, record = run.read_config(), run.read_record()
        path = checkpoint.find(run.checkpoints)
        arrays = checkpoint.read(path)
        if name := checkpoint.not_finite(arrays):
            raise UserError(f"{path}: its {name} is not finite: start from another run")
    except UserError as error:
        raise UserError(f"--init_from: {error}") from None
    if different := _differences(config, theirs):
        raise UserError(
            f"--init_from={run.path} has other networks: {', '.join(different)}; give both the same, or start afresh"
        )
    try:
        ancestors = ancestry.ancestors(record, checkpoint.sha256(arrays), int(arrays["step"]), bool(theirs.ema_decay))
        num_classes = len(record["dataset"]["classes"]) if theirs.conditional else 0
    except KeyError:
        raise UserError(f"{run.record_file}: does not say which run this is, and what it was trained on") from None
    for ancestor in ancestors:
        permission.inherited(
            dict(ancestor["dataset"]),
            accept_unknown_license=config.accept_unknown_license,
            ignore_datamining=config.ignore_datamining,
        )
    return Start(path, arrays, num_classes, ancestors)


def _differences(mine: TrainConfig, theirs: TrainConfig) -> list[str]:
    """The settings, in words, by which the two runs' networks differ. The number of classes is not compared."""
    pairs = [(name, getattr(theirs, name), getattr(mine, name)) for name in _NETWORKS]
    if mine.arch == theirs.arch and mine.spectral_norm != theirs.spectral_norm:
        environment.import_tensorflow()
        from kgan.models.architectures import has_spectral_norm

        pairs.append(("spectral_norm", has_spectral_norm(theirs), has_spectral_norm(mine)))
    return [f"--{name} was {was} and is {now}" for name, was, now in pairs if was != now]


def put_in_place(start: Start, state: "State", config: TrainConfig, num_classes: int) -> list[str]:
    """Gives the networks of a new state their weights: both generators the averaged ones, if there are any.

    A layer that has another shape because the number of classes, `num_classes` here, is another keeps its own first
    weights; returns the names of those layers. Raises UserError if any other layer does not fit, or if --freeze_d would
    keep one of those from learning.
    """
    averaged = "ema_generator" if start.ancestors[0].get("ema") else "generator"
    sources = {"generator": averaged, "ema_generator": averaged, "discriminator": "discriminator"}
    layers: defaultdict[str, dict] = defaultdict(dict)
    for name, variable in state.variables().items():
        network, _, rest = name.partition("/")
        if network in sources:
            layers[name.rpartition("/")[0]][f"{sources[network]}/{rest}"] = variable
    fresh: list[str] = []
    for layer, variables in layers.items():
        if all(name in start.arrays and start.arrays[name].shape == own.shape for name, own in variables.items()):
            for name, variable in variables.items():
                variable.assign(start.arrays[name])
        else:
            fresh.append(layer)
    fresh = [layer for layer in fresh if not layer.startswith("ema_generator/")]
    classless = _shared_layers(config, start.num_classes, num_classes) if fresh else set()
    if missing := [layer for layer in fresh if layer in classless]:
        raise UserError(f"{start.path}: does not fit the networks that its config.json describes ({missing[0]})")
    _check_frozen(state, config, fresh)
    return fresh


def _check_frozen(state: "State", config: TrainConfig, fresh: list[str]) -> None:
    """Raises UserError if a discriminator layer that is frozen has `fresh` weights, which nothing has taught."""
    from kgan.steps.state import layers_with_weights

    frozen = [layer.name for layer in layers_with_weights(state.discriminator)[: config.freeze_d]]
    for number, name in enumerate(frozen):
        if any(f"{layer}/".startswith(f"discriminator/{name}/") for layer in fresh):
            raise UserError(
                f"--freeze_d={config.freeze_d} keeps the discriminator's {name} as it is, which gets new weights here "
                f"because the number of classes is another: take --freeze_d={number}"
            )


def _shared_layers(config: TrainConfig, *class_counts: int) -> set[str]:
    """The layers, "generator/dense_1", whose weights have the same shapes whichever of these numbers of classes the
    networks take. The narrowest networks, soon made, have the same layers."""
    from kgan.models.architectures import Shapes, build_discriminator, build_generator

    assert config.image_size and config.channels
    narrow = config.replace(width=0.05)
    shapes: list[dict] = []
    for count in class_counts:
        of_images = Shapes(config.image_size, config.channels, count)
        networks = build_generator(narrow, of_images), build_discriminator(narrow, of_images)
        layers = [(f"{network.name}/{layer.name}", layer) for network in networks for layer in network.layers]
        shapes.append({name: [tuple(weight.shape) for weight in layer.weights] for name, layer in layers})
    return {name for name in shapes[0] if all(others.get(name) == shapes[0][name] for others in shapes)}
