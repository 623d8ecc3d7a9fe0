"""How a run ends that does not finish: what run.json says of it, and the one line that says what to do."""

import contextlib
import shlex
from collections.abc import Callable, Iterator

import tensorflow as tf

from kgan.config import TrainConfig
from kgan.errors import LostWorker, NonFiniteLoss, Stopped, UserError
from kgan.runs import checkpoint
from kgan.runs.rundir import FAILED, INTERRUPTED, NON_FINITE, RunDir

STEADIER = "in a new run, try a smaller --d_lr and --g_lr, or --clip_norm"
"""What to do where a loss or weights are not finite."""
_STATUS = dict.fromkeys((Stopped, KeyboardInterrupt, BrokenPipeError, LostWorker), INTERRUPTED) | {
    NonFiniteLoss: NON_FINITE
}


@contextlib.contextmanager
def recorded(run: RunDir, config: TrainConfig, step: Callable[[], int]) -> Iterator[None]:
    """Records in run.json how the run ended if it did not finish, and explains it. `step()` is how far it came."""
    try:
        yield
    except BaseException as error:
        status = _STATUS.get(type(error), FAILED)
        with contextlib.suppress(OSError, UserError):
            run.update_record(status=status, step=step())
        if isinstance(error, KeyboardInterrupt):
            raise Stopped(f"stopped at once at step {step()}; {saved(run)}; {how_to_resume(run)}", 2) from None
        if isinstance(error, LostWorker):
            raise LostWorker(f"{error}; {saved(run)}; {how_to_restart(run)}") from None
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise unwritable(run, error) from None
        if _is_out_of_memory(error):
            raise UserError(
                f"the device ran out of memory at --batch_size={config.batch_size} --accumulate={config.accumulate}: "
                "start another run with a smaller batch or more parts"
            ) from None
        raise


@contextlib.contextmanager
def room_for_networks() -> Iterator[None]:
    """Explains it if the device has no memory for the networks and their optimizers alone."""
    try:
        yield
    except tf.errors.OpError as error:
        if _is_out_of_memory(error):
            raise UserError("the networks alone need more memory than the device has: take a smaller --width") from None
        raise


def _is_out_of_memory(error: BaseException) -> bool:
    """XLA reports it as other kinds of error too, with the words in the message."""
    is_exhausted = isinstance(error, tf.errors.ResourceExhaustedError)
    return is_exhausted or (isinstance(error, tf.errors.OpError) and "RESOURCE_EXHAUSTED" in str(error))


def unwritable(run: RunDir, error: OSError) -> UserError:
    """An error of the file system, with what is saved and how to go on."""
    if not run.path.is_dir():
        return UserError(
            f"{run.path}: the run folder is no longer there: it was removed or moved, or its disk is gone; if it comes "
            f"back, {how_to_resume(run)}"
        )
    return UserError(
        f"{error.strerror or error}: {error.filename or run.path}; put this right; {saved(run)}; {how_to_resume(run)}"
    )


def saved(run: RunDir) -> str:
    files = checkpoint.paths(run.checkpoints)
    return f"the last checkpoint is of step {checkpoint.step_of(files[-1])}" if files else "no checkpoint was saved yet"


def last_good(run: RunDir) -> str:
    """Where the last checkpoint from before a loss or weights that are not finite lies."""
    files = checkpoint.paths(run.checkpoints)
    return f"the last good checkpoint is {files[-1]}" if files else "no checkpoint was saved yet"


def how_to_resume(run: RunDir) -> str:
    return f"go on with: kgan train --resume={shlex.quote(str(run.path))}"


def how_to_restart(run: RunDir) -> str:
    return f"{how_to_resume(run)} on all workers" if run.config_file.exists() else "start all workers again"
