"""Checkpoint files: one .npz of plain arrays for each saved step, whole or absent.

A name is `step-0000500.npz`; the keys are the names of `State.variables`. Beside them are `best.json`, which names the
checkpoint with the best score once one was measured, and damaged ones, put aside as `NAME.damaged` for the user to see.
"""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kgan.arrays import read_npz
from kgan.config import MAX_STEPS
from kgan.errors import UserError
from kgan.files import write_atomically, written_whole
from kgan.runs import schema
from kgan.runs.rundir import step_of
from kgan.text import one_line

KEEP = 3
BEST = "best.json"
_NAME = re.compile(r"step-(\d{7,18})\.npz")


def save(folder: Path, step: int, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes a checkpoint. Raises OSError (a full disk, say) with every earlier checkpoint untouched."""
    folder.mkdir(exist_ok=True)
    path = path_of(folder, step)
    with written_whole(path) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    return path


def prune(folder: Path) -> None:
    """Removes all checkpoints but the last three and the best: the best is to be entered in best.json before."""
    scored = best(folder)
    kept = {*paths(folder)[-KEEP:], *([path_of(folder, scored[0])] if scored else [])}
    for old in set(paths(folder)) - kept:
        old.unlink()


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies, if it was kept."""
    return folder / f"step-{step:07}.npz"


def put_aside(path: Path) -> Path:
    """Gives a damaged checkpoint a name by which it counts as none, and returns that."""
    return path.rename(path.with_name(f"{path.name}.damaged"))


def paths(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first. Files with other names are none."""
    return sorted((path for path in folder.glob("step-*.npz") if _NAME.fullmatch(path.name)), key=step_of)


def best(folder: Path) -> tuple[int, float] | None:
    """The step with the best (lowest) score and the score, or None if none was scored.

    Raises UserError if best.json is damaged.
    """
    try:
        record = schema.read(folder / BEST, schema.Best)
    except FileNotFoundError:
        return None
    except UserError as error:
        raise UserError(f"{error}; without it the last checkpoint counts as the best") from None
    return record["step"], float(record["score"])


def keep_if_best(folder: Path, step: int, score: float) -> None:
    """Makes `step`, whose checkpoint must be there, the best one if `score` is below that of the best so far."""
    earlier = best(folder)
    if earlier is None or score < earlier[1]:
        write_atomically(folder / BEST, (json.dumps({"step": step, "score": score}) + "\n").encode())


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, among them the int64 scalar "step", which agrees with the file's name.

    Raises UserError if the file is damaged or is no checkpoint. Nothing in it is executed, and its arrays take no more
    memory than the file has bytes.
    """
    try:
        arrays = read_npz(path, max_bytes=os.stat(path).st_size)
        if "step" not in arrays:
            raise UserError("it has no step")
        step = arrays["step"]
        if step.shape != () or step.dtype.kind != "i" or not 0 <= int(step) <= MAX_STEPS:
            raise UserError("its step is not a number of steps")
        if _NAME.fullmatch(path.name) and int(step) != step_of(path):
            raise UserError(f"it holds step {int(step)}")
        if strange := [name for name, array in arrays.items() if array.dtype.kind not in "biuf"]:
            raise UserError(f"{one_line(strange[0], 60)} is no array of plain numbers")
    except (OSError, UserError) as error:
        reason = one_line(str(error).removeprefix(f"{path}: "))
        raise UserError(f"{path}: not a readable checkpoint ({reason})") from None
    return arrays


def not_finite(arrays: Mapping[str, np.ndarray]) -> str | None:
    """The name of an array that holds infinity or NaN; None if none does."""
    return next((name for name, array in arrays.items() if not np.isfinite(array).all()), None)


def read_last(folder: Path) -> tuple[Path, dict[str, np.ndarray]] | None:
    """The newest checkpoint that can be read, or None if there are none. Raises UserError if all are damaged."""
    damage, kept = None, paths(folder)
    for path in reversed(kept):
        try:
            return path, read(path)
        except UserError as error:
            damage = error
    if damage:
        several = f"none of its {len(kept)} checkpoints can be read: put one"
        which = several if len(kept) > 1 else "it is the only one: put it"
        raise UserError(f"{damage}; {which} back, or train anew")
    return None


def find(folder: Path, which: str = "best") -> Path:
    """The file of checkpoint "best" (the last one if none was scored), "last", or a step.

    Raises UserError naming the steps there are.
    """
    kept = {step_of(path): path for path in paths(folder)}
    if not kept:
        raise UserError(
            f"{folder}: no checkpoint yet; go on with kgan train --resume={shlex.quote(str(folder.parent))}"
        )
    if which in ("best", "last"):
        scored = best(folder) if which == "best" else None
        return kept.get(scored[0] if scored else -1, kept[max(kept)])
    if not which.isdecimal() or int(which) not in kept:
        raise UserError(f"--checkpoint={which}: must be best, last or one of the steps {', '.join(map(str, kept))}")
    return kept[int(which)]


def sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """Over the sorted (name, bytes) of the arrays, so that it does not depend on how the file was written."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
