"""The record of the training data, and whether one may train on them: the licence and the owners' word on mining.

For a folder both come from the dataset.json that `kgan data inspect` wrote beside the images; it speaks for the files
as they were then, so one whose hash no longer fits counts for nothing.
"""

from dataclasses import replace

from kgan.data.folder import list_images, others_line
from kgan.data.licensing import inspection
from kgan.data.licensing.card import (
    ACCEPTED_UNKNOWN_LICENSE,
    FILE_NAME,
    IGNORED_DATAMINING,
    DatasetCard,
    permit,
    read_card,
)
from kgan.data.manifest import files_sha256
from kgan.data.sources import SOURCES, ImageSet, folder_root
from kgan.errors import UserError
from kgan.text import one_line


def permitted(
    dataset: str,
    data_dir: str | None = None,
    *,
    accept_unknown_license: bool = False,
    ignore_datamining: bool = False,
    verify_data: bool = False,
) -> DatasetCard | None:
    """The card of a folder to train on, with overrides on record; None for a named data set.

    Decodes no file, and reads them all only if they seem changed or `verify_data` is set. Raises UserError, in one line
    with the way out, if there is no licence on record or the owner of an image forbids mining, and nobody overrode it,
    or if the files have changed since.
    """
    if SOURCES[dataset].image_shape:
        return None
    root = folder_root(data_dir)
    if not root.is_dir() or not list_images(root):
        return None  # `sources.load` says what is wrong
    if verify_data:
        files_sha256(root, verify=True)
    card = read_card(root)
    if card is None:
        prohibited = inspection.count_prohibited(root)
        card = DatasetCard(root.resolve().name or "folder", datamining_prohibited=prohibited)
    elif not card.files_sha256:
        raise UserError(f"{root / FILE_NAME} names no files: write it with `kgan data inspect {root}`")
    elif card.files_sha256 != files_sha256(root):
        raise UserError(
            f"the images in {root} changed since {FILE_NAME} was written: run `kgan data inspect {root}` again"
        )
    return permit(card, accept_unknown_license=accept_unknown_license, ignore_datamining=ignore_datamining)


def inherited(card: dict, *, accept_unknown_license: bool = False, ignore_datamining: bool = False) -> None:
    """Asks anew for data that weights to start from were trained on: `card` is the record that their run kept.

    What its own training needed an override for needs it here too. Raises UserError, in one line with the way out.
    """
    given = {ACCEPTED_UNKNOWN_LICENSE: accept_unknown_license, IGNORED_DATAMINING: ignore_datamining}
    missing = [name for name in card.get("overrides", ()) if not given.get(name)]
    if missing:
        raise UserError(
            f"the run to start from was trained on {one_line(card.get('name', 'images'), 80)} with "
            f"{' '.join(f'--{one_line(name, 40)}' for name in missing)}: answer for it here too, or start from another"
        )


def training_card(data: ImageSet, permission: DatasetCard | None, num_train: int, num_heldout: int) -> dict:
    """The record of the data that a run keeps: what was read, and for a folder what its card says of it."""
    read = data.card()
    counted = {
        "sha256": read["sha256"],
        "num_images": read["num_images"],
        "image_shape": tuple(read["image_shape"]),
        "classes": read["classes"],
        "unreadable": read["unreadable"],
        "other_formats": read["other_formats"],
        "num_train": num_train,
        "num_heldout": num_heldout,
    }
    known = permission or DatasetCard(data.source.name, data.source.license, data.source.origin, data.source.holder)
    return replace(known, **counted).to_dict()


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
