"""What is recorded of a run between its steps: log lines, scores, sample grids and checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kgan import plots
from kgan.errors import NonFiniteLoss
from kgan.files import write_atomically
from kgan.runs import checkpoint, environment
from kgan.runs.generator import TrainedGenerator, from_arrays
from kgan.runs.rundir import RunDir
from kgan.steps.state import State
from kgan.training import endings, scoring, snapshots
from kgan.training.averages import estimate_statistics
from kgan.training.background import BackgroundWriter
from kgan.training.logging import Reporter
from kgan.training.meter import HeldoutMeter, Meter
from kgan.training.plan import Plan
from kgan.training.watch import DiscriminatorWatch


class Recorder:
    """Records what is due at a step.

    The state is copied once an event, and images are generated here, where no step is under way; `writer` hashes and
    writes while the next steps run.
    """

    def __init__(
        self, run: RunDir, plan: Plan, state: State, meter: Meter, reporter: Reporter, writer: BackgroundWriter
    ):
        self.run, self.plan, self.state, self.meter = run, plan, state, meter
        self.reporter, self.writer = reporter, writer
        self.scorer: scoring.Scorer | None = None
        self.end_reason: str | None = None  # why the run should end before its last step
        self._heldout = HeldoutMeter(plan, state.discriminator)
        self._discriminator_watch = DiscriminatorWatch(plan.config, run.path, run.read_metrics())
        self._record = run.read_record()
        self._lengthened = _last_lengthened(self._record)
        self._network = None  # a float32 generator, built when the first image is drawn
        self._last: TrainedGenerator | None = None  # as of the newest grid

    def prepare_scores(self, prepared: scoring.Preparation) -> None:
        """Fits the features that the scores need, unless they are cached."""
        with self.reporter.untimed(), environment.full_float32():
            self.scorer = scoring.Scorer(prepared, self.plan.config.seed, self.reporter.say)
        before, now = self._record.get("evaluation"), self.scorer.record()
        if before and before["protocol"].get("features_sha256") != now["protocol"]["features_sha256"]:
            self.reporter.warn(
                "the features were fitted anew, on another machine or other images: scores from here on compare with "
                "those before only roughly"
            )
        self.run.update_record(evaluation=now)

    def begin(self) -> None:
        """Saves and draws what the run starts from, where that is another run's work, as step 0."""
        networks = self.state.to_arrays()
        self._check_finite(0, networks)
        trained = self._generator(networks)
        grid = snapshots.draw_grid(trained)
        self.reporter.show(0, grid)
        self.writer.submit(self._write, 0, networks | self.meter.to_arrays(), trained, grid, True, None)

    def after(self, step: int, waited: float) -> None:
        """Records that `step` was reached, `waited` seconds of that for data, and all that is due at it."""
        self.writer.check()
        self.reporter.advance(step, waited)
        config, last = self.plan.config, step == self.plan.total_steps
        scored = self.plan.next_score(step - 1) == step
        cadences = (config.log_every, config.sample_every, config.save_every)
        logs, draws, saves = (last or scored or (every and step % every == 0) for every in cadences)
        if draws or saves:
            self.writer.wait()  # so that no more than one checkpoint is in memory
        networks = self._arrays(step) if draws or saves else {}
        trained = self._generator(networks) if draws else None
        scores = self._score(trained) if scored and trained else {}
        if logs:
            self._log(step, scores)
        if networks:
            grid = snapshots.draw_grid(trained) if trained else None
            if grid is not None:
                self.reporter.show(step, grid)
            arrays = networks | self.meter.to_arrays()
            self.writer.submit(self._write, step, arrays, trained, grid, saves, scores.get("frechet_distance"))
        if scores:
            self._watch()

    def _log(self, step: int, scores: Mapping[str, float]) -> None:
        means = self.meter.read_and_reset()
        means |= self._heldout.measure(step, means)
        self.reporter.log(step, means, scores)
        for line in self._discriminator_watch.follow({"step": step, **means}):
            self.reporter.warn(line)

    def save(self, step: int) -> None:
        """Saves the state of `step` and returns when it is on disk."""
        self.writer.wait()
        if not checkpoint.path_of(self.run.checkpoints, step).exists():
            checkpoint.save(self.run.checkpoints, step, self._arrays(step) | self.meter.to_arrays())
            checkpoint.prune(self.run.checkpoints)

    def finish(self) -> None:
        """Draws the curves, the animation, and real beside generated images."""
        self.writer.wait()
        scored = self.run.read_record().get("evaluation", {"protocol": {}, "floor": {}})
        curves = plots.curves(
            self.run.read_metrics(), scored["protocol"].get("distance_name"), scored["floor"].get("frechet_distance")
        )
        write_atomically(self.run.curves_file, plots.to_png(curves))
        if self._last is None:  # resumed at its last step
            arrays = self.state.to_arrays() | self.meter.to_arrays()
            self._last = replace(self._generator(arrays), checkpoint_sha256=checkpoint.sha256(arrays))
        snapshots.write_animation(self.run, self._last)
        snapshots.write_comparison(self.run, self.plan, self._last)

    def _write(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        trained: TrainedGenerator | None,
        grid: np.ndarray | None,
        saves: bool,
        score: float | None,
    ) -> None:
        """In the writer's thread. The best checkpoint is entered before the former best may be removed."""
        if trained is not None and grid is not None:
            self._last = replace(trained, checkpoint_sha256=checkpoint.sha256(arrays))
            snapshots.write_grid(self.run, self._last, grid)
        if saves:
            checkpoint.save(self.run.checkpoints, step, arrays)
            if score is not None:
                checkpoint.keep_if_best(self.run.checkpoints, step, score)
            checkpoint.prune(self.run.checkpoints)

    def _arrays(self, step: int) -> dict[str, np.ndarray]:
        """The state, in which the averaged generator has batch-norm statistics of its own. Raises NonFiniteLoss if it
        is not to be drawn from or saved. Call it while `writer` has nothing to do."""
        arrays = self.state.to_arrays()
        if self.plan.config.ema_decay:
            statistics = estimate_statistics(self._generator(arrays))
            arrays |= {f"ema_generator/{path}": value for path, value in statistics.items()}
        self._check_finite(step, arrays)
        return arrays

    def _check_finite(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """The metrics of a step are taken before its update: they do not tell of the weights that it leaves."""
        if name := checkpoint.not_finite(arrays):
            raise NonFiniteLoss(
                f"{name} is not finite after step {step}; {endings.last_good(self.run)}; {endings.STEADIER}"
            )

    def _generator(self, arrays: Mapping[str, np.ndarray]) -> TrainedGenerator:
        """The generator as `load` would give it back from a checkpoint of these arrays, but for its hash."""
        trained = from_arrays(self.plan.config, self._record, arrays, network=self._network, checkpoint_sha256="")
        self._network = trained.generator
        return trained

    def _score(self, trained: TrainedGenerator) -> dict[str, float]:
        assert self.scorer is not None
        with self.reporter.untimed(), environment.full_float32():
            return self.scorer(trained)

    def _watch(self) -> None:
        """Says once that the scores have become much worse, and notes when --stop_when_worse is reached."""
        history = scoring.history(self.run)
        if advice := scoring.collapse_advice(history):
            self.reporter.warn(advice)
        self.note_end(history)

    def note_end(self, history: Sequence[tuple[int, float]]) -> None:
        """Sets `end_reason` if --stop_when_worse is reached by the scores so far, those before an interruption too."""
        patience = self.plan.config.stop_when_worse
        if not patience or not history:
            return
        best_step, _ = scoring.since_best(history)
        since = max(best_step, self._lengthened)
        waiting = sum(step > since for step, _ in history)
        if waiting >= patience:
            self.end_reason = f"no better score in {waiting} since step {since} (--stop_when_worse={patience})"


def _last_lengthened(record: Mapping) -> int:
    """The step at which the run was last resumed with other --epochs or --steps, which takes up its patience anew, so
    that one that had ended early does not end again at its next score; 0 if it never was."""
    return max(
        (entry["step"] for entry in record.get("resumed", ()) if {"epochs", "steps"} & set(entry["changes"])), default=0
    )
