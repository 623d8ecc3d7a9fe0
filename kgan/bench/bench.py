"""`kgan bench`: training here, beside the loops that people write by hand, on this machine and in this process."""

import contextlib
import functools
import importlib.util
import json
import logging
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.progress import Progress
from kgan.runs.environment import import_tensorflow

_NUM_IMAGES = 60_000
PLAIN = ("dcgan", "mlp")
"""The networks of plain layers, which a loop written by hand would have too."""


@dataclass(frozen=True)
class BenchResult:
    """`rows` has one entry a case, `matmul_flops` the machine's own rate a precision; `peak_memory` is in bytes, of the
    whole process, all cases together."""

    rows: tuple
    matmul_flops: dict[str, float]
    peak_memory: int
    hardware: dict

    def to_json(self) -> str:
        """One JSON list, a row a case."""
        return json.dumps(
            [asdict(row) | {"matmul_flops_per_second": self.matmul_flops[row.precision]} for row in self.rows]
        )


def bench(
    arch: str = "dcgan",
    batch_size: int = 256,
    rounds: int = 5,
    seconds: float = 2.0,
    only: str = "",
    progress: Progress | None = None,
) -> BenchResult:
    """Measures training on made-up 28x28 grey images, all cases in turns.

    The first case, to which the ratios are, is a plain Keras loop in float32; bfloat16 is measured too where the
    hardware has it, PyTorch where torch is installed. `only` keeps, beside the first, the cases whose name or precision
    contains it. `progress` is called with (rounds done, rounds). Raises UserError for networks that are not in PLAIN,
    and for a batch of more than the 60,000 images.
    """
    if arch not in PLAIN:
        raise UserError(f"--arch={arch}: must be {' or '.join(PLAIN)}")
    if batch_size > _NUM_IMAGES:
        raise UserError(f"--batch_size={batch_size}: there are {_NUM_IMAGES:,} images")
    _import_torch()
    import_tensorflow()
    from kgan.bench.flops import matmul_flops
    from kgan.bench.turns import measure, summarise
    from kgan.hardware import machine

    with tempfile.TemporaryDirectory() as folder, _quiet():
        hardware = machine.describe(machine.set_up(TrainConfig(strategy="single")))
        precisions = dict.fromkeys(["float32", hardware["device"]["precision"]])
        with _cases(arch, batch_size, list(precisions), Path(folder)) as cases:
            first, *others = cases
            chosen = [first, *(case for case in others if only in f"{case.name} {case.precision}")]
            rates = []
            for rates_of_round in measure(chosen, rounds, seconds):
                rates.append(rates_of_round)
                if progress:
                    progress(len(rates), rounds)
        matmul = {precision: matmul_flops(precision) for precision in precisions}
    return BenchResult(tuple(summarise(chosen, np.array(rates))), matmul, _peak_memory(), hardware)


def _import_torch() -> None:
    """Imports PyTorch, if it is installed and TensorFlow is not imported yet.

    An optimizer brings PyTorch's compiler along, and the process dies if that is loaded after TensorFlow.
    """
    if "tensorflow" not in sys.modules and importlib.util.find_spec("torch"):
        import torch

        torch.optim.Adam([torch.zeros(1)])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No log of the trainings within, and no warning of TensorFlow's about retracing: every case has a graph."""
    loggers = [logging.getLogger(name) for name in ("kgan", "tensorflow")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _cases(arch: str, batch_size: int, precisions: list[str], folder: Path) -> Iterator[list]:
    """All cases; the trainings among them are ended when the block is left."""
    from kgan.bench.kgan_loops import Training

    images = _images()
    one = np.zeros(1, np.uint8)
    np.savez(folder / "mnist.npz", x_train=images, y_train=one.repeat(_NUM_IMAGES), x_test=images[:1], y_test=one)
    # The networks, the objective and the moments of the loops that are compared with.
    default = TrainConfig(
        dataset="mnist", data_dir=str(folder), arch=arch, batch_size=batch_size, epochs=1000, strategy="single",
        conditional=False, loss="ns", beta_1=0.5, beta_2=0.999, num_heldout=0,
    )  # fmt: skip
    configs = [default.replace(precision=precision) for precision in precisions]
    trainings = [Training(config, folder / config.precision) for config in configs]
    try:
        yield [
            case
            for config, training in zip(configs, trainings, strict=True)
            for case in _cases_of(config, training, images[..., None])
        ]
    finally:
        for training in trainings:
            training.end()


def _cases_of(config: TrainConfig, training, images: np.ndarray) -> list:
    """The cases of one precision, the plain Keras loop first."""
    from kgan.bench import flops, keras_loops, kgan_loops, torch_loop
    from kgan.bench.turns import Case
    from kgan.models.architectures import Shapes, build_discriminator, build_generator

    shapes, floats = Shapes(28, 1), functools.partial(_floats, images, config.batch_size)
    networks = build_generator(config, shapes), build_discriminator(config, shapes)

    def case(name: str, start: Callable, passes: tuple[int, int]) -> Case:
        return Case(name, config.precision, start, flops.of_passes(*networks, passes))

    cases = [
        case("Keras, tf.function", lambda: keras_loops.graph_loop(config, shapes, floats()), flops.GRAPH_LOOP),
        case("kgan train", training.start, flops.KGAN),
        case("kgan train, its step alone", lambda: kgan_loops.step(config, shapes, images), flops.KGAN),
        case("Keras, train_on_batch", lambda: keras_loops.fit_loop(config, shapes, floats(), False), flops.FIT_LOOP),
        case(
            "Keras, predict and train_on_batch",
            lambda: keras_loops.fit_loop(config, shapes, floats(), True),
            flops.FIT_LOOP,
        ),
    ]
    if "torch" in sys.modules:
        cases.append(case("PyTorch, eager", lambda: torch_loop.loop(config, shapes, floats()), flops.TORCH_LOOP))
    without = "kgan train, its step without arithmetic"
    cases.append(case(without, lambda: kgan_loops.step(config, shapes, images, arithmetic=False), (0, 0)))
    return cases


def _images() -> np.ndarray:
    """uint8 (60,000, 28, 28) of squares of 4x4 pixels: as in photographs, neighbours are alike."""
    coarse = np.random.default_rng(0).integers(0, 256, (_NUM_IMAGES, 7, 7), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def _floats(images: np.ndarray, batch_size: int) -> Iterator:
    """Batches of float32 in [-1, 1], shuffled, as a plain tf.data pipeline gives them."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(images.astype(np.float32) / 127.5 - 1.0)
    return iter(data.shuffle(len(images)).batch(batch_size, drop_remainder=True).repeat().prefetch(4))


def _peak_memory() -> int:
    """Bytes: the largest resident size of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
