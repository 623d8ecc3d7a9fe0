"""Writes the images of one class as a folder of PNG files: python experiments/one_class.py mnist test 7 data/sevens"""

import sys
from pathlib import Path

from PIL import Image

from kgan.data import sources

if __name__ == "__main__":
    dataset, split, name, folder = *sys.argv[1:4], Path(sys.argv[4])
    data = sources.load(dataset, split=split)
    folder.mkdir(parents=True)
    for index in (data.labels == data.class_names.index(name)).nonzero()[0]:
        Image.fromarray(data.images[index].squeeze()).save(folder / f"{index:05}.png")
