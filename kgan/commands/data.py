"""List the built-in data sets, inspect your own images and put their licence on record, or clear decoded images.

usage: kgan data list
       kgan data clear
       kgan data inspect DIR|FILE --license=SPDX-ID --source=... --holder=... [--contains_people] [--consent=...]

`inspect` reads a folder of images, or an .npy, .npz or .zip of them, and writes DIR/dataset.json or FILE.dataset.json,
which `kgan train --dataset=folder` asks for. What was said in an earlier one stays unless it is said anew. What was
trained on lies decoded in $KGAN_CACHE_DIR, else ~/.cache/kgan: `list` shows it, `clear` removes it.
"""

from collections.abc import Iterable
from pathlib import Path

from absl import flags
from rich.table import Table
from rich.text import Text

from kgan import cli
from kgan.data import sources
from kgan.data.licensing import summary
from kgan.data.licensing.card import DatasetCard, card_file, normal_license
from kgan.data.licensing.inspection import SAID, Inspection, put_on_record
from kgan.data.places import where
from kgan.data.source import Source
from kgan.errors import UserError
from kgan.pictures import cache
from kgan.text import one_line

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "list: also look here. Default: $KGAN_DATA_DIR, then Keras's cache.")
    flags.DEFINE_string("name", None, "inspect: what to call the data. Default: the name of the folder or file.")
    flags.DEFINE_string("license", None, "inspect: an SPDX id such as CC-BY-4.0, or LicenseRef-NAME for another.")
    flags.DEFINE_string("source", None, "inspect: where the images come from: an address, a person, a device.")
    flags.DEFINE_string("holder", None, "inspect: who holds the rights.")
    flags.DEFINE_bool("contains_people", None, "inspect: whether people can be recognised. Default: not said.")
    flags.DEFINE_string("consent", None, "inspect: how the people in the images agreed.")


def main(arguments: list[str]) -> None:
    if arguments == ["list"]:
        _list()
    elif arguments == ["clear"]:
        print(f"{cache.clear() / 1e6:,.1f} MB of decoded images removed")
    elif arguments[:1] == ["inspect"] and len(arguments) == 2 and arguments[1]:
        _inspect(Path(arguments[1]))
    else:
        raise UserError("say `kgan data list`, `kgan data clear`, or `kgan data inspect DIR|FILE --license=SPDX-ID`")


def _list() -> None:
    table = Table("name", "licence", "images (training + test)", "origin", "on this machine", box=None, pad_edge=False)
    for source in sources.SOURCES.values():
        if source.image_shape:
            license = source.license or "none stated"
            images = _images(source.splits.values(), source.image_shape)
            table.add_row(source.name, license, images, source.origin, _place(source))
    cli.console().print(table)
    if cached := cache.list_cached():
        table = Table("folder or file", "decoded images", "size", box=None, pad_edge=False)
        for one in cached:
            count, *shape = one.shape
            table.add_row(_literal(one.root), _images([count], shape), f"{one.num_bytes / 1e6:,.1f} MB")
        place = _literal(f"in {cached[0].place.parent}; `kgan data clear` removes them")
        cli.console().print("", table, place, sep="\n")


def _images(counts: Iterable[int], shape: Iterable[int]) -> str:
    return f"{' + '.join(f'{count:,}' for count in counts)} of {'x'.join(map(str, shape))}"


def _place(source: Source) -> Text:
    place = where(source, FLAGS.data_dir)
    missing = f"pip install 'kgan[{source.extra}]'" if source.package else "the first use downloads it"
    return _literal(f"in {source.package}" if place and source.package else place or f"no: {missing}")


def _literal(words: object) -> Text:
    """Words for a table as they are, on one line: a path in them may look like markup."""
    return Text(one_line(words, 4096), overflow="fold")


def _inspect(place: Path) -> None:
    given = {name: FLAGS["source" if name == "origin" else name].value for name in SAID}
    said = {name: value for name, value in given.items() if value is not None}
    if "license" in said:
        said["license"] = normal_license(said["license"])
    inspected = put_on_record(place, said)
    _show(inspected)
    print(f"wrote {card_file(place)}")
    print(_next(place, inspected.card))


def _next(place: Path, card: DatasetCard) -> str:
    """What to type next, in one or two lines."""
    if not card.license:
        command = cli.command_line("data", "inspect", place, "--license=SPDX-ID", "--source=...")
        return f"No licence is on record, and `kgan train` stops without one.\nNext: {command}"
    training = ["train", "--dataset=folder", f"--data_dir={place.absolute()}"]
    if card.datamining_prohibited:
        command = cli.command_line(*training, "--ignore_datamining")
        return (
            f"{card.datamining_prohibited:,} images forbid mining, and `kgan train` stops for them: take them out, or, "
            f"with the right to use them:\nNext: {command}"
        )
    return f"Next: {cli.command_line(*training)}"


def _show(inspected: Inspection) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in summary.facts(inspected.card).items():
        table.add_row(key, Text(one_line(value, 400), overflow="fold"))
    cli.console().print(table)
    for line in summary.problems(inspected):
        print(line)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
