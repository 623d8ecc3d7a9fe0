"""Which images of a data set are trained on and which are held out: a matter of the data alone, the same for all."""

from dataclasses import dataclass

import numpy as np

from kgan.errors import UserError


@dataclass(frozen=True)
class Split:
    """Indices into a data set's training images, each array ascending int64.

    `training` are those a run trains on, `available` all that are not held out (`training` is a part of them, or the
    same), `heldout` the rest, which no run trains on.
    """

    training: np.ndarray
    available: np.ndarray
    heldout: np.ndarray


def split(num_images: int, sha256: str, num_heldout: int | None = None, num_train: int | None = None) -> Split:
    """Divides `num_images` images by the hash of their data set alone, so that every run on the same data holds out
    the same images, and a smaller `num_train` is a subset of a larger one.

    `default_heldout` of them are held out unless `num_heldout` says otherwise; `num_train` of None trains on all the
    others. Raises UserError if there are not as many.
    """
    num_heldout = default_heldout(num_images) if num_heldout is None else num_heldout
    if not 0 <= num_heldout < num_images:
        raise UserError(
            f"--num_heldout={num_heldout}: must be at least 0, and of {num_images} images some must be left to train on"
        )
    order = np.random.default_rng(int(sha256, 16)).permutation(num_images)
    available, heldout = np.sort(order[num_heldout:]), np.sort(order[:num_heldout])
    if num_train is None:
        return Split(available, available, heldout)
    if num_train > len(available):
        raise UserError(f"--num_train={num_train}: only {len(available)} images are not held out")
    chosen = np.random.default_rng([int(sha256, 16), 1]).permutation(available)[:num_train]
    return Split(np.sort(chosen), available, heldout)


def default_heldout(num_images: int) -> int:
    """How many images are held out if nobody says otherwise."""
    return min(5000, num_images // 10)
