"""Draws many pictures to measure with: shapes on a noisy ground, as JPEGs in one folder a class.

python tests/memory/pictures.py DIR [--num=200000] [--size=128] [--classes=10] [--processes=2]
"""

import argparse
import multiprocessing
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_PER_FOLDER = 1000


def draw(folder: Path, number: int, size: int, classes: int) -> None:
    """Picture `number`: a coarse ground, as many ellipses and boxes as its class says, and a little noise."""
    random = np.random.default_rng(number)
    label = number % classes
    ground = Image.fromarray(random.integers(40, 216, (4, 4, 3), np.uint8))
    picture = ground.resize((size, size), Image.Resampling.BICUBIC)
    brush = ImageDraw.Draw(picture)
    for shape in range(1 + label):
        left, top = random.integers(-size // 8, size, 2).tolist()
        width, height = random.integers(size // 8, size // 2, 2).tolist()
        colour = tuple(random.integers(0, 256, 3).tolist())
        (brush.ellipse if shape % 2 else brush.rectangle)((left, top, left + width, top + height), colour)
    noise = random.normal(0, 4, (size, size, 1)).astype(np.float32)
    pixels = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
    place = folder / f"class{label}" / f"{number // (_PER_FOLDER * classes):04}"
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(place / f"{number:07}.jpg", quality=75)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    numbers = ((given.folder, number, given.size, given.classes) for number in range(given.num))
    with multiprocessing.Pool(given.processes) as pool:
        pool.starmap(draw, numbers, chunksize=500)


if __name__ == "__main__":
    main()
