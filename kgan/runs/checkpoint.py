"""Checkpoint files: one .npz of plain arrays for each saved step, whole or absent.

A name is `step-0000500.npz`; the keys are the names of `State.variables`. Nothing else is in the folder but
`best.json`, which names the checkpoint with the best score once one was measured.
"""

import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kgan.errors import UserError
from kgan.files import open_regular, write_atomically, written_whole
from kgan.runs import schema
from kgan.text import one_line

KEEP = 3
BEST = "best.json"
_NAME = re.compile(r"step-(\d{7,18})\.npz")
_MAX_STEP = 10**18 - 1


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


def paths(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first. Files with other names are none."""
    return sorted((path for path in folder.glob("step-*.npz") if _NAME.fullmatch(path.name)), key=step_of)


def step_of(path: Path) -> int:
    """The step that a checkpoint's file name says."""
    return int(path.stem.removeprefix("step-"))


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

    Raises UserError if the file is damaged or is no checkpoint. Nothing in it is executed, and no more memory is taken
    than the file has bytes: members are stored without compression, and each holds what its header says.
    """
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > os.fstat(stream.fileno()).st_size:
                raise ValueError("its parts are larger than the file")
            arrays = {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}
        step = arrays["step"]
        if step.shape != () or step.dtype.kind != "i" or not 0 <= int(step) <= _MAX_STEP:
            raise ValueError("its step is not a number of steps")
        if _NAME.fullmatch(path.name) and int(step) != step_of(path):
            raise ValueError(f"it holds step {int(step)}")
        return arrays
    except KeyError as error:
        raise UserError(f"{path}: not a readable checkpoint (it has no {one_line(error.args[0], 60)})") from None
    except (
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        OverflowError,
    ) as error:
        raise UserError(f"{path}: not a readable checkpoint ({one_line(error)})") from None


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Raises ValueError unless the member is an array of plain numbers, in the .npy format 1.0, of its very size."""
    name = one_line(member.filename, 60)
    if member.compress_type != zipfile.ZIP_STORED or not member.filename.endswith(".npy"):
        raise ValueError(f"{name} is no stored array")
    stream = io.BytesIO(archive.read(member))
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("another version of the format")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # numpy parses the header as Python: several kinds of errors
        raise ValueError(f"{name} is no array: {error}") from None
    content = stream.getbuffer()[stream.tell() :]
    if dtype.kind not in "biuf" or any(size < 0 for size in shape):
        raise ValueError(f"{name} is no array of plain numbers")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{name} is not as large as it says")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C").copy()


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


def find(folder: Path, which: str = "best") -> Path:
    """The file of checkpoint "best" (the last one if none was scored), "last", or a step.

    Raises UserError naming the steps there are.
    """
    kept = {step_of(path): path for path in paths(folder)}
    if not kept:
        raise UserError(f"{folder}: no checkpoint yet; go on with kgan train --resume={folder.parent}")
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
