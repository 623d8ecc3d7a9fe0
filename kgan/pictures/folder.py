"""A folder of image files as a data set: first-level folders are classes, whatever lies below belongs to them."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from kgan.errors import UserError
from kgan.pictures.manifest import hash_files
from kgan.pictures.picture import SUFFIXES
from kgan.pictures.pictures import Pictures, Shape
from kgan.text import one_line

OTHER_SUFFIXES = {
    *(".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jpf", ".jfif", ".psd", ".tga", ".ico"),
    *(".ppm", ".pgm", ".exr", ".hdr", ".svg", ".eps", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"),
}


class Folder(Pictures):
    """The image files below a folder, ordered by their paths relative to it; no hidden files. Links to folders are
    followed at the first level, where they are classes.

    Raises UserError, with what may be the reason, if it is no folder or there are none.
    """

    def __init__(self, place: Path):
        super().__init__(place)
        if not place.is_dir():
            raise UserError(f"{place}: not a folder")
        self._names, self._others = _listed(place)
        if not self._names:
            others = f"; {others_line(self._others)}" if self._others else ""
            raise UserError(f"{place}: no images in it ({', '.join(sorted(SUFFIXES))}){others}")

    @property
    def others(self) -> Mapping[str, int]:
        return self._others

    def files(self) -> list[str]:
        root = str(self.place)
        return [os.path.join(root, name) for name in self._names]

    def files_sha256(self) -> str:
        return hash_files(self.place, self._names)

    def own_shape(self) -> Shape | None:
        return None

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Path]:
        return (self.place / name for name in self._names)

    def labels(self, rows: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
        classes = [name.partition("/")[0] if "/" in name else "" for name in map(self._names.__getitem__, rows)]
        names = sorted(set(classes))
        if not all(names):
            if len(names) > 1:
                stray = one_line(next(name for name in self._names if "/" not in name))
                logging.warning(
                    "%s: read without classes, because pictures lie outside its folders: %s", self.place, stray
                )
            return None, ()
        numbers = {name: number for number, name in enumerate(names)}
        return np.array([numbers[name] for name in classes], np.int64), tuple(names)


def others_line(others: Mapping[str, int]) -> str:
    """A sentence about pictures that are not read, or ""."""
    counts = ", ".join(f"{count:,} {suffix}" for suffix, count in others.items())
    return f"pictures of formats that are not read: {counts}; convert them to PNG or JPEG" if counts else ""


def _listed(root: Path) -> tuple[list[str], dict[str, int]]:
    """The relative paths of the image files below `root`, ordered, and the numbers of pictures of other formats by
    suffix, the most frequent first. Raises UserError if a folder cannot be read."""
    names: list[str] = []
    others: Counter[str] = Counter()
    broken: list[str] = []
    for folder, files in _walked(root):
        inner = Path(folder).relative_to(root).as_posix()
        prefix = "" if inner == "." else f"{inner}/"
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES:
                (names if os.path.isfile(os.path.join(folder, name)) else broken).append(prefix + name)
            elif suffix in OTHER_SUFFIXES:
                others[suffix] += 1
    if broken:
        logging.warning("%s: %d passed over that are no files: %s", root, len(broken), one_line(min(broken)))
    return sorted(names), dict(others.most_common())


def _walked(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder from `root` on with the names of its files, none of them hidden; links to folders at the first level
    only, so that none leads in a circle."""
    starts = [str(root)]
    for start in starts:
        for folder, folders, files in os.walk(start, onerror=_refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield folder, [name for name in files if not name.startswith(".")]
            if folder == str(root):
                starts += [path for name in folders if os.path.islink(path := os.path.join(folder, name))]


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read ({error.strerror})")
