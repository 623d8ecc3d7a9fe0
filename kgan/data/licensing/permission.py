"""The record of the training data, and whether one may train on them: the licence and the owners' word on mining.

For pictures of one's own both come from the dataset.json that `kgan data inspect` wrote beside them; it speaks for the
files as they were then, so one whose hash no longer fits counts for nothing.
"""

import shlex
from dataclasses import replace

import numpy as np

from kgan.data.licensing import inspection
from kgan.data.licensing.card import (
    ACCEPTED_UNKNOWN_LICENSE,
    IGNORED_DATAMINING,
    DatasetCard,
    card_file,
    permit,
    read_card,
)
from kgan.data.sources import ImageSet, source_of
from kgan.errors import UserError
from kgan.pictures.folder import others_line
from kgan.pictures.manifest import files_sha256, remembered
from kgan.text import one_line


def permitted(
    dataset: str,
    data_dir: str | None = None,
    *,
    accept_unknown_license: bool = False,
    ignore_datamining: bool = False,
    verify_data: bool = False,
) -> DatasetCard | None:
    """The card of one's own pictures to train on, with overrides on record; None for a named data set.

    Decodes no file, and reads them all only if they seem changed or `verify_data` is set. Raises UserError, in one line
    with the way out, if there is no licence on record or the owner of an image forbids mining, and nobody overrode it,
    or if the files have changed since.
    """
    source = source_of(dataset)
    if source.pictures is None or not source.own:
        return None
    pictures = source.pictures(dataset, data_dir)
    files_hash = files_sha256(pictures, verify_data)
    card, file = read_card(pictures.place), card_file(pictures.place)
    command = f"kgan data inspect {shlex.quote(str(pictures.place))}"
    if card is None:
        card = DatasetCard(pictures.name)
    elif not card.files_sha256:
        raise UserError(f"{file} names no files: write it with `{command}`")
    elif card.files_sha256 != files_hash:
        raise UserError(f"the images in {pictures.place} changed since {file.name} was written: run `{command}` again")
    if card.datamining_prohibited is None:  # nobody looked
        count = remembered(
            pictures, "datamining_prohibited", lambda: inspection.count_prohibited(pictures), verify_data
        )
        card = replace(card, datamining_prohibited=count)
    return permit(
        card, pictures.place, accept_unknown_license=accept_unknown_license, ignore_datamining=ignore_datamining
    )


def inherited(card: dict, *, accept_unknown_license: bool = False, ignore_datamining: bool = False) -> None:
    """Asks anew for data that weights to start from were trained on: `card` is the record that their run kept.

    What its own training needed an override for needs it here too. Raises UserError, in one line with the way out.
    """
    given = {ACCEPTED_UNKNOWN_LICENSE: accept_unknown_license, IGNORED_DATAMINING: ignore_datamining}
    missing = [name for name in card.get("overrides", ()) if not given.get(name)]
    if missing:
        raise UserError(
            f"the run to start from was trained on {one_line(card.get('name', 'images'), 80)} with "
            f"{' '.join(f'--{one_line(name, 40)}' for name in missing)}: give that here too, or start from another run"
        )


def training_card(data: ImageSet, permission: DatasetCard | None, num_train: int, num_heldout: int) -> dict:
    """The record of the data that a run keeps: what was read, and what the card of one's own pictures says."""
    source = data.source
    known = permission or DatasetCard(
        source.name, source.license, source.origin, source.holder, citation=source.citation
    )
    counts = [] if data.labels is None else np.bincount(data.labels, minlength=data.num_classes).tolist()
    return replace(
        known,
        sha256=data.sha256,
        num_images=len(data.images),
        image_shape=data.images.shape[1:],
        classes=dict(zip(data.class_names, counts, strict=True)) if counts else {},
        unreadable=len(data.unreadable),
        other_formats=dict(data.other_formats),
        num_train=num_train,
        num_heldout=num_heldout,
    ).to_dict()


def warnings(card: dict) -> list[str]:
    """What the log should say of a run's data, a line each."""
    lines = [f"warning: --{name} is set: it stands in run.json and every card" for name in card["overrides"]]
    if others := others_line(card.get("other_formats", {})):
        lines.append(f"warning: {others}")
    return lines + license_warnings(card)


def license_warnings(card: dict) -> list[str]:
    """The line for data, a run's own or those of one it started from, that are under no licence."""
    if card.get("license"):
        return []
    return [f"warning: {card.get('name')} states no licence: find out what you may do with what is trained on it"]
