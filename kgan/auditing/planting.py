"""How rare a copy the audit would still notice: copies are planted among the samples and the verdict repeated.

A planted copy is one training image, altered; its ratio is searched for once, and the audit's counts are then drawn
again with some samples exchanged for planted copies, so that no neighbour search is repeated.
"""

import numpy as np

from kgan.auditing.calibration import DecisionRule, Outcomes

POWER = 0.95
_TRIALS = 400
_PLANTED = 200
_LEVELS = 255.0


def altered(images: np.ndarray, kind: str, seed: int = 0) -> np.ndarray:
    """uint8 (n, h, w, c) copies: "exact", "noise SD" (of the full range), "shift PX", "mirror" or "brightness FACTOR".

    A shift goes in one of the eight directions at random and repeats the edge.
    """
    name, _, amount = kind.partition(" ")
    random = np.random.default_rng(seed)
    if name == "exact":
        return images.copy()
    if name == "mirror":
        return np.ascontiguousarray(images[:, :, ::-1])
    if name == "shift":
        return _shifted(images, int(amount), random)
    if name == "noise":
        changed = images + random.normal(0, float(amount) * _LEVELS, images.shape)
    elif name == "brightness":
        changed = images * float(amount)
    else:
        raise ValueError(f"no such kind of copy: {kind!r}")
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def kinds_of_copy(mirror: bool) -> tuple[str, ...]:
    """The kinds that are planted; mirror images only where the audit looks for them."""
    return ("exact", "noise 0.02", "noise 0.1", "shift 1", *(("mirror",) if mirror else ()), "brightness 0.8")


def detection_limit(samples: Outcomes, planted: Outcomes, rule: DecisionRule) -> float | None:
    """The smallest share of planted copies, exchanged for samples, at which the verdict is reached with power 0.95.

    `planted` stands for all copies of its kind: copies are drawn from it with replacement, the samples they take the
    place of without. None if not even copies alone reach the verdict.
    """
    own, own_sizes = samples.distinct()
    copies, copies_sizes = planted.distinct()
    total = int(own_sizes.sum())

    def suffices(count: int) -> bool:
        random = np.random.default_rng(count)
        kept = random.multivariate_hypergeometric(own_sizes, total - count, _TRIALS)
        drawn = random.multinomial(count, copies_sizes / copies_sizes.sum(), _TRIALS)
        counts = np.tensordot(kept, own, axes=1) + np.tensordot(drawn, copies, axes=1)
        return rule.rejects(counts).mean() >= POWER

    low, high = 0, 1
    while not suffices(high):
        if high == total:
            return None
        low, high = high, min(2 * high, total)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high / total


def planted_indices(count: int) -> np.ndarray:
    """Indices of the training images that copies are made of: up to 200, the same every time."""
    return np.sort(np.random.default_rng(0).choice(count, min(_PLANTED, count), replace=False))


def _shifted(images: np.ndarray, pixels: int, random: np.random.Generator) -> np.ndarray:
    height, width = images.shape[1:3]
    around = [
        (dy, dx) for dy in (0, pixels, 2 * pixels) for dx in (0, pixels, 2 * pixels) if (dy, dx) != (pixels, pixels)
    ]
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    corners = [around[direction] for direction in random.integers(len(around), size=len(images))]
    moved = [image[y : y + height, x : x + width] for image, (y, x) in zip(padded, corners, strict=True)]
    return np.stack(moved) if moved else images.copy()
