"""Files that are written whole or not at all, and files of others that are read within bounds."""

import contextlib
import fcntl
import io
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from kgan.errors import UserError

State = tuple[str, int, int, int]
_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A stream to a file that appears under its name, replacing what was there, once the block has ended well.

    A reader, or a crash, sees the old content or the new, never a part. Raises OSError (disk full, no permission),
    which names `path`, with the old file untouched. A link stays one, and its target is replaced; what is no file, such
    as /dev/null or a pipe, is written to.
    """
    if _is_device(path):
        with open(path, "wb") as stream:
            yield stream
        return
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _is_device(path: str | os.PathLike) -> bool:
    """Whether something is there that can be written to, but not replaced by a file."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file whole or not at all, as `written_whole` does."""
    with written_whole(path) as stream:
        stream.write(content)


def nearest_existing(path: str | os.PathLike) -> Path:
    """The path, or the nearest of the folders above it that is there, as far as can be seen: what the path can be made
    in."""
    path = Path(path)
    return next(place for place in (path, *path.absolute().parents) if os.path.exists(place))


def open_regular(path: str | os.PathLike) -> io.BufferedReader:
    """Opens a file for reading that may come from anyone.

    Raises UserError naming it if it cannot be opened, or is a pipe, a device or a folder, which could block or never
    end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path}: not a regular file")
    return os.fdopen(descriptor, "rb")


def read_bounded(path: str | os.PathLike, max_bytes: int) -> bytes:
    """The content of a regular file. Raises UserError naming it if it cannot be read or is longer than `max_bytes`."""
    with open_regular(path) as stream:
        return read_rest(stream, path, max_bytes)


def read_rest(stream: BinaryIO, path: str | os.PathLike, max_bytes: int) -> bytes:
    """What is left of an open file, with the errors of `read_bounded`."""
    try:
        content = stream.read(max_bytes + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if len(content) > max_bytes:
        raise UserError(f"{path}: longer than {max_bytes / 2**20:g} MiB")
    return content


def states(paths: Iterable[str | os.PathLike]) -> list[State]:
    """What tells that a file has changed: its path, size, and times of change. Raises UserError if it is gone."""
    found = []
    for path in paths:
        try:
            state = os.stat(path)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        found.append((str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns))
    return found


def remove_leftovers(folder: Path, names: Iterable[str] | None = None) -> None:
    """Removes what a process that was killed while it wrote files of these names (None: any) left in `folder`."""
    allowed = None if names is None else set(names)
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and (allowed is None or match[1] in allowed):
            path.unlink(missing_ok=True)


def cache_folder() -> Path:
    """$KGAN_CACHE_DIR, else ~/.cache/kgan."""
    return Path(os.environ.get("KGAN_CACHE_DIR") or Path.home() / ".cache" / "kgan")


@contextlib.contextmanager
def exclusive(path: Path, what: str) -> Iterator[bool]:
    """Waits until no other process holds the lock file `path`, and says what that process does. Where files cannot be
    written or locked, all go ahead: it yields whether the lock is held."""
    try:
        lock = _locked(path, what)
    except OSError as error:
        logging.info("%s: %s", path, error.strerror)
        lock = None
    if lock is None:
        yield False
        return
    with lock:
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path, what: str) -> BinaryIO:
    """The lock file, held. Whoever held it removes it, so whoever waited may hold a file that can no longer be found
    under its name, and must start again. Raises OSError where files cannot be written or locked."""
    while True:
        with contextlib.ExitStack() as opened:
            lock = opened.enter_context(open(path, "wb"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logging.warning("another process %s: waiting for it", what)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                path.unlink(missing_ok=True)
                raise
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                    opened.pop_all()
                    return lock
