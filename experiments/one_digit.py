"""Writes MNIST's test images of one digit as a folder of PNG files: python experiments/one_digit.py 7 data/sevens"""

import sys
from pathlib import Path

from PIL import Image

from kgan.data import sources

if __name__ == "__main__":
    digit, folder = int(sys.argv[1]), Path(sys.argv[2])
    test = sources.load("mnist", split="test")
    folder.mkdir(parents=True)
    for index in (test.labels == digit).nonzero()[0]:
        Image.fromarray(test.images[index, ..., 0]).save(folder / f"{index:05}.png")
