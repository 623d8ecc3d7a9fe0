"""Latent recovery: how well can a generator be steered to given images, those it was trained on and those it was not?

A generator that reproduces its training set comes closer to training images than to held-out ones. (Webster, Rabin,
Simon and Jurie, "Detecting overfitting of deep generative networks via latent recovery", CVPR 2019, arXiv:1901.03396;
the thresholds below are theirs, the optimiser is not: Adam from several starts, for all images alike.)
"""

import numpy as np
from scipy import stats

from kgan.data.view import Images
from kgan.latents import latents
from kgan.progress import Progress
from kgan.runs.generator import TrainedGenerator
from kgan.sampling.projection import descend

NUM_IMAGES = 200
STARTS, STEPS = 2, 200
P_VALUE, GAP = 0.01, 0.1


def latent_recovery(
    trained: TrainedGenerator,
    train: tuple[Images, np.ndarray],
    heldout: tuple[Images, np.ndarray],
    progress: Progress = lambda done, total: None,
) -> dict[str, float | int | bool]:
    """Compares the recovery errors of up to 200 training and 200 held-out images, each (images, labels).

    Images are uint8 (n, h, w, c), taken at random, the same every time. Returns `p_value` (one-sided two-sample
    Kolmogorov-Smirnov: training errors are smaller), `median_error_train` and `median_error_heldout` (mean squared
    error a pixel, images in [-1, 1]), their relative `gap`, and `recovers_training_images`: p_value < 0.01 and
    gap > 0.1.
    """
    parts = [_random_part(*pair) for pair in (train, heldout)]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    errors = recover(trained, images, labels, progress=progress)
    ours, theirs = np.split(errors, [len(parts[0][0])])
    medians = float(np.median(ours)), float(np.median(theirs))
    gap = (medians[1] - medians[0]) / medians[1] if medians[1] else 0.0
    p_value = float(stats.ks_2samp(ours, theirs, alternative="greater").pvalue)
    return {
        "num_train": len(ours),
        "num_heldout": len(theirs),
        "starts": STARTS,
        "steps": STEPS,
        "median_error_train": medians[0],
        "median_error_heldout": medians[1],
        "gap": gap,
        "p_value": p_value,
        "recovers_training_images": p_value < P_VALUE and gap > GAP,
    }


def recover(
    trained: TrainedGenerator,
    images: np.ndarray,
    labels: np.ndarray,
    starts: int = STARTS,
    steps: int = STEPS,
    progress: Progress = lambda done, total: None,
) -> np.ndarray:
    """The smallest mean squared error, (n,) float64, between each uint8 image and what a latent makes, over all steps.

    Every image has a latent of its own, and start number s of all images is the same draw; a conditional generator is
    given the image's label.
    """
    best = np.full(len(images), np.inf)
    for start in range(starts):
        z = np.repeat(latents(0, [start], trained.config.latent_dim), len(images), axis=0)

        def of_all(done: int, total: int, start: int = start) -> None:
            progress(start * total + done, starts * total)

        best = np.minimum(best, descend(trained, z, images, labels, steps, of_all)[1])
    return best


def _random_part(images: Images, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(0).permutation(len(images))[:NUM_IMAGES]
    return images[order], labels[order]
