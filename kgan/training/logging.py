"""What a person sees while a run trains: a progress bar on a terminal, plain lines elsewhere, and log.txt."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from kgan.runs.rundir import RunDir
from kgan.training.machine import Machine
from kgan.training.plan import Plan


class Reporter:
    """Writes metrics.jsonl, log.txt and TensorBoard events, and shows the run's progress. Use it in a `with` block."""

    def __init__(self, run: RunDir, plan: Plan, first_step: int):
        self.run, self.plan, self.first_step = run, plan, first_step
        self._events = _tensorboard(run) if plan.config.tensorboard else None
        self._since, self._waited = (time.perf_counter(), first_step), 0.0
        self._bar = None
        if sys.stdout.isatty():
            words = TextColumn("{task.description}", table_column=Column(no_wrap=True))
            self._bar = Progress(MofNCompleteColumn(), BarColumn(None), TimeRemainingColumn(), words, expand=True)
            self._task = self._bar.add_task("", total=plan.total_steps, completed=first_step)

    def __enter__(self):
        self._log = open(self.run.log_file, "a", encoding="utf-8")
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_):
        if self._bar:
            self._bar.stop()
        self._log.close()

    def say(self, line: str, everywhere: bool = True) -> None:
        """One line for log.txt, and for the screen unless a progress bar shows it already."""
        print(line, file=self._log, flush=True)
        if self._bar and everywhere:
            self._bar.console.print(line, markup=False, highlight=False)
        elif not self._bar:
            print(line, flush=True)

    def introduce(self, machine: Machine) -> None:
        plan, config = self.plan, self.plan.config
        how = f"{machine.strategy.num_replicas_in_sync} replica(s), {machine.precision}{', XLA' if machine.xla else ''}"
        self.say(f"run folder {self.run.path}")
        self.say(
            f"{config.dataset}: {plan.card['num_train']:,} training images, {plan.card['num_heldout']:,} held out, "
            f"{plan.card['license'] or 'no licence stated'}; {config.arch}, {config.loss}; {how}"
        )
        if self.first_step:
            self.say(f"resumed at step {self.first_step} of {plan.total_steps}")

    def advance(self, step: int, waited: float) -> None:
        """Notes that `step` was reached, `waited` seconds of that for data."""
        self._waited += waited
        if self._bar:
            self._bar.update(self._task, completed=step)

    @contextlib.contextmanager
    def untimed(self) -> Iterator[None]:
        """What is done within, such as scoring, counts for no speed of training."""
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
        losses = f"d_loss {means['d_loss']:.3f}  g_loss {means['g_loss']:.3f}"
        summary = f"epoch {values['epoch']:.2f}  {losses}  {speed:.0f} images/s"
        if self._bar:
            self._bar.update(self._task, description=f"{losses}  {speed:.0f} images/s")
        score = f"  Frechet distance {scores['frechet_distance']:.4g}" if scores else ""
        self.say(f"step {step}/{self.plan.total_steps}  {summary}{score}", everywhere=bool(scores))
        if self._events:
            self._events(step, values)

    def conclude(self) -> None:
        last = self.run.sample_files()[-1]
        self.say(f"pictures: {last}, {self.run.path / 'curves.png'}, {self.run.path / 'training.gif'}")


def _tensorboard(run: RunDir):
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(run.path / "events"))

    def write(step: int, values: dict) -> None:
        with writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        writer.flush()

    return write
