"""Folders of images, decoded once: their pixels lie in the cache folder and are mapped into memory from there.

One folder DECODED/KEY/ for each folder of images, size and number of channels. It has images.npy and record.json, is
written whole or not at all, and may be deleted at any time.
"""

import contextlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import PIL
from rich.console import Console
from rich.progress import Progress

from kgan.data import picture
from kgan.data.folder import class_of, folder_images
from kgan.data.manifest import files_sha256
from kgan.errors import UserError
from kgan.files import cache_folder, exclusive, read_bounded, write_atomically

MAX_BROKEN = 0.1  # of the files; a folder with more of them is probably not what the user meant
_VERSION = 1  # raise it when the same files would be decoded to other pixels
_MAX_RECORD = 1 << 26
_CHUNK = 64  # files for each thread at a time
_MARGIN = 1 << 26  # bytes of a disk that stay free


@dataclass(frozen=True)
class FolderImages:
    """`images` uint8 (n, size, size, channels), mapped from a file and read-only; `labels` int64 (n,), or None where
    some image lies outside every class folder; `unreadable`: one line for each file that could not be read."""

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class CachedFolder:
    """What is in the cache: the folder of images it was decoded from, its shape, and its bytes."""

    place: Path
    root: str
    shape: tuple[int, ...]
    num_bytes: int


def read_folder(root: Path, size: int, channels: int) -> FolderImages:
    """Every image below `root`: decoded in parallel the first time, found in the cache from then on.

    Raises UserError when there are no images, more than a tenth of the files are broken, or the disk has no room.
    """
    paths = folder_images(root)
    key = [_VERSION, PIL.__version__, files_sha256(root), size, channels]
    place = _decoded() / sha256(json.dumps(key).encode()).hexdigest()[:32]
    record = _read_record(place)
    try:
        if record is None:
            place.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(place.with_suffix(".lock"), f"is decoding {root}"):
                record = _read_record(place) or _decode(paths, root, place, (size, size, channels))
    except OSError as error:
        raise UserError(
            f"{place.parent}: the decoded images cannot be kept there ({error.strerror}): set KGAN_CACHE_DIR to "
            "another folder"
        ) from None
    images = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
    broken = {int(number): str(line) for number, line in record["broken"].items()}
    classes = [class_of(path, root) for number, path in enumerate(paths) if number not in broken]
    names = sorted({name for name in classes if name is not None})
    if None in classes:
        return FolderImages(images, None, (), tuple(broken.values()))
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[name] for name in classes if name is not None], np.int64)
    return FolderImages(images, labels, tuple(names), tuple(broken.values()))


def list_cached() -> list[CachedFolder]:
    """The folders in the cache, by the name of what they were decoded from."""
    cached = []
    for place in _decoded().glob("[0-9a-f]*"):
        if place.is_dir() and (record := _read_record(place)):
            num_bytes = (place / "images.npy").stat().st_size
            cached.append(CachedFolder(place, str(record["root"]), tuple(record["shape"]), num_bytes))
    return sorted(cached, key=lambda one: (one.root, one.shape))


def clear() -> int:
    """Removes the cache of decoded folders; returns the bytes that became free. Runs that are using it go on."""
    num_bytes = sum(path.stat().st_size for path in _decoded().rglob("*") if path.is_file())
    shutil.rmtree(_decoded(), ignore_errors=True)
    shutil.rmtree(cache_folder() / "manifests", ignore_errors=True)
    return num_bytes


def _decoded() -> Path:
    return cache_folder() / "decoded"


def _read_record(place: Path) -> dict | None:
    """record.json if images.npy is what it says, else None: it is decoded anew."""
    try:
        record = json.loads(read_bounded(place / "record.json", _MAX_RECORD))
        images = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        whole = images.dtype == np.uint8 and list(images.shape) == record["shape"]
        return record if whole and isinstance(record["broken"], dict) and isinstance(record["root"], str) else None
    except Exception:  # NumPy's reader of headers raises nearly anything
        return None


def _remove_leftovers(place: Path) -> None:
    """What is damaged, and what processes left that no longer run."""
    shutil.rmtree(place, ignore_errors=True)
    for leftover in place.parent.glob(".*.tmp"):
        number = leftover.name.split(".")[-2]
        if number.isdecimal() and not Path("/proc", number).exists():
            shutil.rmtree(leftover, ignore_errors=True)


def _decode(paths: list[Path], root: Path, place: Path, shape: tuple[int, int, int]) -> dict:
    needed = len(paths) * int(np.prod(shape))
    free = shutil.disk_usage(place.parent).free
    if needed + _MARGIN > free:
        raise UserError(
            f"{root}: decoded, its images take {needed / 1e9:.1f} GB, and {place.parent} has {free / 1e9:.1f} GB free: "
            "set KGAN_CACHE_DIR to a folder with more room"
        )
    _remove_leftovers(place)
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        broken = {}
        with open(temporary / "images.npy", "wb") as stream:
            _write_header(stream, (len(paths), *shape))
            for number, pixels in enumerate(_read_all(paths, shape)):
                if isinstance(pixels, str):
                    broken[number] = pixels
                else:
                    stream.write(pixels.data)
            stream.seek(0)  # the header takes as much room for fewer images
            _write_header(stream, (len(paths) - len(broken), *shape))
            stream.flush()
            os.fsync(stream.fileno())
        if len(broken) > MAX_BROKEN * len(paths):
            first = next(iter(broken.values()))
            raise UserError(f"{len(broken)} of {len(paths)} images are broken, more than a tenth; the first: {first}")
        record = {"root": str(root.absolute()), "shape": [len(paths) - len(broken), *shape], "broken": broken}
        write_atomically(temporary / "record.json", json.dumps(record).encode())
        os.replace(temporary, place)
        return record
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_header(stream, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _read_all(paths: list[Path], shape: tuple[int, int, int]) -> Iterator[np.ndarray | str]:
    """The pixels of each file in turn, or the line that says why it cannot be read."""

    def read(path: Path) -> np.ndarray | str:
        try:
            return picture.read_image(path, shape[0], shape[2])
        except UserError as error:
            return str(error)

    num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    remaining = iter(paths)
    with ThreadPoolExecutor(num_threads) as pool, picture.quiet(), _bar(len(paths)) as advance:
        while chunk := list(itertools.islice(remaining, _CHUNK * num_threads)):
            yield from pool.map(read, chunk)
            advance(len(chunk))


@contextlib.contextmanager
def _bar(total: int) -> Iterator:
    """A progress bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("decoding", total=total)
        yield lambda count: progress.update(task, advance=count)
