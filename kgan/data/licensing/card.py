"""The data set's card: where training images come from, under which licence, and who is in them.

`kgan data inspect` writes it beside the images: into a folder as dataset.json, beside a file as NAME.dataset.json.
`kgan train` reads it, and copies it into run.json, from where it reaches every image and model card.
"""

import difflib
import functools
import itertools
import json
import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kgan.errors import UserError
from kgan.files import read_bounded
from kgan.text import one_line

FILE_NAME = "dataset.json"
MAX_FILE_BYTES = 2**23
MAX_SIZES = 10  # that are listed one by one
MAX_LICENSE = 200  # characters, as in the marks of an image
ACCEPTED_UNKNOWN_LICENSE = "accept_unknown_license"
IGNORED_DATAMINING = "ignore_datamining"


@dataclass(frozen=True)
class DatasetCard:
    """One data set. "" and None mean that nobody said, or that nobody looked; zero means looked and found none."""

    name: str
    license: str = ""  # an SPDX expression
    origin: str = ""  # where the images were taken from: an address, a person, a device
    holder: str = ""  # who holds the rights
    citation: str = ""  # the work to name where the images are used, as BibTeX
    sha256: str = ""  # over the decoded uint8 training pixels and labels in canonical order
    files_sha256: str = (
        ""  # of a folder: over the names and bytes of its image files, whatever their size; or of a file
    )
    num_images: int = 0
    num_train: int = 0
    num_heldout: int = 0
    unreadable: int | None = None  # files that are not among num_images
    duplicates: int | None = None  # images whose pixels equal an earlier one's
    datamining_prohibited: int | None = None  # images whose XMP forbids mining
    image_shape: tuple[int, ...] | None = None  # (h, w, c) as trained on
    other_formats: dict[str, int] = field(default_factory=dict)  # suffix -> number of pictures that are not read
    sizes: dict[str, int] = field(default_factory=dict)  # "640x480" (width x height) on disk -> number of images
    size_range: tuple[
        str, ...
    ] = ()  # the smallest, the median and the largest; `sizes` has all of them if they are few
    classes: dict[str, int] = field(default_factory=dict)  # name -> number of images, in the order of the labels
    contains_people: bool | None = None
    consent: str = ""  # how the people in the images agreed
    overrides: tuple[str, ...] = ()  # checks that the user switched off: ACCEPTED_UNKNOWN_LICENSE, IGNORED_DATAMINING

    def to_dict(self) -> dict:
        """Plain JSON values, for run.json and dataset.json."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def to_json(self) -> str:
        """The text of dataset.json."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, content: Mapping) -> "DatasetCard":
        """The card from JSON values. Raises UserError, in one line that names the wrong key."""
        if isinstance(content, Mapping) and "labels" in content:
            raise UserError(
                "it lists labels as StyleGAN's tools do, whose .zip files kgan reads, but not their folders"
            )
        if not isinstance(content, Mapping) or not isinstance(content.get("name"), str):
            raise UserError("a data set card must be a JSON object with a name")
        known = {item.name for item in fields(cls)}
        for key, value in content.items():
            if key not in known:
                raise UserError(f"a data set card has no key {one_line(key, 60)!r}; it has {', '.join(sorted(known))}")
            if not _KINDS[key](value):
                raise UserError(f"the data set card's {key} cannot be {one_line(json.dumps(value), 60)}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
        }
        return replace(cls(**values), license=normal_license(content.get("license", "")))

    @classmethod
    def from_json(cls, text: str) -> "DatasetCard":
        """The card from the text of a dataset.json. Raises UserError."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            raise UserError("the data set card is not JSON") from None
        return cls.from_dict(content)


def card_file(place: str | os.PathLike) -> Path:
    """Where the card of the images in this folder or file lies."""
    place = Path(place)
    return place / FILE_NAME if place.is_dir() else place.with_name(f"{place.name}.{FILE_NAME}")


def read_card(place: str | os.PathLike) -> DatasetCard | None:
    """The card of the images in a folder or file, or None if there is none. Raises UserError if it cannot be read."""
    path = card_file(place)
    if not os.path.lexists(path):
        return None
    try:
        return DatasetCard.from_json(read_bounded(path, MAX_FILE_BYTES).decode("utf-8"))
    except (UnicodeDecodeError, UserError) as error:
        reason = "not UTF-8" if isinstance(error, ValueError) else str(error).removeprefix(f"{path}: ")
        raise UserError(f"{one_line(path)}: {reason}; move it away and write one with `kgan data inspect`") from None


def describe_sizes(sizes: Mapping[str, int], size_range: Sequence[str]) -> str:
    """The sizes of images for people: each with its count, or the range if there are more than ten."""
    if len(size_range) == 3 and not sizes:
        least, median, most = size_range
        return f"{least} to {most}, median {median}"
    if len(sizes) > MAX_SIZES:
        return describe_sizes({}, range_of_sizes(sizes))
    return ", ".join(f"{one_line(size, 20)}: {count:,}" for size, count in sizes.items())


def range_of_sizes(sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The smallest, the median and the largest of sizes such as "640x480", by their pixels; () if there are none."""
    ordered = sorted(sizes, key=lambda size: math.prod(int(side) for side in re.findall(r"\d{1,9}", size)))
    numbers = [sizes[size] for size in ordered]
    if not sum(numbers):
        return ()
    middle = next(i for i, total in enumerate(itertools.accumulate(numbers)) if 2 * total >= sum(numbers))
    return ordered[0], ordered[middle], ordered[-1]


def permit(
    card: DatasetCard, place: Path, *, accept_unknown_license: bool = False, ignore_datamining: bool = False
) -> DatasetCard:
    """The card to train with the images in `place`: the same, with the overrides that were needed on record.

    Raises UserError, naming the way out, if there is no licence or the images forbid mining and nobody overrode it.
    """
    overrides = list(card.overrides)
    name = one_line(card.name, 80)
    if not card.license:
        if not accept_unknown_license:
            raise UserError(
                f"{name} has no licence on record: write one with "
                f"`kgan data inspect {one_line(shlex.quote(str(place)), 4096)} --license=SPDX-ID`, "
                "or take the risk with --accept_unknown_license"
            )
        overrides.append(ACCEPTED_UNKNOWN_LICENSE)
    if card.datamining_prohibited:
        if not ignore_datamining:
            raise UserError(
                f"{card.datamining_prohibited} images of {name} forbid data mining (plus:DataMining in their XMP): "
                "take them out, or, if you have the right to use them, give --ignore_datamining"
            )
        overrides.append(IGNORED_DATAMINING)
    return replace(card, overrides=tuple(dict.fromkeys(overrides)))


def normal_license(text: str) -> str:
    """An SPDX licence expression in normal form ("mit or apache-2.0" -> "MIT OR Apache-2.0"); "" stays "".

    A licence of one's own is written LicenseRef-NAME, as SPDX has it. Raises UserError with the nearest ids.
    """
    text = text.strip()
    if not text or re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]{1,100}", text):
        return text
    hint = (
        "an id from https://spdx.org/licenses, such as MIT or CC-BY-4.0, or LicenseRef-NAME for one that is not there"
    )
    if len(text) > MAX_LICENSE or not text.isascii() or not text.isprintable():
        raise UserError(f"{one_line(text, 40)!r} is no SPDX licence: give {hint}")
    try:
        expression = str(_spdx().parse(text, validate=True, strict=True))
    except Exception:  # not only its own errors: "( )" ends in an IndexError there
        expression = ""
    if 0 < len(expression) <= MAX_LICENSE:
        return expression
    known = {symbol.lower(): symbol for symbol in _spdx().known_symbols if not symbol.startswith("LicenseRef-")}
    near = [known[match] for match in difflib.get_close_matches(text.lower(), known, n=3, cutoff=0.6)]
    near_text = f"did you mean {' or '.join(near)}? Give " if near else "give "
    raise UserError(f"{one_line(text, 80)!r} is no SPDX licence: {near_text}{hint}")


@functools.cache
def _spdx():
    # reads an index of all licences, so only when one is asked for
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def _is_count(value) -> bool:
    return type(value) is int and value >= 0


def _is_maybe_count(value) -> bool:
    return value is None or _is_count(value)


def _are_counts(value) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value)) and all(map(_is_count, value.values()))


def _is_hash(value) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"([0-9a-f]{64})?", value))


def _is_text(value) -> bool:
    return isinstance(value, str)


def _are_texts(value) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


_KINDS = {
    "name": lambda value: isinstance(value, str) and bool(value.strip()),
    "license": _is_text,
    "origin": _is_text,
    "holder": _is_text,
    "citation": _is_text,
    "sha256": _is_hash,
    "files_sha256": _is_hash,
    "num_images": _is_count,
    "num_train": _is_count,
    "num_heldout": _is_count,
    "unreadable": _is_maybe_count,
    "duplicates": _is_maybe_count,
    "datamining_prohibited": _is_maybe_count,
    "image_shape": lambda value: (
        value is None or (isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_count, value)))
    ),
    "other_formats": _are_counts,
    "sizes": _are_counts,
    "size_range": lambda value: _are_texts(value) and len(value) in (0, 3),
    "classes": _are_counts,
    "contains_people": lambda value: value is None or type(value) is bool,
    "consent": _is_text,
    "overrides": _are_texts,
}
