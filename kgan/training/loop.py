"""The training loop: steps, and what is recorded, drawn and saved between them."""

import contextlib
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

from kgan import plots
from kgan.config import TrainConfig
from kgan.data.licensing import permission
from kgan.data.pipeline import step_batches
from kgan.errors import NonFiniteLoss, Stopped, UserError
from kgan.files import write_atomically
from kgan.models.architectures import Shapes
from kgan.runs import checkpoint
from kgan.runs.generator import TrainedGenerator, from_arrays
from kgan.runs.rundir import RunDir
from kgan.training import machine, scoring, snapshots
from kgan.training.logging import Reporter
from kgan.training.plan import Plan, make_plan
from kgan.training.state import create_state
from kgan.training.step import METRICS, TrainStep
from kgan.training.stopping import stop_signals


def train(config: TrainConfig, run_dir: str | Path | None = None, resume: bool = False) -> Path:
    """Trains from the start, or goes on where `run_dir` stopped, and returns the run folder.

    Without `run_dir` the folder is the next numbered one below runs/. To resume, `config` must be that run's own
    (`plan.resume_config` merges changes into it). Raises UserError before anything is written if the settings, the
    data and the machine do not fit together; NonFiniteLoss; Stopped after Ctrl-C or SIGTERM; OSError if the disk
    fills up, with the last checkpoint whole.
    """
    plan = make_plan(config)
    if config.tensorboard and not importlib.util.find_spec("tensorboard"):
        raise UserError("--tensorboard needs the package tensorboard: pip install 'kgan[tensorboard]'")
    if run_dir is None and (resume or machine.is_multiworker(config)):
        raise UserError("name the run folder with --run_dir: several workers, or a resumed run, must agree on it")
    prepared = scoring.prepare(plan)
    return Job(plan, machine.choose(plan.config)).start(run_dir, resume, prepared)


def describe(config: TrainConfig) -> dict:
    """What `train(config)` would do: settings, data, parameter counts, steps, bytes on disk. Writes nothing."""
    plan = make_plan(config)
    scoring.prepare(plan)
    hardware = machine.choose(plan.config)
    job = Job(plan, hardware)
    return {
        "config": plan.config,
        "dataset": plan.card,
        "total_steps": plan.total_steps,
        "parameters": {
            name: sum(int(np.prod(variable.shape)) for variable in network.variables)
            for name, network in (("generator", job.state.generator), ("discriminator", job.state.discriminator))
        },
        "disk_bytes": job.disk_bytes(),
        **machine.describe(hardware),
    }


class Job:
    """One training run in this process: the state, the step function, and the events between steps."""

    def __init__(self, plan: Plan, hardware: machine.Machine):
        self.plan, self.config, self.hardware = plan, plan.config, hardware
        self.num_classes = plan.num_classes if self.config.conditional else 0
        shapes = Shapes(self.config.image_size, self.config.channels, self.num_classes)
        with hardware.strategy.scope():
            self.state = create_state(self.config, shapes, plan.total_steps, hardware.precision)
            self.step_function = TrainStep(
                self.config, self.state, hardware.strategy, xla=hardware.xla, conditional=bool(self.num_classes)
            )
        self.meter = Meter()
        self.step = 0
        self.drawer = None  # a float32 generator, made when the first picture is drawn
        self.scorer = None

    def start(self, run_dir: str | Path | None, resume: bool, prepared: scoring.Preparation | None) -> Path:
        """Opens or makes the run folder, trains, and leaves its record complete however the run ends."""
        if not self.hardware.is_chief:
            if resume:
                self._restore(RunDir.open(run_dir))
            self._train(None, None)
            return Path(run_dir)
        self._check_disk(Path(run_dir or "."), resume)
        run = self._reopen(run_dir) if resume else RunDir.create(run_dir, self.config)
        run.update_record(
            status="running",
            dataset=self.plan.card,
            total_steps=self.plan.total_steps,
            **machine.describe(self.hardware),
        )
        try:
            with Reporter(run, self.plan, self.step) as reporter:
                self._introduce(run, reporter, prepared)
                del prepared  # the real images in it take memory
                self._train(run, reporter)
                self._finish(run, reporter)
        except BaseException as error:
            with contextlib.suppress(OSError):
                run.update_record(status=_STATUS.get(type(error), "failed"), step=self.step)
            if isinstance(error, OSError):
                raise UserError(
                    f"{error.strerror or error}: {error.filename or run.path}; the saved checkpoints are whole: "
                    f"put this right and go on with kgan train --resume={run.path}"
                ) from None
            raise
        finally:
            run.unlock()
        return run.path

    def _reopen(self, run_dir: str | Path) -> RunDir:
        """The run to resume, locked and cut back to its last checkpoint."""
        run = RunDir.open(run_dir)
        run.lock()
        trained_on = run.read_record().get("dataset", self.plan.card)
        if trained_on["sha256"] != self.plan.card["sha256"]:
            raise UserError(f"{run.path} was trained on other images than are there now: resume it on the same data")
        self._restore(run)
        run.cut_metrics(self.step)
        scoring.record_best(run, self.step)
        run.write_config(self.config)
        return run

    def disk_bytes(self) -> int:
        """An upper estimate: the last three checkpoints, the best, one being written, and the snapshots."""
        one = sum(np.asarray(variable).nbytes for variable in self.state.variables().values())
        grid = 64 * self.config.image_size**2 * self.config.channels * 4
        return one * (checkpoint.KEEP + 2) + grid * (self.plan.total_steps // self.config.sample_every + 2) * 2

    def _check_disk(self, path: Path, resume: bool) -> None:
        place = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.is_dir())
        there = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if resume else 0
        free, needed = shutil.disk_usage(place).free, self.disk_bytes() - there
        if needed > free:
            raise UserError(
                f"this run takes up to {needed / 2**20:,.0f} MiB and {place} has {free / 2**20:,.0f} MiB free: "
                "make room, or name another disk with --run_dir"
            )

    def _restore(self, run: RunDir) -> None:
        found = checkpoint.read_last(run.checkpoints)
        if found is None:
            return
        path, arrays = found
        try:
            self.state.set_arrays(arrays)
            self.meter.set_arrays(arrays)
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: does not fit the networks that config.json describes ({error})") from None
        self.step = int(arrays["step"])
        if self.step >= self.plan.total_steps and run.read_record().get("status") == "finished":
            raise UserError(
                f"{run.path} is finished: it has made all {self.plan.total_steps} steps; give more --epochs or --steps"
            )

    def _introduce(self, run: RunDir, reporter: Reporter, prepared: scoring.Preparation | None) -> None:
        for line in self.plan.data.unreadable:
            reporter.say(f"skipped {line}")
        for line in permission.warnings(self.plan.card):
            reporter.say(line)
        snapshots.write_reals(run, self.plan)
        reporter.introduce(self.hardware)
        if prepared:
            with reporter.untimed():
                self.scorer = scoring.Scorer(prepared, self.config.seed, reporter.say)
            run.update_record(evaluation=self.scorer.record())

    def _train(self, run: RunDir | None, reporter: Reporter | None) -> None:
        """Runs the steps. Workers that are not the chief have neither a run folder nor a reporter."""
        total = self.plan.total_steps
        iterator = iter(self._batches())
        with stop_signals() as stop:
            while self.step < total:
                count = min(self._until_next_event(), total - self.step, self.hardware.steps_per_call)
                rows, waited = (result.numpy() for result in self.step_function(iterator, tf.constant(count, tf.int32)))
                self._check_finite(rows, run)
                self.step += count
                self.meter.add(rows)
                if reporter:
                    reporter.advance(self.step, waited)
                    self._events(run, reporter, last=self.step == total)
                if stop.received:
                    if run:
                        self._save(run)
                    how = f"; go on with: kgan train --resume={run.path}" if run else ""
                    raise Stopped(f"stopped at step {self.step}, all saved{how}", stop.received)

    def _events(self, run: RunDir, reporter: Reporter, last: bool) -> None:
        scores = {}
        if self.plan.next_score(self.step - 1) == self.step:
            with reporter.untimed():
                scores = self.scorer(self._snapshot(run))
        due = lambda every: last or bool(scores) or self.step % every == 0  # noqa: E731
        if due(self.config.log_every):
            reporter.log(self.step, self.meter.read_and_reset(), scores)
        if due(self.config.sample_every):
            snapshots.write_grid(run, self._snapshot(run))
        if due(self.config.save_every):
            self._save(run)
        if scores:
            checkpoint.keep_if_best(run.checkpoints, self.step, scores["frechet_distance"])

    def _until_next_event(self) -> int:
        cadences = (self.config.log_every, self.config.sample_every, self.config.save_every)
        return min(
            (self.plan.next_score(self.step) or self.plan.total_steps) - self.step,
            *(every - self.step % every for every in cadences),
        )

    def _batches(self):
        config, strategy = self.config, self.hardware.strategy

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            local = context.num_replicas_in_sync // context.num_input_pipelines
            return step_batches(
                self.plan.data.images,
                self.plan.data.labels,
                rows=self.plan.training,
                seed=config.seed,
                first_step=self.step,
                d_steps=config.d_steps,
                batch_size=config.batch_size,
                num_replicas=context.num_replicas_in_sync,
                replicas=range(context.input_pipeline_id * local, (context.input_pipeline_id + 1) * local),
            )

        return strategy.distribute_datasets_from_function(batches)

    def _check_finite(self, rows: np.ndarray, run: RunDir | None) -> None:
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            row, column = bad[0]
            saved = checkpoint.paths(run.checkpoints) if run else []
            raise NonFiniteLoss(
                f"{METRICS[column]} became {rows[row, column]} at step {self.step + row + 1}; "
                + (f"the last good checkpoint is {saved[-1]}" if saved else "no checkpoint was saved yet")
                + "; try a smaller --d_lr and --g_lr, or --clip_norm"
            )

    def _save(self, run: RunDir) -> None:
        checkpoint.save(run.checkpoints, self.step, self._arrays())

    def _arrays(self) -> dict[str, np.ndarray]:
        return self.state.to_arrays() | self.meter.to_arrays()

    def _snapshot(self, run: RunDir) -> TrainedGenerator:
        """The generator as `load` would give it back from a checkpoint of this step."""
        found = from_arrays(self.config, run.read_record(), self._arrays(), generator=self.drawer)
        self.drawer = found.generator
        return found

    def _finish(self, run: RunDir, reporter: Reporter) -> None:
        scored = run.read_record().get("evaluation") or {"protocol": {}, "floor": {}}
        curves = plots.curves(
            run.read_metrics(), scored["protocol"].get("distance_name"), scored["floor"].get("frechet_distance")
        )
        write_atomically(run.path / "curves.png", plots.to_png(curves))
        snapshots.write_training_gif(run, self._snapshot(run))
        run.update_record(status="finished", step=self.step)
        reporter.conclude()


_STATUS = {Stopped: "interrupted", KeyboardInterrupt: "interrupted", NonFiniteLoss: "non-finite"}


class Meter:
    """Means of the metrics since the last log line. They are in the checkpoint, so that a resumed run logs the same."""

    def __init__(self):
        self.sums, self.count = np.zeros(len(METRICS)), 0

    def add(self, rows: np.ndarray) -> None:
        for row in rows:  # one by one: a sum over several rows would round by how the calls fell
            self.sums += row.astype(np.float64)
        self.count += len(rows)

    def read_and_reset(self) -> dict[str, float]:
        means = dict(zip(METRICS, (self.sums / self.count).tolist(), strict=True))
        self.sums, self.count = np.zeros(len(METRICS)), 0
        return means

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"meter/sums": self.sums, "meter/count": np.array(self.count)}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.sums, self.count = arrays["meter/sums"].copy(), int(arrays["meter/count"])
