"""A data set's card, and what is wrong with its files, as text for people."""

from collections.abc import Mapping

from kgan.data.licensing.card import DatasetCard, describe_sizes
from kgan.data.licensing.inspection import Inspection
from kgan.pictures.folder import others_line
from kgan.text import one_line

_MAX_FILES = 5  # of each kind
_MAX_CLASSES = 10


def facts(card: DatasetCard) -> dict[str, str]:
    """The facts of a card, by headings."""
    prohibited = card.datamining_prohibited
    people = {True: "yes", False: "no", None: "not said"}[card.contains_people]
    return {
        "name": card.name,
        "licence": card.license or "none on record",
        "source": card.origin or "not said",
        "rights holder": card.holder or "not said",
        "shows people": people + (f"; consent: {card.consent}" if card.consent else ""),
        "images": f"{card.num_images:,}",
        "classes": _counts(card.classes) or "none",
        "sizes": describe_sizes(card.sizes, card.size_range),
        "exact duplicates": f"{card.duplicates:,}",
        "unreadable files": f"{card.unreadable:,}",
        "other formats": others_line(card.other_formats) or "none",
        "forbid mining": "arrays cannot say" if prohibited is None else f"{prohibited:,}",
        "sha256 of the files": card.files_sha256,
    }


def problems(inspected: Inspection) -> list[str]:
    """A line for each of the first files that cannot be read or whose owner forbids mining."""
    lines = []
    for what, files in (("unreadable", inspected.unreadable), ("forbids mining", inspected.prohibited)):
        lines += [f"{what}: {one_line(line, 400)}" for line in files[:_MAX_FILES]]
        if len(files) > _MAX_FILES:
            lines.append(f"{what}: and {len(files) - _MAX_FILES:,} more")
    return lines


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{one_line(name, 60)} {count:,}" for name, count in list(counts.items())[:_MAX_CLASSES]]
    return ", ".join(shown) + (f", and {len(counts) - _MAX_CLASSES} more" if len(counts) > _MAX_CLASSES else "")
