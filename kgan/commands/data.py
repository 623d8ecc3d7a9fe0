"""List the built-in data sets, or inspect a folder of images and put its licence on record.

usage: kgan data list
       kgan data inspect DIR --license=SPDX-ID --source=... --holder=... [--contains_people] [--consent=...]

`inspect` writes DIR/dataset.json, which `kgan train --dataset=folder` asks for. What was said in an earlier one stays
unless it is said anew.
"""

from pathlib import Path

from absl import flags
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kgan import cli
from kgan.data import sources
from kgan.data.folder import others_line
from kgan.data.licensing.card import FILE_NAME, describe_sizes, normal_license, read_card
from kgan.data.licensing.inspection import Inspection, inspect
from kgan.errors import UserError
from kgan.files import write_atomically
from kgan.text import one_line

FLAGS = flags.FLAGS
_SAID = ("name", "license", "origin", "holder", "contains_people", "consent")
_SHOWN = 5  # files of each kind


def define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "list: also look here. Default: $KGAN_DATA_DIR, then Keras's cache.")
    flags.DEFINE_string("name", None, "inspect: what to call the data. Default: the folder's name.")
    flags.DEFINE_string("license", None, "inspect: an SPDX id such as CC-BY-4.0, or LicenseRef-NAME for another.")
    flags.DEFINE_string("source", None, "inspect: where the images come from: an address, a person, a device.")
    flags.DEFINE_string("holder", None, "inspect: who holds the rights.")
    flags.DEFINE_bool("contains_people", None, "inspect: whether people can be recognised. Default: not said.")
    flags.DEFINE_string("consent", None, "inspect: how the people in the images agreed.")


def main(arguments: list[str]) -> None:
    if arguments == ["list"]:
        _list()
    elif arguments[:1] == ["inspect"] and len(arguments) == 2:
        _inspect(Path(arguments[1]))
    else:
        raise UserError("say `kgan data list`, or `kgan data inspect DIR --license=SPDX-ID`")


def _list() -> None:
    table = Table("name", "licence", "images (training + test)", "origin", "on this machine", box=None, pad_edge=False)
    for source in sources.SOURCES.values():
        if source.image_shape:
            license = source.license or "none stated"
            table.add_row(source.name, license, _images(source), source.origin, _place(source))
    _console().print(table)


def _images(source: sources.Source) -> str:
    counts = " + ".join(f"{count:,}" for count in source.splits.values())
    return f"{counts} of {'x'.join(map(str, source.image_shape or ()))}"


def _place(source: sources.Source) -> str:
    place = sources.where(source.name, FLAGS.data_dir)
    missing = f"pip install 'kgan[{source.extra}]'" if source.package else "the first use downloads it"
    return f"in {source.package}" if place and source.package else str(place or f"no: {missing}")


def _inspect(folder: Path) -> None:
    said = {
        "name": FLAGS.name,
        "license": None if FLAGS.license is None else normal_license(FLAGS.license),
        "origin": FLAGS.source,
        "holder": FLAGS.holder,
        "contains_people": FLAGS.contains_people,
        "consent": FLAGS.consent,
    }
    said = {key: value for key, value in said.items() if value is not None}
    before = read_card(folder) if folder.is_dir() else None
    kept = {key: getattr(before, key) for key in _SAID} if before else {}
    found = inspect(folder, **kept | said)
    path = folder / FILE_NAME
    try:
        write_atomically(path, found.card.to_json().encode("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    _show(found)
    print(f"wrote {path}")
    if not found.card.license:
        print("no licence is on record: `kgan train` will stop until one is given with --license=SPDX-ID")


def _show(found: Inspection) -> None:
    card = found.card
    people = {True: "yes", False: "no", None: "not said"}[card.contains_people]
    rows = {
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
        "forbid mining": f"{card.datamining_prohibited:,}",
        "sha256 of the files": card.files_sha256,
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in rows.items():
        table.add_row(key, Text(one_line(value, 400), overflow="fold"))
    _console().print(table)
    for what, lines in (("unreadable", found.unreadable), ("forbids mining", found.prohibited)):
        for line in lines[:_SHOWN]:
            print(f"{what}: {one_line(line, 400)}")
        if len(lines) > _SHOWN:
            print(f"{what}: and {len(lines) - _SHOWN:,} more")


def _counts(counts: dict[str, int]) -> str:
    shown = [f"{one_line(name, 60)} {count:,}" for name, count in list(counts.items())[:10]]
    return ", ".join(shown) + (f", and {len(counts) - 10} more" if len(counts) > 10 else "")


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = 10_000
    return console


if __name__ == "__main__":
    define_flags()
    cli.run(main)
