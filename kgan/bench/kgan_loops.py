"""What kgan itself does, as cases: its training step alone, and the whole of `kgan train`."""

import threading
from pathlib import Path

import numpy as np
import tensorflow as tf

from kgan.bench.turns import Handle
from kgan.config import TrainConfig
from kgan.data.pipeline import copied_ahead, step_batches
from kgan.hardware import machine
from kgan.models.architectures import Shapes
from kgan.steps.accumulation import build_step
from kgan.steps.state import create_state
from kgan.steps.step import METRICS
from kgan.training.train import train


def step(config: TrainConfig, shapes: Shapes, images: np.ndarray, arithmetic: bool = True) -> Handle:
    """The step that `kgan train` makes on uint8 (n, h, w, c) images, fed as it is fed there, and nothing between.

    Without `arithmetic` the step computes nothing: what is left is the host's work, which a GPU would wait for, at
    the 20 steps a call that are the default there.
    """
    hardware = machine.set_up(config)
    with hardware.strategy.scope():
        state = create_state(config, shapes, total_steps=1_000_000, precision=hardware.precision)
        function = build_step(config, state, hardware.strategy, xla=hardware.xla)
    steps = hardware.steps_per_call
    if not arithmetic:
        steps, function._one_step = max(20, steps), lambda *_: tf.zeros(len(METRICS))
    batches = step_batches(images, None, seed=0, first_step=0, d_steps=config.d_steps, batch_size=config.batch_size)
    fed = iter(copied_ahead(batches, hardware.feed_device, 2 * steps))
    count = tf.constant(steps, tf.int32)

    def handle() -> int:
        function(fed, count)[0].numpy()
        return steps * config.batch_size

    return handle


class Training:
    """`kgan train` in a thread, held still between its calls of the step function but for when it has its turn.

    What it does between steps, logs, sample grids and checkpoints, is part of its turn.
    """

    def __init__(self, config: TrainConfig, run_dir: Path):
        self.config, self.run_dir, self.steps = config, run_dir, 0
        self.error: BaseException | None = None
        self._may_go, self._is_still = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._train, daemon=True)
        self._ending = False

    def start(self) -> Handle:
        self._thread.start()
        return self.handle

    def handle(self) -> int:
        before = self.steps
        self._may_go.release()
        self._is_still.acquire()
        if self.error:
            raise self.error
        return (self.steps - before) * self.config.batch_size

    def end(self) -> None:
        """Lets the thread go to its end; it trains no further."""
        if self._thread.is_alive():
            self._ending = True
            self._may_go.release()
            self._thread.join()

    def _train(self) -> None:
        self._may_go.acquire()
        if self._ending:  # before its first turn
            return
        try:
            train(self.config, run_dir=self.run_dir, progress=self._between)
            self.error = RuntimeError("the training ended before the measurement did")
        except _Ended:
            pass
        except BaseException as error:  # raised again by `handle`, in the thread that measures
            self.error = error
        self._is_still.release()

    def _between(self, done: int, total: int) -> None:
        self.steps = done
        self._is_still.release()
        self._may_go.acquire()
        if self._ending:
            raise _Ended


class _Ended(BaseException):
    """Ends a training from within its progress callback; not an Exception, so that nothing takes it for an error."""
