"""The log of a run: metrics.jsonl, log.txt, TensorBoard events, and the Python logger "kgan"."""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from kgan.progress import Progress
from kgan.runs.rundir import RunDir
from kgan.training.plan import Plan

if TYPE_CHECKING:
    from kgan.hardware.machine import Hardware

LOGGER = logging.getLogger("kgan")


class Reporter:
    """Writes what happens to the run's files and to LOGGER. Use it in a `with` block.

    Lines that only say how far the steps are have level DEBUG, and the losses alone as attribute `summary`.
    """

    def __init__(self, run: RunDir, plan: Plan, first_step: int, progress: Progress | None = None):
        self.run, self.plan, self.first_step, self._progress = run, plan, first_step, progress
        self._events = _TensorBoard(run) if plan.config.tensorboard else None
        self._since, self._waited = (time.perf_counter(), first_step), 0.0

    def __enter__(self) -> "Reporter":
        self._log = open(self.run.log_file, "a", encoding="utf-8", errors="surrogateescape")
        return self

    def __exit__(self, *_) -> None:
        self._log.close()
        if self._events:
            self._events.close()

    def say(self, line: str, level: int = logging.INFO, summary: str | None = None) -> None:
        """One line for log.txt and LOGGER."""
        print(line, file=self._log, flush=True)
        LOGGER.log(level, "%s", line, extra={"summary": summary})

    def warn(self, line: str) -> None:
        self.say(f"warning: {line}", logging.WARNING)

    def introduce(self, hardware: "Hardware") -> None:
        plan, config = self.plan, self.plan.config
        replicas, compiled = hardware.strategy.num_replicas_in_sync, ", XLA" if hardware.xla else ""
        count = f"{plan.num_classes} class{'es' * (plan.num_classes > 1)}"
        classes = f", conditional on {count}" if plan.num_classes else ""
        self.say(f"run folder {self.run.path}")
        self.say(
            f"{config.dataset}: {plan.card['num_train']:,} training images, {plan.card['num_heldout']:,} held out, "
            f"{plan.card['license'] or 'no licence stated'}; {config.arch}{classes}, {config.loss}; "
            f"{replicas} replica{'s' * (replicas > 1)}, {hardware.precision}{compiled}"
        )
        for note in hardware.notes:
            self.say(note)
        if self.first_step:
            self.say(f"resumed at step {self.first_step} of {plan.total_steps}")

    def advance(self, step: int, waited: float) -> None:
        """Notes that `step` was reached, `waited` seconds of that for data."""
        self._waited += waited
        if self._progress:
            self._progress(step, self.plan.total_steps)

    @contextlib.contextmanager
    def untimed(self) -> Iterator[None]:
        """The time of what is done within, such as scoring, is not part of the speed of training."""
        started = time.perf_counter()
        yield
        then, step = self._since
        self._since = then + time.perf_counter() - started, step

    def log(self, step: int, means: Mapping[str, float], scores: Mapping[str, float] | None = None) -> None:
        """Records the means since the last line, the real images a second, the share of that time spent waiting for
        data, and the scores if this step has any. The first line's time includes building the graph."""
        then, step_then = self._since
        now = time.perf_counter()
        speed = (step - step_then) * self.plan.config.batch_size * self.plan.config.d_steps / (now - then)
        values = {
            "step": step,
            "epoch": round(self.plan.epoch(step), 4),
            "images_per_second": round(speed, 1),
            "data_wait": round(self._waited / (now - then), 4),
            **means,
            **(scores or {}),
        }
        self._since, self._waited = (now, step), 0.0
        self.run.append_metrics(values)
        summary = f"d_loss {means['d_loss']:.3f}  g_loss {means['g_loss']:.3f}  {speed:.0f} images/s"
        score = f"  Frechet distance {scores['frechet_distance']:.4g}" if scores else ""
        line = f"step {step}/{self.plan.total_steps}  epoch {values['epoch']:.2f}  {summary}{score}"
        self.say(line, logging.INFO if scores else logging.DEBUG, summary)
        if self._events:
            self._events.scalars(step, values)

    def show(self, step: int, grid: np.ndarray) -> None:
        """The sample grid of a step, (H, W, c) uint8, for TensorBoard."""
        if self._events:
            self._events.image(step, grid)


class _TensorBoard:
    """Writes TensorBoard events into a run."""

    def __init__(self, run: RunDir):
        import tensorflow as tf

        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(run.events))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        with self._writer.as_default(step=step):
            for name, value in values.items():
                self._summary.scalar(name, value)
        self._writer.flush()

    def image(self, step: int, grid: np.ndarray) -> None:
        with self._writer.as_default(step=step):
            self._summary.image("samples", grid[None])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
