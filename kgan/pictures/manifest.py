"""What is known of files, without reading them again while their names, sizes and times stay the same."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from kgan.errors import UserError
from kgan.files import cache_folder, open_regular, read_bounded, states, write_atomically
from kgan.pictures.pictures import Pictures, in_parallel

Fact = TypeVar("Fact")
_SETTLED = 2e9  # nanoseconds: a file that changed this recently may change again without its time telling
_MAX_RECORD = 1 << 16


def files_sha256(pictures: Pictures, verify: bool = False) -> str:
    """`pictures.files_sha256()`, which is remembered in the cache folder.

    `verify` reads the files again even if they seem unchanged. Raises UserError if one cannot be read.
    """
    return remembered(pictures, "files_sha256", pictures.files_sha256, verify)


def remembered(pictures: Pictures, name: str, find: Callable[[], Fact], verify: bool = False) -> Fact:
    """A fact about these pictures, such as their hash: `find()`, or what it said while the files were as they are."""
    before = pictures.states
    listed = hashlib.sha256(repr(before).encode("utf-8", "surrogateescape")).hexdigest()
    place = os.fsencode(pictures.place.absolute())
    record = cache_folder() / "manifests" / f"{hashlib.sha256(place).hexdigest()[:32]}.json"
    facts = _read(record, listed)
    if not verify and name in facts:
        return facts[name]
    newest = max(moved for *_, moved in before)  # what nobody can set, unlike the time of the last change of content
    fact = find()
    if newest + _SETTLED < time.time_ns() and states(pictures.files()) == before:
        _write(record, {"root": os.fsdecode(place), "listed": listed, "facts": facts | {name: fact}})
    return fact


def hash_files(root: Path, names: Sequence[str]) -> str:
    """One hash over the names, relative to `root`, and the bytes of these files, which are read in parallel."""
    digest = hashlib.sha256()
    for name, file_hash in zip(names, in_parallel(lambda name: file_sha256(root / name), names), strict=True):
        digest.update(f"{file_hash}  {name}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a regular file, in hexadecimal. Raises UserError if it cannot be read."""
    try:
        with open_regular(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def dataset_sha256(images: np.ndarray, labels: np.ndarray | None) -> str:
    """Over shape, pixels and labels in canonical order, so that every on-disk form of the same data agrees."""
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(b"" if labels is None else labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _read(record: Path, listed: str) -> dict:
    try:
        known = json.loads(read_bounded(record, _MAX_RECORD))
        return dict(known["facts"]) if known["listed"] == listed else {}
    except (UserError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _write(record: Path, content: dict) -> None:
    """Whoever cannot write there looks again the next time."""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(record, json.dumps(content).encode())
    except OSError:
        return
