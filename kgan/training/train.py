"""`kgan.train`: what is asked for is checked first, then TensorFlow is imported and the run is made."""

import gc
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kgan.config import TrainConfig, check_name
from kgan.errors import UserError
from kgan.hardware import cluster
from kgan.progress import Progress
from kgan.runs import checkpoint, environment
from kgan.runs.rundir import FINISHED, RunDir
from kgan.training import scoring, start
from kgan.training.logging import LOGGER
from kgan.training.plan import RESOLVED, Plan, make_plan, resume_config

_OPEN = {*RESOLVED, "steps", "data_dir"}
"""Settings that stay as the run has them where None is given."""


@dataclass(frozen=True)
class TrainResult(os.PathLike):
    """What came of a run. It is a path too: `kgan.load`, `open` and `Path` take it for its folder.

    `status` is "finished" (or "running" for a process that is not the chief of its cluster), `metrics` the last log
    line, `best_step` and `scores` the step and the scores of the best checkpoint (None and {} if none was scored).
    """

    path: Path
    status: str
    step: int
    total_steps: int
    metrics: dict
    best_step: int | None
    scores: dict[str, float]

    def __fspath__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class _Request:
    """The settings of a run and its folder; for one that is resumed also the settings that change: name -> (from,
    to)."""

    config: TrainConfig
    run_dir: Path | None
    resumed: RunDir | None
    changes: dict[str, tuple]


def train(
    config: TrainConfig | None = None,
    *,
    run_dir: str | os.PathLike | None = None,
    resume: bool | str = False,
    progress: Progress | None = None,
    **settings,
) -> TrainResult:
    """Trains a GAN and leaves a run folder with its checkpoints, sample grids, curves and record.

    Args:
        config: The settings; by default those of `TrainConfig()`.
        run_dir: The folder of the run, which must be empty or not exist. Default: the next numbered one below runs/.
        resume: True goes on with the run in `run_dir`. "auto" does so if there is one, starts it if there is none,
            and leaves it as it is if it is finished. A resumed run keeps its settings; what is given here must agree,
            but for the settings that may change (`kgan.config.may_change`), such as `epochs`. Of `config`, only what
            differs from `TrainConfig()` counts as given.
        progress: Called with (steps done, steps in all) as training goes on.
        **settings: Fields of `TrainConfig` that differ from `config`, as in `train(dataset="mnist5k", epochs=10)`.

    Returns:
        A `TrainResult`.

    Log lines go to the run's log.txt and to the Python logger "kgan". While the steps run in the main thread, Ctrl-C
    and SIGTERM save the run and raise Stopped.

    Raises:
        UserError: Before anything is written, if the settings, the data and the machine do not fit together; later, if
            a file cannot be written or the device runs out of memory, with the last checkpoint whole.
        NonFiniteLoss: A loss, a gradient or a weight became infinite or not a number.
        Stopped: Ctrl-C or SIGTERM arrived, here or at another worker.
        LostWorker: Another worker of the run has ended, or cannot be reached.
    """
    request = _resolve(config, run_dir, resume, settings)
    if finished := _left_as_it_is(request, resume):
        LOGGER.info("%s is finished already", finished.path)
        return _result(finished)
    result = _run(request, progress)
    gc.collect()  # graphs refer to themselves: left to itself Python keeps those of several runs in memory
    return result


def describe(
    config: TrainConfig | None = None,
    *,
    run_dir: str | os.PathLike | None = None,
    resume: bool | str = False,
    **settings,
) -> dict:
    """What `train` with these arguments would do: settings, data, parameter counts, steps, bytes on disk.

    Of a run that resume="auto" would leave as it is: its settings, status and steps. Makes no run folder; data that are
    not here yet are downloaded and decoded. Raises what `train` raises before it makes or locks the run folder.
    """
    request = _resolve(config, run_dir, resume, settings)
    if finished := _left_as_it_is(request, resume):
        steps = finished.read_record().get("total_steps")
        return {"config": request.config, "status": FINISHED, "total_steps": steps, "disk_bytes": 0}
    training = _build(request)
    training.check_place(request.run_dir, request.resumed is not None)
    return training.describe()


def _resolve(config: TrainConfig | None, run_dir, resume: bool | str, settings: Mapping) -> _Request:
    if resume not in (True, False, "auto"):
        raise UserError(f"resume={resume!r}: must be True, False or 'auto'; the run's folder is run_dir")
    for name in settings:
        check_name(name)
    if resume and run_dir is None:
        raise UserError("name the run to resume with --run_dir")
    if run_dir is None or not resume or (resume == "auto" and not os.path.exists(RunDir(run_dir).config_file)):
        config = (config or TrainConfig()).replace(**settings)
        if run_dir is None and cluster.is_multiworker(config):
            raise UserError("name the run folder with --run_dir: several workers must agree on it")
        return _Request(config, Path(run_dir) if run_dir else None, None, {})
    run = RunDir.open(run_dir)
    saved = run.read_config()
    given = {name: value for name, (_, value) in TrainConfig().differences(config or TrainConfig()).items()}
    said = {name: value for name, value in settings.items() if value is not None or name not in _OPEN}
    resumed = resume_config(saved, {**given, **said})
    return _Request(resumed, run.path, run, saved.differences(resumed))


def _run(request: _Request, progress: Progress | None) -> TrainResult:
    training = _build(request)
    path = training.run(request.run_dir, request.resumed is not None, request.changes, progress)
    if not training.peers.cluster.is_chief:  # the chief is still writing
        return TrainResult(path, "running", training.step, training.plan.total_steps, {}, None, {})
    return _result(RunDir(path))


def _left_as_it_is(request: _Request, resume: bool | str) -> RunDir | None:
    """The run that resume="auto" finds at its end, if the changes do not let it go on: neither more steps nor, where
    it ended early, more patience."""
    if resume != "auto" or request.resumed is None:
        return None
    record = request.resumed.read_record()
    was, now = request.changes.get("stop_when_worse", (1, 1))
    is_over = not record.get("ended") or (now is not None and now <= was)
    if record.get("status") == FINISHED and is_over and {"epochs", "steps"}.isdisjoint(request.changes):
        return request.resumed
    return None


def _build(request: _Request):
    """The `loop.TrainingRun`, all checks passed and nothing written. Imports TensorFlow once the data are read."""
    config = request.config
    if config.tensorboard and not importlib.util.find_spec("tensorboard"):
        raise UserError("--tensorboard needs the package tensorboard: pip install 'kgan[tensorboard]'")
    cluster.is_multiworker(config)  # TF_CONFIG is readable
    plan = make_plan(config)
    earlier = _check_resumed(request.resumed, plan) if request.resumed else {}
    resumes_saved = request.resumed is not None and bool(checkpoint.paths(request.resumed.checkpoints))
    origin = start.read(plan.config) if config.init_from and not resumes_saved else None
    prepared = scoring.prepare(plan, earlier.get("evaluation"))
    environment.import_tensorflow()
    from kgan.hardware import machine
    from kgan.training import endings, loop

    hardware = machine.set_up(plan.config, earlier.get("device"))
    with endings.room_for_networks():
        return loop.TrainingRun(plan, hardware, prepared, origin)


def _check_resumed(run: RunDir, plan: Plan) -> Mapping:
    """The record of the run that is resumed. Raises UserError if that is gone, if the images are others now, if the run
    has made all its steps, or more, or if checkpoints that it must have left are gone."""
    record, kept = run.read_record(), checkpoint.paths(run.checkpoints)
    if "id" not in record:
        raise UserError(f"{run.record_file}: missing, or does not say which run this is: put it back, or train anew")
    if "dataset" in record:  # it was not killed before it wrote that
        run.check_data(plan.card["sha256"])
    done = checkpoint.step_of(kept[-1]) if kept else 0
    made = 0 if kept else run.step() or 0
    if made and (record.get("status") == FINISHED or made >= 2 * (run.read_config().save_every or made)):
        raise UserError(f"{run.checkpoints}: the checkpoints of {made} steps are gone: put them back, or train anew")
    if done > plan.total_steps:
        length = f"--epochs={plan.config.epochs} ({plan.total_steps} steps)" if plan.config.epochs else ""
        raise UserError(f"{run.path} has made {done} steps already: {length or f'--steps={plan.total_steps}'} is fewer")
    if done == plan.total_steps and record.get("status") == FINISHED:
        raise UserError(f"{run.path} is finished: it has made all {done} steps; give more --epochs or --steps")
    return record


def _result(run: RunDir) -> TrainResult:
    record, metrics, best = run.read_record(), run.read_metrics(), checkpoint.best(run.checkpoints)
    scored = next((line for line in metrics if best and line["step"] == best[0]), {})
    return TrainResult(
        path=run.path,
        status=record.get("status", "running"),
        step=record.get("step", 0),
        total_steps=record.get("total_steps", 0),
        metrics=metrics[-1] if metrics else {},
        best_step=best[0] if best else None,
        scores={name: scored[name] for name in scoring.SCORES if name in scored},
    )
