"""Everything a run is, between two steps: both networks, the averaged generator, both optimizers, the step."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.models.architectures import Shapes, build_discriminator, build_generator
from kgan.steps.optimizers import Adam, take_summed_gradients


@dataclass
class State:
    """What a checkpoint holds. `ema_generator` is None with --ema_decay=0. `step` counts generator updates made."""

    generator: keras.Model
    discriminator: keras.Model
    ema_generator: keras.Model | None
    g_optimizer: keras.optimizers.Optimizer
    d_optimizer: keras.optimizers.Optimizer
    step: tf.Variable

    def variables(self) -> dict:
        """Every variable by a name that is unique and the same in each process: "generator/dense/kernel"."""
        named = {"step": self.step}
        parts = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "ema_generator": self.ema_generator,
            "g_optimizer": self.g_optimizer,
            "d_optimizer": self.d_optimizer,
        }
        for part, owner in parts.items():
            for number, variable in enumerate(owner.variables if owner else []):
                path = variable.path if isinstance(owner, keras.Model) else f"{number:03}/{variable.name}"
                named[f"{part}/{path}"] = variable
        return named

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(variable) for name, variable in self.variables().items()}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Raises KeyError or ValueError if `arrays` are not those of networks of this shape."""
        for name, variable in self.variables().items():
            variable.assign(arrays[name])


def create_state(config: TrainConfig, shapes: Shapes, total_steps: int, precision: str, make_optimizer=None) -> State:
    """The state before the first step. Call it within `strategy.scope()`: every variable is made here.

    `make_optimizer(schedule)` replaces Adam. Give the optimizers gradients that are summed over the replicas.
    """
    make_optimizer = make_optimizer or (lambda rate: Adam(rate, config.beta_1, config.beta_2))
    generator = build_generator(config, shapes, precision=precision, for_training=True)
    discriminator = build_discriminator(config, shapes, precision=precision)
    _freeze(discriminator, config.freeze_d)
    ema = build_generator(config, shapes, name="ema_generator", precision=precision) if config.ema_decay else None
    g_optimizer = take_summed_gradients(make_optimizer(_rate(config, config.g_lr, total_steps)))
    d_optimizer = take_summed_gradients(make_optimizer(_rate(config, config.d_lr, total_steps * config.d_steps)))
    g_optimizer.build(generator.trainable_variables)
    d_optimizer.build(discriminator.trainable_variables)
    return State(generator, discriminator, ema, g_optimizer, d_optimizer, tf.Variable(0, dtype=tf.int64, name="step"))


def layers_with_weights(network: keras.Model) -> list[keras.Layer]:
    """From the input to the output."""
    return [layer for layer in network.layers if layer.weights]


def _freeze(discriminator: keras.Model, count: int) -> None:
    """Keeps the first `count` layers from being trained, as Mo et al. 2020 (arXiv:2002.10964) transfer a discriminator.

    Raises UserError if no layer would be left.
    """
    layers = layers_with_weights(discriminator)
    if count >= len(layers):
        raise UserError(f"--freeze_d={count}: must be less than {len(layers)}, the discriminator's layers with weights")
    for layer in layers[:count]:
        layer.trainable = False


def _rate(config: TrainConfig, rate: float, updates: int):
    if config.lr_decay == "linear":
        return keras.optimizers.schedules.PolynomialDecay(rate, updates, end_learning_rate=0.0)
    return rate
