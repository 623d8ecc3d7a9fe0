"""The pictures a run leaves: its real images, a grid of the same latents through time, their animation, and real beside
generated images.

What a network had a part in carries marks and a caption; reals.png carries neither.
"""

from pathlib import Path

import numpy as np

from kgan import images
from kgan.errors import UserError
from kgan.pictures import picture
from kgan.provenance.marks import COMPOSITE, describe, pnginfo
from kgan.runs.generator import TrainedGenerator
from kgan.runs.rundir import RunDir, step_of
from kgan.sampling import draw, write
from kgan.training.plan import Plan

_MAX_FRAMES = 60
_MILLISECONDS, _REST_MILLISECONDS = 150, 3000


def write_reals(run: RunDir, plan: Plan) -> None:
    """samples/reals.png: training images, to hold the generated ones against."""
    images.write_png(run.reals_file, _real_grid(plan))


def write_comparison(run: RunDir, plan: Plan, trained: TrainedGenerator) -> None:
    """comparison.png: training images on the left, those of `draw_grid(trained)` on the right."""
    real, generated = images.captioned(_real_grid(plan), "real"), draw_grid(trained)
    picture = images.beside(real, generated)
    images.write_png(run.comparison_file, picture, pnginfo(describe(draw.origin(trained), picture), COMPOSITE))


def _real_grid(plan: Plan) -> np.ndarray:
    """Training images as a grid (H, W, c) uint8 with the layout of `draw_grid`; white where a class has none."""
    labels, columns = plan.data.labels, images.class_columns(plan.num_classes)
    if labels is None or columns is None:
        rows = plan.training[:: max(1, len(plan.training) // draw.GRID_IMAGES)][: draw.GRID_IMAGES]
        return images.captioned_grid(plan.data.images[rows], caption=False)
    count, labels = draw.GRID_IMAGES - draw.GRID_IMAGES % columns, labels[plan.training]
    pictures = np.full((count, *plan.data.images.shape[1:]), 255, np.uint8)
    for label in range(plan.num_classes):
        if len(of_class := plan.training[labels == label]):
            pictures[label :: plan.num_classes] = plan.data.images[np.resize(of_class, count // plan.num_classes)]
    titles = images.column_titles(plan.card["classes"], columns)
    return images.captioned_grid(pictures, columns, caption=False, titles=titles)


def draw_grid(trained: TrainedGenerator) -> np.ndarray:
    """The first 64 latents of the run's seed, or as many as fill whole rows, as a grid (H, W, c) uint8; a conditional
    generator's columns are its classes."""
    recipe, settings = draw.grid_recipe(trained, draw.SampleSettings(trained.config.seed))
    return draw.draw_grid(trained, recipe, settings)


def write_grid(run: RunDir, trained: TrainedGenerator, grid: np.ndarray) -> None:
    """samples/step-*.png: what `draw_grid(trained)` gave, with its marks. Uses no network.

    `trained` is the generator as the checkpoint of this step would give it back, so that `kgan verify` can.
    """
    recipe, settings = draw.grid_recipe(trained, draw.SampleSettings(trained.config.seed))
    marks = draw.recipe_marks(draw.origin(trained), recipe, settings, grid)
    images.write_png(run.sample_file(trained.step), grid, pnginfo(marks))


def write_animation(run: RunDir, trained: TrainedGenerator) -> None:
    """training.gif: the sample grids in order, at most 60 of them, each with its step; it rests at the last, and
    training.gif.json says that `trained` drew that."""
    if not (files := run.sample_files()):
        return
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, _MAX_FRAMES).round().astype(int))]
    shape = _pixels(chosen[-1], trained.config.channels).shape
    shown = [
        images.with_step(grid, step_of(path))
        for path in chosen
        if (grid := _pixels(path, trained.config.channels)).shape == shape and grid.size
    ]
    if not shown:
        return
    frames = np.stack(shown)
    del shown  # 60 grids of 256 pixels take 0.8 GB
    content = images.gif(frames, [_MILLISECONDS] * (len(frames) - 1) + [_REST_MILLISECONDS])
    recipe, settings = draw.grid_recipe(trained, draw.SampleSettings(trained.config.seed))
    marks = draw.recipe_marks(draw.origin(trained), recipe, settings, frames)
    write.write_animation(run.animation_file, content, marks)


def _pixels(path: Path, channels: int | None) -> np.ndarray:
    """A sample grid (H, W, channels) uint8; without pixels if its file is damaged."""
    assert channels
    try:
        with picture.decoded(path, channels) as image:
            return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)
    except UserError:
        return np.zeros((0, 0, channels), np.uint8)
