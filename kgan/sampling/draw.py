"""Drawing from a trained generator: single images, grids and animations, and the marks they carry.

`kgan.sample` makes files of these and `kgan.verify` regenerates the images, so both use the same functions. The image
at position p of a seed (its index, or its place on a path) is always computed in row p % 100 of a full batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from kgan import images
from kgan.errors import UserError
from kgan.latents import draws_recipe, follow, latents
from kgan.provenance.marks import Marks, Origin, describe
from kgan.runs import ancestry, environment
from kgan.runs.generator import BATCH, TrainedGenerator

GRID_IMAGES = 64


@dataclass(frozen=True)
class SampleSettings:
    """Which images to draw: a seed, a truncation or None, and one label for all images, a list with one for each, or
    None for the classes in turn (an interpolation then keeps to class 0)."""

    seed: int = 0
    truncation: float | None = None
    label: int | list[int] | None = None


class Batch(NamedTuple):
    """Up to 100 images (n, h, w, c) uint8 with their indices, latents (n, latent_dim) float32 and labels (n,) int64."""

    indices: range
    z: np.ndarray
    labels: np.ndarray
    images: np.ndarray


def origin(trained: TrainedGenerator) -> Origin:
    """What the marks of all images of this generator say. Raises UserError if run.json does not hold it."""
    dataset = trained.record.get("dataset", {})
    try:
        source = Origin(
            run_id=trained.record["id"],
            checkpoint_sha256=trained.checkpoint_sha256,
            data_sha256=dataset["sha256"],
            data_license=dataset["license"],
            ema=trained.ema,
            versions=environment.versions() | {"device": environment.device()},
            ancestors=ancestry.named(trained.record),
        )
        describe(source, np.zeros((1, 1, 1), np.uint8))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"run.json does not say which run and data made these images ({error})") from None
    return source


def batches(trained: TrainedGenerator, settings: SampleSettings, num: int) -> Iterator[Batch]:
    """Images 0 .. num - 1, a hundred at a time. Raises UserError for labels that the generator does not take."""
    for start in range(0, num, BATCH):
        indices = range(start, min(start + BATCH, num))
        z = latents(settings.seed, indices, trained.config.latent_dim, settings.truncation)
        labels = trained.labels_for(indices, settings.label)
        yield Batch(indices, z, labels, trained.decode(z, labels))


def single_marks(
    trained: TrainedGenerator,
    source: Origin,
    settings: SampleSettings,
    index: int,
    z: np.ndarray,
    label: int,
    image: np.ndarray,
) -> Marks:
    """The marks of one image of `batches`."""
    return describe(
        source,
        image,
        seed=settings.seed,
        index=index,
        label=int(label) if trained.num_classes else None,
        truncation=settings.truncation,
        z=z,
    )


def recipe_marks(source: Origin, recipe: dict, settings: SampleSettings, image: np.ndarray) -> Marks:
    """The marks of a grid, or of the frames of an animation."""
    return describe(source, image, seed=settings.seed, label=settings.label, truncation=settings.truncation, z=recipe)


def grid_recipe(
    trained: TrainedGenerator, settings: SampleSettings, num: int = GRID_IMAGES
) -> tuple[dict, SampleSettings]:
    """The recipe of a grid of the first `num` images, with the labels that they have.

    Where the classes come in turn, one in a column, whole rows are shown if there are any.
    """
    columns = images.class_columns(trained.num_classes)
    if columns and settings.label is None and num >= columns:
        num -= num % columns
    label = settings.label
    if trained.num_classes and label is None:
        label = trained.labels_for(range(num)).tolist()
    return draws_recipe(num), replace(settings, label=label)


def marked_grid(
    trained: TrainedGenerator, settings: SampleSettings, num: int = GRID_IMAGES, caption: bool = True
) -> tuple[np.ndarray, Marks]:
    """A grid (H, W, c) uint8 of the first `num` images, and its marks."""
    recipe, settings = grid_recipe(trained, settings, num)
    picture = draw_grid(trained, recipe, settings, caption)
    return picture, recipe_marks(origin(trained), recipe, settings, picture)


def draw_grid(
    trained: TrainedGenerator, recipe: dict, settings: SampleSettings, caption: bool = True, titles: bool = True
) -> np.ndarray:
    """The grid that a recipe describes, (H, W, c) uint8: a grid of draws, or the strip of a path in one row.

    Where each column shows one class, its name stands above it if `titles`.
    """
    pictures, labels = _follow(trained, recipe, settings)
    if recipe["recipe"] == "slerp":
        return images.captioned_grid(pictures, len(pictures), caption)
    columns = images.class_columns(trained.num_classes)
    in_turn = columns and len(labels) >= columns and not (labels - np.arange(len(labels)) % trained.num_classes).any()
    if not columns or not in_turn:
        return images.captioned_grid(pictures, None, caption)
    names = images.column_titles(trained.class_names, columns) if titles else []
    return images.captioned_grid(pictures, columns, caption, names)


def draw_grid_like(
    trained: TrainedGenerator, recipe: dict, settings: SampleSettings, shape: tuple[int, ...]
) -> np.ndarray:
    """The grid that a recipe describes, with what makes it of this shape: a caption, titles, both or neither."""
    grid = draw_grid(trained, recipe, settings)
    for caption, titles in ((True, False), (False, True), (False, False)):
        if grid.shape == shape:
            break
        grid = draw_grid(trained, recipe, settings, caption, titles)
    return grid


def draw_animation(
    trained: TrainedGenerator, recipe: dict, settings: SampleSettings, caption: bool = True
) -> np.ndarray:
    """The frames (n, H, W, c) uint8 of the animation that a recipe describes."""
    return images.animation_frames(_follow(trained, recipe, settings)[0], caption)


def interpolation_settings(trained: TrainedGenerator, settings: SampleSettings) -> SampleSettings:
    """The settings of an interpolation: a conditional generator keeps to one class, 0 if none is given."""
    return replace(settings, label=0) if trained.num_classes and settings.label is None else settings


def _follow(trained: TrainedGenerator, recipe: dict, settings: SampleSettings) -> tuple[np.ndarray, np.ndarray]:
    """The images (n, h, w, c) uint8 that a recipe describes, and their labels (n,)."""
    z = follow(recipe, settings.seed, trained.config.latent_dim, settings.truncation)
    labels = trained.labels_for(range(len(z)), settings.label)
    return trained.decode(z, labels), labels
