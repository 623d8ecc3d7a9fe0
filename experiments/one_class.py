"""Writes the images of one class of a data set as a folder of PNG files."""

import argparse
from pathlib import Path

from PIL import Image

from kgan.data import sources
from kgan.errors import UserError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, epilog="for example: mnist test 7 data/sevens")
    parser.add_argument("dataset")
    parser.add_argument("split", choices=("train", "test"))
    parser.add_argument("name", help="of the class")
    parser.add_argument("folder", type=Path, help="a new one")
    asked = parser.parse_args()
    try:
        data = sources.load(asked.dataset, split=asked.split)
        if asked.name not in data.class_names:
            parser.error(f"no class {asked.name!r}: choose from {', '.join(data.class_names)}")
        asked.folder.mkdir(parents=True)
    except (UserError, OSError) as error:
        parser.error(str(error))
    for index in (data.labels == data.class_names.index(asked.name)).nonzero()[0]:
        Image.fromarray(data.images[index].squeeze()).save(asked.folder / f"{index:05}.png")
