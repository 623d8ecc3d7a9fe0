"""The training loop: a run folder is opened, steps are made, and what is due between them is recorded."""

import logging
import math
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from kgan.data.licensing import permission
from kgan.data.pipeline import copied_ahead, step_batches
from kgan.errors import LostWorker, NonFiniteLoss, Stopped, UserError
from kgan.files import nearest_existing
from kgan.hardware import machine
from kgan.models.architectures import Shapes
from kgan.progress import Progress
from kgan.runs import ancestry, checkpoint, environment
from kgan.runs.rundir import FINISHED, RUNNING, RUNS, RunDir
from kgan.sampling.draw import GRID_IMAGES
from kgan.steps.accumulation import build_step
from kgan.steps.state import create_state, layers_with_weights
from kgan.steps.step import METRICS
from kgan.training import endings, scoring, snapshots, start
from kgan.training.background import BackgroundWriter
from kgan.training.logging import Reporter
from kgan.training.meter import Meter
from kgan.training.plan import Plan
from kgan.training.recording import Recorder
from kgan.training.stopping import stop_signals


class TrainingRun:
    """One training run in this process: the state, the step function and how far it is. Nothing is written before
    `run`."""

    def __init__(
        self,
        plan: Plan,
        hardware: machine.Hardware,
        prepared: scoring.Preparation | None = None,
        origin: start.Start | None = None,
    ):
        self.plan, self.config, self.hardware = plan, plan.config, hardware
        self._prepared = prepared  # holds the real images: let go once the scorer has its features
        size, _, channels = plan.data.images.shape[1:]
        shapes = Shapes(size, channels, plan.num_classes)
        self.peers = hardware.peers
        self._check_peers(origin.sha256 if origin else None)  # networks that differ cannot even be made together
        with self.peers.watched(), hardware.strategy.scope():
            self.state = create_state(self.config, shapes, plan.total_steps, hardware.precision)
            self._fresh = start.put_in_place(origin, self.state, self.config, plan.num_classes) if origin else []
            self.origin = replace(origin, arrays={}) if origin else None  # they are large
            self.step_function = build_step(self.config, self.state, hardware.strategy, xla=hardware.xla)
        self.meter = Meter(METRICS)
        self.step = 0
        self._damaged: list[Path] = []  # checkpoints after the one that was restored

    def describe(self) -> dict:
        """Settings, data, parameter counts, steps, bytes on disk, and the machine."""
        networks = {"generator": self.state.generator, "discriminator": self.state.discriminator}
        return {
            "config": self.config,
            "dataset": self.plan.card,
            "total_steps": self.plan.total_steps,
            "parameters": {name: network.count_params() for name, network in networks.items()},
            "disk_bytes": self.disk_bytes(),
            **self._ancestors(),
            **machine.describe(self.hardware),
        }

    def disk_bytes(self) -> int:
        """An upper estimate: the last three checkpoints, the best, one being written, and the snapshots."""
        one = sum(np.asarray(variable).nbytes for variable in self.state.variables().values())
        grid = GRID_IMAGES * math.prod(self.plan.data.images.shape[1:]) * 4
        return one * (checkpoint.KEEP + 2) + grid * (self.plan.total_steps // (self.config.sample_every or 1) + 2) * 2

    def check_place(self, run_dir: Path | None, resumes: bool) -> None:
        """Raises UserError if the folder of a new run is not empty, or the disk is too small, as `run` would."""
        if run_dir and not resumes:
            RunDir(run_dir).check_unused()
        self._check_disk(run_dir or RUNS, resumes)

    def run(self, run_dir: Path | None, resumes: bool, changes: Mapping, progress: Progress | None) -> Path:
        """Opens or makes the run folder, trains, and leaves its record complete however the run ends.

        `changes` are the settings that a resumed run has otherwise than before: name -> (from, to).
        """
        with self.peers.told_of_failure():
            if self.peers.cluster.is_chief:
                return self._lead(run_dir, resumes, changes, progress)
            assert run_dir is not None
            self._follow(run_dir, resumes)
            return run_dir

    def _follow(self, run_dir: Path, resumes: bool) -> None:
        """The part of a worker that is not the chief: it records nothing."""
        if resumes:
            self._restore(RunDir.open(run_dir))
        try:
            self._run_steps(None)
        except LostWorker as error:
            raise LostWorker(f"{error}; {endings.how_to_restart(RunDir(run_dir))}") from None

    def _lead(self, run_dir: Path | None, resumes: bool, changes: Mapping, progress: Progress | None) -> Path:
        self._check_disk(run_dir or RUNS, resumes)
        run = self._reopen(run_dir, changes) if run_dir and resumes else RunDir.create(run_dir, self.config)
        try:
            with endings.recorded(run, self.config, lambda: self.step):
                goes_on_past_its_end = bool(run.read_record().get("ended"))
                self._record_start(run)
                with Reporter(run, self.plan, self.step, progress) as reporter, BackgroundWriter() as writer:
                    self._introduce(run, reporter, changes)
                    recorder = Recorder(run, self.plan, self.state, self.meter, reporter, writer)
                    if self._prepared:
                        recorder.prepare_scores(self._prepared)
                        self._prepared = None
                    if self.origin:
                        recorder.begin()
                    if not goes_on_past_its_end:
                        recorder.note_end(scoring.history(run))
                    self._run_steps(recorder)
                    if recorder.end_reason:
                        reporter.say(f"ended at step {self.step}: {recorder.end_reason}")
                    recorder.finish()
                ended = recorder.end_reason if self.step < self.plan.total_steps else None
                run.update_record(status=FINISHED, step=self.step, ended=ended)
        finally:
            run.unlock()
        return run.path

    def _check_disk(self, path: Path, resumes: bool) -> None:
        place = nearest_existing(path.absolute())
        run = RunDir(path)
        there = [*checkpoint.paths(run.checkpoints), *run.sample_files()] if resumes else []
        needed = self.disk_bytes() - sum(file.stat().st_size for file in there)
        free = shutil.disk_usage(place).free
        if needed > free:
            raise UserError(
                f"this run takes up to {needed / 2**20:,.0f} MiB and {place} has {free / 2**20:,.0f} MiB free: "
                "make room, or name another disk with --run_dir"
            )

    def _reopen(self, run_dir: Path, changes: Mapping) -> RunDir:
        """The run to resume, locked and cut back to its last checkpoint."""
        run = RunDir.open(run_dir)
        run.lock()
        try:
            record = run.read_record()
            self._restore(run)
            run.samples.mkdir(exist_ok=True)
            run.remove_leftovers()
            self._damaged = [checkpoint.put_aside(path) for path in self._damaged]
            run.cut_back(self.step)
            scoring.restore_best(run)
            run.write_config(self.config)
            run.update_record(resumed=[*record.get("resumed", []), self._resumption(record, changes)])
        except OSError as error:
            run.unlock()
            raise endings.unwritable(run, error) from None
        except BaseException:
            run.unlock()
            raise
        return run

    def _resumption(self, record: Mapping, changes: Mapping) -> dict:
        """What run.json says of going on: where, and what is not as it was."""
        before, now = (
            {**described, **described.get("device", {}), **described.get("versions", {})}
            for described in (record, machine.describe(self.hardware))
        )
        names = ("precision", "xla", "git_revision", "platform", *environment.versions())
        made = {name: (before.get(name), now[name]) for name in names if before.get(name) != now[name]}
        return {"step": self.step, "changes": {**changes, **made}}

    def _restore(self, run: RunDir) -> None:
        newest = checkpoint.read_last(run.checkpoints)
        if newest is None:
            return
        path, arrays = newest
        kept = checkpoint.paths(run.checkpoints)
        self._damaged = kept[kept.index(path) + 1 :]
        try:
            self.state.set_arrays(arrays)
            self.meter.set_arrays(arrays)
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: does not fit the networks that config.json describes ({error})") from None
        self.step = int(arrays["step"])

    def _record_start(self, run: RunDir) -> None:
        run.update_record(
            status=RUNNING,
            step=self.step,
            dataset=self.plan.card,
            total_steps=self.plan.total_steps,
            ended=None,
            **self._ancestors(),
            **machine.describe(self.hardware),
        )

    def _ancestors(self) -> dict:
        """For run.json; nothing where the weights are new, or were saved by this run before."""
        return {"ancestors": self.origin.ancestors} if self.origin else {}

    def _introduce(self, run: RunDir, reporter: Reporter, changes: Mapping) -> None:
        for line in self.plan.data.unreadable:
            reporter.say(f"skipped {line}", logging.WARNING)
        for line in permission.warnings(self.plan.card):
            reporter.say(line, logging.WARNING)
        for path in self._damaged:
            reporter.say(f"put aside as {path}: it is damaged", logging.WARNING)
        snapshots.write_reals(run, self.plan)
        reporter.introduce(self.hardware)
        if self.origin:
            self._introduce_origin(reporter, self.origin)
        if self.config.lr_decay != "none" and self.step and ("epochs" in changes or "steps" in changes):
            decay, last = self.config.lr_decay, self.plan.total_steps
            reporter.say(f"--lr_decay={decay}: the learning rates now fall until step {last}")

    def _introduce_origin(self, reporter: Reporter, origin: start.Start) -> None:
        for ancestor in origin.ancestors:
            reporter.say(f"weights of {ancestry.in_words(ancestor)}")
            for line in permission.license_warnings(dict(ancestor["dataset"])):
                reporter.say(line, logging.WARNING)
        if self._fresh:
            counts = f"{origin.num_classes} classes there, {self.plan.num_classes} here"
            reporter.say(f"{counts}: new weights for {', '.join(self._fresh)}")
        if self.config.freeze_d:
            layers = layers_with_weights(self.state.discriminator)[: self.config.freeze_d]
            reporter.say(f"kept as they are: discriminator layers {', '.join(layer.name for layer in layers)}")

    def _run_steps(self, recorder: Recorder | None) -> None:
        """All workers decide together whether to stop, so that they stop at the same step."""
        total = self.plan.total_steps
        iterator = iter(self._batches())
        with stop_signals() as stop:
            self.peers.check_same(
                self.step, "another step", "give all workers the same --run_dir, on a file system they share"
            )
            while self.step < total and not self._is_to_end(recorder, stop.received):
                count = min(self.plan.next_event(self.step) - self.step, self.hardware.steps_per_call)
                with self.peers.watched():
                    results = self.step_function(iterator, tf.constant(count, tf.int32))
                    rows, waited = (result.numpy() for result in results)
                self._check_finite(rows, recorder)
                self.step += count
                if self.step == total:
                    self.peers.part()
                self.meter.add(rows)
                if recorder:
                    recorder.after(self.step, waited)
            if recorder:
                recorder.writer.wait()  # a signal must not cut off the last checkpoint

    def _is_to_end(self, recorder: Recorder | None, signal_number: int) -> bool:
        """What all workers agree on: whether the run ends early. Raises Stopped if one of them got a signal."""
        ends = recorder is not None and recorder.end_reason is not None
        decision = max(self.peers.exchange(signal_number or (_END if ends else 0)))
        if decision > _END:
            self._stop(recorder, decision)
        return decision == _END

    def _check_peers(self, origin_sha256: str | None) -> None:
        precision = zlib.crc32(self.hardware.precision.encode())
        self.peers.check_same(precision, "another precision", "give all workers the same --precision")
        own = dict.fromkeys(("data_dir", "init_from", "strategy"))  # each machine may have its own
        shared = ({**vars(self.config), **own}, self.plan.card["sha256"], self.plan.total_steps, origin_sha256)
        fingerprint = zlib.crc32(repr(shared).encode())
        self.peers.check_same(fingerprint, "other settings or images", "start all workers with the same flags and data")

    def _stop(self, recorder: Recorder | None, signal_number: int) -> None:
        if recorder is None:
            raise Stopped(f"stopped at step {self.step}; {self.peers.chief} saves the run", signal_number)
        recorder.save(self.step)
        raise Stopped(f"stopped at step {self.step}, all saved; {endings.how_to_resume(recorder.run)}", signal_number)

    def _batches(self):
        config, hardware = self.config, self.hardware

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
                num_parts=config.accumulate,
            )

        distributed = hardware.strategy.distribute_datasets_from_function(batches)
        step_bytes = config.d_steps * config.batch_size * math.prod(self.plan.data.images.shape[1:])
        count = min(2 * hardware.steps_per_call, max(2, _AHEAD_BYTES // step_bytes))
        return copied_ahead(distributed, hardware.feed_device, count)

    def _check_finite(self, rows: np.ndarray, recorder: Recorder | None) -> None:
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            if recorder:
                recorder.writer.wait()
            row, column = bad[0]
            raise NonFiniteLoss(
                f"{METRICS[column]} became {rows[row, column]} at step {self.step + row + 1}; "
                + (endings.last_good(recorder.run) if recorder else f"{self.peers.chief} says what is saved")
                + f"; {endings.STEADIER}"
            )


_AHEAD_BYTES = 2**28
"""Of the device's memory, for the batches of the next steps."""
_END = 1
"""What a chief that wants to end the run early tells the others; other numbers are those of signals."""
