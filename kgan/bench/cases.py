"""What `kgan bench` measures: training steps with different settings, and what stands around them."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kgan.auditing.neighbours import NeighbourSearch
from kgan.config import TrainConfig
from kgan.data.pipeline import step_batches
from kgan.latents import latents
from kgan.models.architectures import Shapes, build_generator
from kgan.runs.generator import BATCH, sample
from kgan.training import machine
from kgan.training.state import create_state
from kgan.training.step import TrainStep

GREY, COLOUR = Shapes(28, 1, 0), Shapes(32, 3, 0)
_NUM_IMAGES = 5_000
_NUM_REFERENCES, _NUM_QUERIES = 5_000, 256


@dataclass(frozen=True)
class Case:
    """`start()` gets everything ready and returns a function that handles some images and says how many."""

    name: str
    start: Callable[[], Callable[[], int]]


def cases(batch_size: int) -> list[Case]:
    """The first is what the others are compared with: a training step with the default settings on 28x28 grey images.

    Rates are real images a second for steps, generated ones for drawing, queries against 5,000 references for the
    neighbour search of the audit.
    """
    default = TrainConfig(batch_size=batch_size, strategy="single", precision="float32", xla="off", steps_per_call=1)
    settings = [
        ("train", default, GREY),
        ("train, 20 steps a call", default.replace(steps_per_call=20), GREY),
        ("train, bfloat16", default.replace(precision="bfloat16"), GREY),
        ("train, XLA", default.replace(xla="on"), GREY),
        ("train, diffaug", default.replace(augment="diffaug"), GREY),
        ("train, mlp", default.replace(arch="mlp"), GREY),
        ("train, colour", default.replace(dataset="cifar10"), COLOUR),
        ("train, colour, sndcgan", default.replace(dataset="cifar10", arch="sndcgan"), COLOUR),
    ]
    trained = [
        Case(name, lambda config=config, shapes=shapes: _training(config, shapes)) for name, config, shapes in settings
    ]
    return [
        *trained,
        Case("input alone", lambda: _input(default)),
        Case("draw", lambda: _drawing(default)),
        Case("neighbour search", _searching),
    ]


def measure(chosen: Sequence[Case], rounds: int, seconds: float) -> Iterator[list[float]]:
    """One list a round, the rate of every case in images a second.

    In each round every case has its turn of at least `seconds`, so that whatever slows the machine down for a while
    slows them all. Starting and the first call, which traces and compiles, are not measured.
    """
    running = [case.start() for case in chosen]
    for handle in running:
        handle()
    for _ in range(rounds):
        yield [_rate(handle, seconds) for handle in running]


def _rate(handle: Callable[[], int], seconds: float) -> float:
    begin, done = time.perf_counter(), 0
    while (taken := time.perf_counter() - begin) < seconds or not done:
        done += handle()
    return done / taken


def _images(shapes: Shapes, count: int, seed: int = 0) -> np.ndarray:
    """Random squares of 4x4 pixels: as in photographs, a few principal components hold most of it."""
    squares = -(-shapes.image_size // 4)
    coarse = np.random.default_rng(seed).integers(0, 256, (count, squares, squares, shapes.channels), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)[:, : shapes.image_size, : shapes.image_size]


def _batches(config: TrainConfig, shapes: Shapes) -> Iterator:
    batches = step_batches(
        _images(shapes, _NUM_IMAGES), None, seed=0, first_step=0, d_steps=1, batch_size=config.batch_size
    )
    return iter(batches)


def _training(config: TrainConfig, shapes: Shapes) -> Callable[[], int]:
    hardware = machine.set_up(config)
    with hardware.strategy.scope():
        state = create_state(config, shapes, total_steps=1_000_000, precision=hardware.precision)
        step = TrainStep(config, state, hardware.strategy, xla=hardware.xla, conditional=False)
    batches, count = _batches(config, shapes), tf.constant(hardware.steps_per_call, tf.int32)

    def handle() -> int:
        step(batches, count)[0].numpy()
        return hardware.steps_per_call * config.batch_size

    return handle


def _input(config: TrainConfig) -> Callable[[], int]:
    batches = _batches(config, GREY)

    def handle() -> int:
        for _, images, _ in itertools.islice(batches, 20):
            images.numpy()
        return 20 * config.batch_size

    return handle


def _drawing(config: TrainConfig) -> Callable[[], int]:
    generator, labels = build_generator(config, GREY), np.zeros(BATCH, np.int64)
    seeds = itertools.count()

    def handle() -> int:
        sample(generator, latents(next(seeds), range(BATCH), config.latent_dim), labels)
        return BATCH

    return handle


def _searching() -> Callable[[], int]:
    search = NeighbourSearch(_images(GREY, _NUM_REFERENCES))
    queries = _images(GREY, _NUM_QUERIES, seed=1)

    def handle() -> int:
        search.search(queries)
        return len(queries)

    return handle
