"""The record of the training data, and whether one may train on them: the licence and the owners' word on mining.

For a folder both come from the dataset.json that `kgan data inspect` wrote beside the images; it speaks for the files
as they were then, so one whose hash no longer fits counts for nothing.
"""

import os
from dataclasses import replace
from pathlib import Path

from kgan.config import TrainConfig
from kgan.data.folder import list_images
from kgan.data.licensing import inspection
from kgan.data.licensing.card import (
    ACCEPTED_UNKNOWN_LICENSE,
    FILE_NAME,
    IGNORED_DATAMINING,
    DatasetCard,
    permit,
    read_card,
)
from kgan.data.sources import ImageSet
from kgan.errors import UserError


def permitted(config: TrainConfig) -> DatasetCard | None:
    """The card of the folder that `config` trains on, with overrides on record; None for a named data set.

    Reads the files' bytes but decodes none. Raises UserError, in one line with the way out, if there is no licence on
    record or the owner of an image forbids mining, and nobody overrode it, or if the files have changed since.
    """
    root = Path(config.data_dir or os.environ.get("KGAN_DATA_DIR") or "")
    if config.dataset != "folder" or not (config.data_dir or os.environ.get("KGAN_DATA_DIR")):
        return None
    if not root.is_dir() or not list_images(root):
        return None  # `sources.load` says what is wrong
    card = read_card(root)
    if card is None:
        prohibited = inspection.count_prohibited(root)
        card = DatasetCard(root.resolve().name or "folder", datamining_prohibited=prohibited)
    elif not card.files_sha256:
        raise UserError(f"{root / FILE_NAME} names no files: write it with `kgan data inspect {root}`")
    elif card.files_sha256 != inspection.files_sha256(root):
        raise UserError(
            f"the images in {root} changed since {FILE_NAME} was written: run `kgan data inspect {root}` again"
        )
    switches = {name: getattr(config, name) for name in (ACCEPTED_UNKNOWN_LICENSE, IGNORED_DATAMINING)}
    return permit(card, **switches)


def training_card(data: ImageSet, permission: DatasetCard | None, num_train: int, num_heldout: int) -> dict:
    """The record of the data that a run keeps: what was read, and for a folder what its card says of it."""
    read = data.card()
    counted = {
        "sha256": read["sha256"],
        "num_images": read["num_images"],
        "image_shape": tuple(read["image_shape"]),
        "classes": read["classes"],
        "unreadable": read["unreadable"],
        "num_train": num_train,
        "num_heldout": num_heldout,
    }
    known = permission or DatasetCard(data.source.name, data.source.license, data.source.origin, data.source.holder)
    return replace(known, **counted).to_dict()


def warnings(card: dict) -> list[str]:
    """What the log should say of a run's data, a line each."""
    lines = [f"warning: --{name} is set: it stands in run.json and every card" for name in card["overrides"]]
    if not card["license"]:
        lines.append(f"warning: {card['name']} states no licence: find out what you may do with what is trained on it")
    return lines
