"""What can be seen of a folder of images before anyone trains on it; the facts of its dataset.json."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kgan.data.folder import class_of, list_others
from kgan.data.licensing.card import FILE_NAME, MAX_SIZES, DatasetCard, range_of_sizes, read_card
from kgan.data.licensing.optout import data_mining
from kgan.data.manifest import file_sha256, images_in, join_hashes
from kgan.data.picture import decoded, quiet
from kgan.errors import UserError
from kgan.files import write_atomically

SAID = ("name", "license", "origin", "holder", "contains_people", "consent")
"""The fields of a dataset card that only people know."""


@dataclass(frozen=True)
class Inspection:
    """`card` has what was counted; the others are lines for people, one a file: those that cannot be read, and those
    whose owner forbids mining."""

    card: DatasetCard
    unreadable: tuple[str, ...]
    prohibited: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    file_sha256: str
    pixels: bytes | None  # a digest; None if it cannot be decoded
    size: str
    problem: str
    mining: str


def put_on_record(root: Path, said: Mapping) -> Inspection:
    """Inspects a folder and writes its dataset.json. What an earlier one said stays unless `said` says it anew.

    Raises UserError if there are no images, or the file cannot be written.
    """
    before = read_card(root) if root.is_dir() else None
    kept = {name: getattr(before, name) for name in SAID} if before else {}
    inspection = inspect(root, **kept | dict(said))
    path = root / FILE_NAME
    try:
        write_atomically(path, inspection.card.to_json().encode("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    return inspection


def inspect(root: Path, **facts) -> Inspection:
    """Reads every image below `root`, as `kgan train` would, at its own size. `facts` are fields of the card that only
    people know: name, license, origin, holder, contains_people, consent.

    Raises UserError if there are no images.
    """
    paths = images_in(root)
    with ThreadPoolExecutor() as pool, quiet():
        seen = list(pool.map(_look, paths))
    read = [(path, one) for path, one in zip(paths, seen, strict=True) if one.pixels]
    classes = [class_of(path, root) for path, _ in read]
    sizes = Counter(one.size for _, one in read)
    card = DatasetCard(
        **{"name": root.resolve().name or "folder"} | facts,
        files_sha256=join_hashes(paths, root, (one.file_sha256 for one in seen)),
        num_images=len(read),
        unreadable=len(seen) - len(read),
        duplicates=len(read) - len({one.pixels for _, one in read}),
        datamining_prohibited=sum(bool(one.mining) for one in seen),
        other_formats=list_others(root),
        sizes=dict(sizes.most_common()) if len(sizes) <= MAX_SIZES else {},
        size_range=range_of_sizes(sizes),
        classes={} if None in classes else dict(sorted(Counter(filter(None, classes)).items())),
    )
    prohibited = (f"{path}: {one.mining}" for path, one in zip(paths, seen, strict=True) if one.mining)
    return Inspection(card, tuple(one.problem for one in seen if one.problem), tuple(prohibited))


def count_prohibited(root: Path) -> int:
    """How many images forbid mining. Raises UserError if there are no images, or one cannot be opened."""
    with ThreadPoolExecutor() as pool:
        return sum(bool(term) for term in pool.map(_prohibition, images_in(root)))


def _look(path: Path) -> _Seen:
    mining, file_hash = _prohibition(path), file_sha256(path)
    try:
        with decoded(path, 3) as image:
            size = f"{image.width}x{image.height}"
            pixels = hashlib.sha256(size.encode())
            pixels.update(np.asarray(image).data)
    except UserError as error:
        return _Seen(file_hash, None, "", str(error), mining)
    return _Seen(file_hash, pixels.digest(), size, "", mining)


def _prohibition(path: Path) -> str:
    """Why mining this image is forbidden, or ""."""
    try:
        found = data_mining(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    return (", ".join(found.values) or found.problem) if found.prohibited else ""
