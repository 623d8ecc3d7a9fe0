"""Pictures of one's own, decoded once: their pixels lie in the cache folder and are mapped into memory from there.

One folder DECODED/KEY/ for each folder or file of pictures, size and number of channels. It has images.npy, labels.npy
where there are classes, and record.json; it is written whole or not at all, and may be deleted at any time.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from rich.console import Console
from rich.progress import Progress

from kgan.errors import UserError
from kgan.files import cache_folder, exclusive, read_bounded, states, write_atomically
from kgan.pictures import picture
from kgan.pictures.manifest import dataset_sha256, files_sha256
from kgan.pictures.picture import Picture
from kgan.pictures.pictures import Pictures, in_parallel
from kgan.text import one_line

MAX_BROKEN = 0.1  # of the pictures; where there are more of them, they are probably not what the user meant
_VERSION = 2  # raise it when the same files would be decoded to other pixels or labels
_MAX_RECORD = 1 << 26
_OWN = re.compile(r"\.?[0-9a-f]{32}(\.|$)")  # of pictures, their lock, and what a killed process left
_MARGIN = 1 << 26  # bytes of a disk that stay free
_IMAGES, _LABELS, _RECORD = "images.npy", "labels.npy", "record.json"


@dataclass(frozen=True)
class Decoded:
    """`images` uint8 (n, size, size, channels), mapped from a file and read-only; `labels` int64 (n,), or None without
    classes; `unreadable`: one line for each picture that could not be read; `sha256`: `dataset_sha256` of the two."""

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    unreadable: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class CachedPictures:
    """What is in the cache: the folder or file it was decoded from, its shape, and its bytes."""

    place: Path
    root: str
    shape: tuple[int, ...]
    num_bytes: int


def read(pictures: Pictures, size: int, channels: int, verify: bool = False) -> Decoded:
    """Every picture: decoded in parallel the first time, found in the cache from then on.

    `verify` reads all files, and the cached pixels, whether they seem changed or not. Raises UserError when there are
    no pictures, more than a tenth of them are broken, or the disk has no room.
    """
    key = [_VERSION, PIL.__version__, files_sha256(pictures, verify), size, channels, *filter(None, [pictures.part])]
    place = _decoded() / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    found = _find(place, verify)
    try:
        if found is None:
            place.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(place.with_suffix(".lock"), f"is decoding {pictures.place}") as is_alone:
                if (found := _find(place, verify)) is None:
                    if is_alone:
                        _remove_leftovers(place)
                    found = _decode(pictures, place, (size, size, channels))
    except OSError as error:
        raise UserError(
            f"{place.parent}: the decoded images cannot be kept there ({error.strerror}): set KGAN_CACHE_DIR to "
            "another folder"
        ) from None
    return found


def list_cached() -> list[CachedPictures]:
    """What is in the cache, by the name of what it was decoded from."""
    cached = []
    for place in _decoded().glob("[0-9a-f]*"):
        if place.is_dir() and (record := _read_record(place)):
            num_bytes = (place / _IMAGES).stat().st_size
            cached.append(CachedPictures(place, str(record["root"]), tuple(record["shape"]), num_bytes))
    return sorted(cached, key=lambda one: (one.root, one.shape))


def clear() -> int:
    """Removes the cache of decoded pictures; returns the bytes that became free. Runs that are using it go on.

    Raises UserError if not all of it can be removed.
    """

    def num_bytes() -> int:
        """Of what is there; NFS keeps files that are in use as .nfs until they are closed."""
        there = (path for place in _own(_decoded()) for path in (place, *place.rglob("*")) if path.is_file())
        return sum(path.stat().st_size for path in there if not path.name.startswith(".nfs"))

    before = num_bytes()
    for folder in (_decoded(), cache_folder() / "manifests"):  # which may be links to another disk
        for path in _own(folder):
            with contextlib.suppress(OSError):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    if left := num_bytes():
        raise UserError(f"{_decoded()}: {left / 1e6:,.1f} MB in it could not be removed; see who owns this folder")
    return before


def _own(folder: Path) -> list[Path]:
    """What kgan has written into a folder of its cache, which may have been somebody's before."""
    return [path for path in folder.glob("*") if _OWN.match(path.name)]


def _decoded() -> Path:
    return cache_folder() / "decoded"


def _find(place: Path, verify: bool = False) -> Decoded | None:
    """What was decoded there, or None if nothing was, or it is damaged.

    While images.npy and labels.npy are the files that were written, by their sizes and times, their hash is taken from
    the record; else, and with `verify`, they must have that hash.
    """
    record = _read_record(place)
    if record is None:
        return None
    images = np.load(place / _IMAGES, mmap_mode="r", allow_pickle=False)
    labels = np.load(place / _LABELS, allow_pickle=False) if record["class_names"] else None
    state = _state(place, labels is not None)
    if verify or state != record["state"]:
        if dataset_sha256(images, labels) != record["pixels_sha256"]:
            logging.warning("%s is damaged: %s is decoded again", place, record["root"])
            return None
        with contextlib.suppress(OSError):
            _write_record(place, record | {"state": state})
    names, broken = tuple(record["class_names"]), tuple(one_line(line, 400) for line in record["broken"])
    return Decoded(images, labels, names, broken, record["pixels_sha256"])


def _read_record(place: Path) -> dict | None:
    """record.json if the arrays beside it are what it says, else None: they are decoded anew."""
    try:
        record = json.loads(read_bounded(place / _RECORD, _MAX_RECORD))
        images = np.load(place / _IMAGES, mmap_mode="r", allow_pickle=False)
        whole = images.dtype == np.uint8 and list(images.shape) == record["shape"]
        if record["class_names"]:
            labels = np.load(place / _LABELS, mmap_mode="r", allow_pickle=False)
            whole &= labels.dtype == np.int64 and labels.shape == images.shape[:1]
            whole &= labels.min() >= 0 and labels.max() < len(record["class_names"])
        texts = [record["root"], record["pixels_sha256"], *record["class_names"], *record["broken"]]
        return record if whole and record["state"] and all(isinstance(text, str) for text in texts) else None
    except Exception:  # NumPy's reader of headers raises nearly anything
        return None


def _write_record(place: Path, record: dict) -> None:
    write_atomically(place / _RECORD, json.dumps(record).encode())


def _state(place: Path, labelled: bool) -> list[list[int]]:
    """What tells that the arrays have changed, wherever their folder is moved to on its disk."""
    return [list(state[1:]) for state in states([place / _IMAGES, *([place / _LABELS] if labelled else [])])]


def _remove_leftovers(place: Path) -> None:
    """What is damaged, and what was left of this place by processes that were killed; its lock must be held."""
    for leftover in (place, *place.parent.glob(f".{place.name}.*.tmp")):
        shutil.rmtree(leftover, ignore_errors=True)


def _decode(pictures: Pictures, place: Path, shape: tuple[int, int, int]) -> Decoded:
    needed = len(pictures) * int(np.prod(shape))
    free = shutil.disk_usage(place.parent).free
    if needed + _MARGIN > free:
        raise UserError(
            f"{pictures.place}: decoded, its images take {needed / 1e9:.1f} GB, and {place.parent} has "
            f"{free / 1e9:.1f} GB free: set KGAN_CACHE_DIR to a folder with more room"
        )
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        kept, broken = _write_images(pictures, temporary, shape)
        if len(broken) > MAX_BROKEN * len(pictures):
            count = f"{len(broken)} of {len(pictures)} images are broken, more than a tenth"
            raise UserError(f"{pictures.place}: {count}; the first: {broken[0]}")
        labels, names = pictures.labels(kept)
        if labels is not None:
            np.save(temporary / _LABELS, labels)
        images = np.load(temporary / _IMAGES, mmap_mode="r", allow_pickle=False)
        sha256 = dataset_sha256(images, labels)
        record = {
            "root": str(pictures.place.absolute()),
            "shape": list(images.shape),
            "class_names": names,
            "broken": broken,
            "pixels_sha256": sha256,
            "state": _state(temporary, labels is not None),
        }
        _write_record(temporary, record)
        try:
            os.replace(temporary, place)
        except OSError:  # something damaged, or where files cannot be locked, what another process made first
            if found := _find(place):
                return found
            shutil.rmtree(place, ignore_errors=True)
            os.replace(temporary, place)
        return Decoded(images, labels, names, tuple(broken), sha256)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_images(pictures: Pictures, folder: Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    """Writes the pixels of all readable pictures; returns the numbers of these, int64, and a line for each other."""

    def pixels(one: Picture) -> np.ndarray | str:
        try:
            return picture.read_image(one, shape[0], shape[2])
        except UserError as error:
            return one_line(error, 400)

    kept, broken = [], []
    with open(folder / _IMAGES, "wb") as stream, _bar(len(pictures)) as advance:
        _write_header(stream, (len(pictures), *shape))
        for number, one in enumerate(in_parallel(pixels, pictures)):
            if isinstance(one, str):
                broken.append(one)
            else:
                kept.append(number)
                stream.write(one.data)
            advance()
        stream.seek(0)  # the header takes as much room for fewer images
        _write_header(stream, (len(kept), *shape))
        stream.flush()
        os.fsync(stream.fileno())
    return np.array(kept, np.int64), broken


def _write_header(stream, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})


@contextlib.contextmanager
def _bar(total: int) -> Iterator:
    """A progress bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("decoding", total=total)
        yield lambda: progress.advance(task)
