"""The hash of a folder's image files, without reading them again while their names, sizes and times stay the same."""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kgan.data.folder import list_images
from kgan.errors import UserError
from kgan.files import cache_folder, open_regular, read_bounded, write_atomically

_SETTLED = 2e9  # nanoseconds: a file that changed this recently may change again without its time telling
_MAX_RECORD = 1 << 16


def images_in(root: Path) -> list[Path]:
    """The image files below `root`, in the order of their names. Raises UserError if there are none."""
    paths = list_images(root) if root.is_dir() else []
    if not paths:
        raise UserError(f"{root}: no images in it" if root.is_dir() else f"{root}: not a folder")
    return paths


def states(paths: Iterable[Path]) -> list[tuple[str, int, int, int]]:
    """What tells that a file has changed: its path, size, and times of change. Raises UserError if it is gone."""
    found = []
    for path in paths:
        try:
            state = os.stat(path)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        found.append((str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns))
    return found


def files_sha256(root: Path, verify: bool = False) -> str:
    """The hash over the names and bytes of all image files, in the order of names.

    It is remembered in the cache folder. `verify` reads the files again even if they seem unchanged. Raises UserError
    if there are no images, or one cannot be opened.
    """
    paths = images_in(root)
    before = states(paths)
    listed = hashlib.sha256(repr(before).encode("utf-8", "surrogateescape")).hexdigest()
    record = cache_folder() / "manifests" / f"{hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:32]}.json"
    if not verify and (known := _read(record, listed)):
        return known
    newest = max(max(changed, moved) for _, _, changed, moved in before)
    value = hash_files(paths, root)
    if newest + _SETTLED < time.time_ns() and states(paths) == before:
        _write(record, {"root": str(root.absolute()), "listed": listed, "files_sha256": value})
    return value


def hash_files(paths: list[Path], root: Path) -> str:
    """The same of these files, which are read in parallel."""
    with ThreadPoolExecutor() as pool:
        return join_hashes(paths, root, pool.map(file_sha256, paths))


def join_hashes(paths: list[Path], root: Path, hashes: Iterable[str]) -> str:
    """One hash of many files' hashes and names."""
    digest = hashlib.sha256()
    for path, file_hash in zip(paths, hashes, strict=True):
        digest.update(f"{file_hash}  {path.relative_to(root).as_posix()}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a regular file, in hexadecimal. Raises UserError if it cannot be read."""
    try:
        with open_regular(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def _read(record: Path, listed: str) -> str | None:
    try:
        known = json.loads(read_bounded(record, _MAX_RECORD))
        return str(known["files_sha256"]) if known["listed"] == listed else None
    except (UserError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _write(record: Path, content: dict) -> None:
    """Whoever cannot write there hashes again the next time."""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(record, json.dumps(content).encode())
    except OSError:
        return
