"""Checkpoint files: one .npz of plain arrays for each saved step, whole or absent.

A name is `step-0000500.npz`; the keys are the names of `State.variables`. Nothing else is in the folder but
`best.json`, which names the checkpoint with the best score once one was measured.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kgan.errors import UserError
from kgan.files import write_atomically

KEEP = 3
BEST = "best.json"


def save(folder: Path, step: int, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes a checkpoint and then removes all but the last three and the best.

    Raises OSError (a full disk, say) with every earlier checkpoint untouched.
    """
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path = folder / f"step-{step:07}.npz"
    write_atomically(path, buffer.getbuffer())
    found = best(folder)
    kept = {*paths(folder)[-KEEP:], *([folder / f"step-{found[0]:07}.npz"] if found else [])}
    for old in set(paths(folder)) - kept:
        old.unlink()
    return path


def paths(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    return sorted(folder.glob("step-*.npz"), key=step_of)


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def best(folder: Path) -> tuple[int, float] | None:
    """The step with the best (lowest) score and the score, or None if none was scored.

    Raises UserError if best.json is damaged.
    """
    path = folder / BEST
    try:
        record = json.loads(path.read_text())
        return int(record["step"]), float(record["score"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not readable ({error}); without it the last checkpoint counts as the best") from None


def keep_if_best(folder: Path, step: int, score: float) -> None:
    """Makes `step`, whose checkpoint must be there, the best one if `score` is below that of the best so far."""
    earlier = best(folder)
    if earlier is None or score < earlier[1]:
        write_atomically(folder / BEST, (json.dumps({"step": step, "score": score}) + "\n").encode())


def read(path: Path) -> dict[str, np.ndarray]:
    """Raises UserError if the file is damaged or is no checkpoint. Nothing in it is executed."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise UserError(f"{path}: not a readable checkpoint ({error})") from None


def read_last(folder: Path) -> tuple[Path, dict[str, np.ndarray]] | None:
    """The newest checkpoint that can be read, or None if there are none. Raises UserError if all are damaged."""
    damage = None
    for path in reversed(paths(folder)):
        try:
            return path, read(path)
        except UserError as error:
            damage = error
    if damage:
        raise damage
    return None


def choose(folder: Path, which: str = "best") -> Path:
    """The file of checkpoint "best" (the last one if none was scored), "last", or a step.

    Raises UserError naming the steps there are.
    """
    found = {step_of(path): path for path in paths(folder)}
    if not found:
        raise UserError(f"{folder}: no checkpoint yet; go on with kgan train --resume={folder.parent}")
    if which in ("best", "last"):
        scored = best(folder) if which == "best" else None
        return found.get(scored[0] if scored else None, found[max(found)])
    if not which.isdecimal() or int(which) not in found:
        raise UserError(f"--checkpoint={which}: must be best, last or one of the steps {', '.join(map(str, found))}")
    return found[int(which)]


def sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """Over the sorted (name, bytes) of the arrays, so that it does not depend on how the file was written."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
