"""The pictures a run leaves: its real images, a grid of the same latents through time, and their film."""

import io

import keras
import numpy as np
from PIL import Image

from kgan import images
from kgan.config import TrainConfig
from kgan.latents import latents
from kgan.training.plan import Plan
from kgan.training.rundir import RunDir
from kgan.training.trained import sample

NUM_SAMPLES = 64
_MAX_FRAMES = 60


def write_reals(run: RunDir, plan: Plan) -> None:
    """samples/reals.png: training images, to hold the generated ones against."""
    images.write_png(
        run.samples / "reals.png", _sheet(plan.images[:: max(1, len(plan.images) // NUM_SAMPLES)][:NUM_SAMPLES])
    )


def write_grid(run: RunDir, generator: keras.Model, config: TrainConfig, num_classes: int, step: int) -> None:
    """samples/step-*.png: the latents 0..63 of the run's seed; a conditional generator's columns are its classes."""
    count = NUM_SAMPLES if not num_classes else num_classes * max(1, NUM_SAMPLES // num_classes)
    labels = np.arange(count, dtype=np.int64) % max(1, num_classes)
    generated = sample(generator, latents(config.seed, range(count), config.latent_dim), labels)
    images.write_png(run.sample_file(step), _sheet(images.to_uint8(generated), num_classes or None))


def write_training_gif(run: RunDir) -> None:
    """training.gif: the sample grids in order, at most 60 of them."""
    files = run.sample_files()
    if not files:
        return
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, _MAX_FRAMES).round().astype(int))]
    frames = [Image.open(path).convert("P") for path in chosen]
    durations = [150] * (len(frames) - 1) + [1500]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    images.write_atomically(run.path / "training.gif", buffer.getvalue())


def _sheet(pictures: np.ndarray, columns: int | None = None) -> np.ndarray:
    return images.enlarge(images.grid(pictures, columns), max(1, 64 // pictures.shape[1]))
