"""A folder of image files as a data set: first-level folders are classes, whatever lies below belongs to them."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from kgan.data.picture import SUFFIXES
from kgan.errors import UserError

OTHER_SUFFIXES = {
    *(".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jpf", ".jfif", ".psd", ".tga", ".ico"),
    *(".ppm", ".pgm", ".exr", ".hdr", ".svg", ".eps", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"),
}


def list_images(root: Path) -> list[Path]:
    """Image files below `root`, ordered by their path relative to it; no hidden files, no links to folders."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(folder, name) for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def list_others(root: Path) -> dict[str, int]:
    """How many pictures below `root` are of formats that are not read, by suffix, the most frequent first."""
    counts: Counter[str] = Counter()
    for _, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        suffixes = (Path(name).suffix.lower() for name in files if not name.startswith("."))
        counts.update(suffix for suffix in suffixes if suffix in OTHER_SUFFIXES)
    return dict(counts.most_common())


def others_line(others: Mapping[str, int]) -> str:
    """A sentence about pictures that are not read, or ""."""
    counts = ", ".join(f"{count:,} {suffix}" for suffix, count in others.items())
    return f"pictures of formats that are not read: {counts}; convert them to PNG or JPEG" if counts else ""


def class_of(path: Path, root: Path) -> str | None:
    """The first-level folder that `path` lies in, or None for an image directly in `root`."""
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else None


def folder_images(root: Path) -> list[Path]:
    """`list_images`, which must be some. Raises UserError with what may be the reason if there are none."""
    if not root.is_dir():
        raise UserError(f"{root}: not a folder; --data_dir must be the parent of the class folders, or of the images")
    paths = list_images(root)
    if not paths:
        others = others_line(list_others(root))
        raise UserError(f"{root}: no images in it ({', '.join(sorted(SUFFIXES))})" + (f"; {others}" if others else ""))
    return paths
