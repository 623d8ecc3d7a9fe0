"""Drawing from a trained generator: single images, grids and animations, and the marks they carry.

`kgan sample` makes files of these and `kgan verify` makes the images again, so both use the same functions. The image
at position p of a seed (its index, or its place on a path) is always computed in row p % 100 of a full batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kgan import images
from kgan.errors import UserError
from kgan.latents import draws_recipe, follow, latents
from kgan.provenance.marks import Marks, Origin, describe
from kgan.runs import environment
from kgan.runs.generator import BATCH, TrainedGenerator

MAX_IMAGES = 1_000_000  # file names have six digits
GRID_IMAGES = 64


@dataclass(frozen=True)
class Draw:
    """What is drawn: a seed, a truncation or None, and one label for all images, a list with one for each, or None
    for the classes in turn (a path between draws then has class 0)."""

    seed: int
    truncation: float | None = None
    label: int | list[int] | None = None


def origin(trained: TrainedGenerator) -> Origin:
    """What the marks of all images of this generator say. Raises UserError if run.json does not hold it."""
    dataset = trained.record.get("dataset", {})
    try:
        found = Origin(
            run_id=trained.record["id"],
            checkpoint_sha256=trained.checkpoint_sha256,
            data_sha256=dataset["sha256"],
            data_license=dataset["license"],
            ema=trained.ema,
            versions=environment.versions(),
        )
        describe(found, np.zeros((1, 1, 1), np.uint8))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"run.json does not say which run and data made these images ({error})") from None
    return found


def labels_of(trained: TrainedGenerator, draw: Draw, indices: range) -> np.ndarray:
    """int64 labels (n,) of the images with these indices; zeros where the generator takes none. Raises UserError."""
    return trained.labels_for(indices, draw.label)


Batch = tuple[range, np.ndarray, np.ndarray, np.ndarray]


def singles(trained: TrainedGenerator, draw: Draw, num: int) -> Iterator[Batch]:
    """Images 0 .. num - 1 in batches: (indices, latents (n, latent_dim) float32, labels (n,), images (n, h, w, c))."""
    for start in range(0, num, BATCH):
        indices = range(start, min(start + BATCH, num))
        z = latents(draw.seed, indices, trained.config.latent_dim, draw.truncation)
        labels = labels_of(trained, draw, indices)
        yield indices, z, labels, trained.decode(z, labels)


def mark_single(trained: TrainedGenerator, source: Origin, draw: Draw, index: int, z, label: int, image) -> Marks:
    """The marks of one image of `singles`."""
    return describe(
        source,
        image,
        seed=draw.seed,
        index=index,
        label=int(label) if trained.num_classes else None,
        truncation=draw.truncation,
        z=z,
    )


def grid_recipe(trained: TrainedGenerator, draw: Draw, num: int = GRID_IMAGES) -> tuple[dict, Draw]:
    """The recipe of a grid of the first `num` images, with the labels that they have.

    Where the classes come in turn, one in a column, whole rows are shown if there are any.
    """
    columns = images.class_columns(trained.num_classes)
    if columns and draw.label is None and num >= columns:
        num -= num % columns
    label = draw.label
    if trained.num_classes and label is None:
        label = labels_of(trained, draw, range(num)).tolist()
    return draws_recipe(0, num), Draw(draw.seed, draw.truncation, label)


def draw_grid(trained: TrainedGenerator, recipe: dict, draw: Draw, caption: bool = True) -> np.ndarray:
    """The grid that a recipe describes, (H, W, c) uint8: a grid of draws, or the strip of a path in one row."""
    pictures, labels = _pictures(trained, recipe, draw)
    if recipe["recipe"] == "slerp":
        return images.captioned_grid(pictures, len(pictures), caption)
    columns = images.class_columns(trained.num_classes)
    in_turn = columns and len(labels) >= columns and not (labels - np.arange(len(labels)) % trained.num_classes).any()
    return images.captioned_grid(pictures, columns if in_turn else None, caption)


def draw_single(trained: TrainedGenerator, recipe: dict, draw: Draw) -> np.ndarray:
    """The image (h, w, c) uint8 of a recipe with only one: a frame of a path."""
    return _pictures(trained, recipe, draw)[0][0]


def draw_animation(trained: TrainedGenerator, recipe: dict, draw: Draw, caption: bool = True) -> np.ndarray:
    """The frames (n, H, W, c) uint8 of the animation that a recipe describes."""
    return images.animation_frames(_pictures(trained, recipe, draw)[0], caption)


def path_draw(trained: TrainedGenerator, draw: Draw) -> Draw:
    """The draw of a path: a conditional generator keeps to one class, 0 if none is given."""
    label = 0 if trained.num_classes and draw.label is None else draw.label
    return Draw(draw.seed, draw.truncation, label)


def mark_recipe(source: Origin, recipe: dict, draw: Draw, image: np.ndarray) -> Marks:
    """The marks of a grid, or of the frames of an animation."""
    return describe(source, image, seed=draw.seed, label=draw.label, truncation=draw.truncation, z=recipe)


def _pictures(trained: TrainedGenerator, recipe: dict, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    z = follow(recipe, draw.seed, trained.config.latent_dim, draw.truncation)
    first = recipe.get("first", recipe.get("frame", 0))
    labels = labels_of(trained, draw, range(first, first + len(z)))
    return render(trained, z, labels, first), labels


def render(trained: TrainedGenerator, z: np.ndarray, labels: np.ndarray, first: int = 0) -> np.ndarray:
    """The images (n, h, w, c) uint8 of latents (n, latent_dim) float32 at positions first .. first + n - 1."""
    images = np.empty((len(z), *trained.generator.output_shape[1:]), np.uint8)
    start = 0
    while start < len(z):
        row = (first + start) % BATCH
        stop = min(len(z), start + BATCH - row)
        images[start:stop] = trained.decode(z[start:stop], labels[start:stop], row)
        start = stop
    return images
