"""What can be seen of a folder or file of images before anyone trains on it; the facts of its dataset.json."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kgan.data.licensing.card import MAX_SIZES, DatasetCard, card_file, range_of_sizes, read_card
from kgan.data.licensing.optout import data_mining
from kgan.errors import UserError
from kgan.files import write_atomically
from kgan.pictures.manifest import files_sha256
from kgan.pictures.opening import open_pictures
from kgan.pictures.picture import Picture, decoded
from kgan.pictures.pictures import Pictures, in_parallel

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
    pixels: bytes | None  # a digest; None if it cannot be decoded
    size: str
    problem: str
    mining: str  # why mining it is forbidden, in a line that names it, or ""


def put_on_record(place: Path, said: Mapping) -> Inspection:
    """Inspects a folder or file and writes its dataset.json. What an earlier one said stays unless `said` says it anew.

    Raises UserError if there are no images, or the card cannot be written.
    """
    before = read_card(place) if place.exists() else None
    kept = {name: getattr(before, name) for name in (*SAID, "citation")} if before else {}
    path = card_file(place)
    if path.parent.exists() and not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: cannot be written to: copy the images to a folder of yours")
    inspection = inspect(place, **kept | dict(said))
    try:
        write_atomically(path, inspection.card.to_json().encode("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    return inspection


def inspect(place: Path, **facts) -> Inspection:
    """Reads every image in a folder or file, as `kgan train` would, at its own size. `facts` are fields of the card
    that only people know: name, license, origin, holder, contains_people, consent, citation.

    Raises UserError if there are no images.
    """
    pictures = open_pictures(place)
    files_hash = files_sha256(pictures, verify=True)
    seen = list(in_parallel(_look, pictures))
    read = [one for one in seen if one.pixels]
    rows = np.array([number for number, one in enumerate(seen) if one.pixels], np.int64)
    labels, names = pictures.labels(rows)
    counts = [] if labels is None else np.bincount(labels, minlength=len(names)).tolist()
    sizes = Counter(one.size for one in read)
    prohibited = tuple(one.mining for one in seen if one.mining)
    card = DatasetCard(
        **facts | {"name": (facts.get("name") or "").strip() or pictures.name.strip() or "pictures"},
        files_sha256=files_hash,
        num_images=len(read),
        unreadable=len(seen) - len(read),
        duplicates=len(read) - len({one.pixels for one in read}),
        datamining_prohibited=len(prohibited) if pictures.has_metadata else None,
        other_formats=dict(pictures.others),
        sizes=dict(sizes.most_common()) if len(sizes) <= MAX_SIZES else {},
        size_range=range_of_sizes(sizes),
        classes=dict(zip(names, counts, strict=True)),
    )
    return Inspection(card, tuple(one.problem for one in seen if one.problem), prohibited)


def count_prohibited(pictures: Pictures) -> int | None:
    """How many images forbid mining; None if they cannot say so. Raises UserError if one cannot be opened."""
    return sum(map(bool, in_parallel(_prohibition, pictures))) if pictures.has_metadata else None


def _look(picture: Picture) -> _Seen:
    mining = _prohibition(picture)
    try:
        with decoded(picture, 3) as image:
            size = f"{image.width}x{image.height}"
            pixels = hashlib.sha256(size.encode())
            pixels.update(np.asarray(image).data)
    except UserError as error:
        return _Seen(None, "", str(error), mining)
    return _Seen(pixels.digest(), size, "", mining)


def _prohibition(picture: Picture) -> str:
    """Why mining this image is forbidden, in a line that names it, or ""."""
    if isinstance(picture, np.ndarray):
        return ""
    try:
        found = data_mining(picture)
    except OSError as error:
        raise UserError(f"{picture}: {error.strerror}") from None
    return f"{picture}: {', '.join(filter(None, [*found.values, found.problem]))}" if found.prohibited else ""
