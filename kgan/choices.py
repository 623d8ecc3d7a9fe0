"""What a setting can choose by name: objectives, networks, augmentations and image sizes.

They are named here, not imported, so that reading flags does not wait for TensorFlow. To add one is to add its entry.
"""

import typing

from kgan.errors import UserError
from kgan.text import one_line


class Loss(typing.NamedTuple):
    """`objective` is "module:function"; with targets, the function takes that of the real images (label smoothing).

    `words` are what a model card calls it, with its paper. `penalty` is the weight of R1 and of R2 that goes with it,
    and `penalty_every` how often they are taken, if nothing else is given.
    """

    objective: str
    words: str
    has_targets: bool = False
    penalty: float = 0.0
    penalty_every: int = 1


LOSSES = {
    "ns": Loss("kgan.steps.objectives:ns", "non-saturating (Goodfellow et al. 2014)", has_targets=True),
    "minimax": Loss("kgan.steps.objectives:minimax", "minimax (Goodfellow et al. 2014)", has_targets=True),
    "hinge": Loss("kgan.steps.objectives:hinge", "hinge (Lim and Ye 2017)"),
    "lsgan": Loss("kgan.steps.objectives:lsgan", "least squares (Mao et al. 2017)", has_targets=True),
    "wgan": Loss("kgan.steps.objectives:wgan", "Wasserstein (Arjovsky et al. 2017)"),
    "rpgan": Loss(
        "kgan.steps.objectives:rpgan",
        "relativistic pairing (Jolicoeur-Martineau 2018; Huang et al. 2024)",
        penalty=0.1,
        penalty_every=4,
    ),
}
"""The objectives by name."""


def usual_with_losses(name: str) -> str:
    """What `penalty` or `penalty_every` is if nothing is given, in words, as in "0.1 for rpgan, else 0"."""
    usual = Loss._field_defaults[name]
    others = [f"{getattr(loss, name):g} for {key}" for key, loss in LOSSES.items() if getattr(loss, name) != usual]
    return ", ".join([*others, f"else {usual:g}"])


ARCHITECTURES = {
    "dcgan": "kgan.models.architectures:DCGAN",
    "mlp": "kgan.models.architectures:MLP",
    "sndcgan": "kgan.models.architectures:SNDCGAN",
    "resnet": "kgan.models.resnet:RESNET",
}
"""The pairs of networks by name: "module:attribute", an `architectures.Architecture`."""

IMAGE_SIZES = (28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
"""4, 5, 6 or 7 times a power of two, because convolutional networks halve and double the side."""

AUGMENTATIONS = {
    "color": "kgan.steps.augmentation:recolour",
    "translation": "kgan.steps.augmentation:translate",
    "cutout": "kgan.steps.augmentation:cutout",
}
"""What --augment may be made of, in the order in which it is applied: "module:function" of images and a stream."""

DIFFAUG, NO_AUGMENTATION = "diffaug", "none"


def augmentations(policy: str) -> list[str]:
    """The names in AUGMENTATIONS that a value of --augment stands for. Raises UserError for any other."""
    names = {NO_AUGMENTATION: [], DIFFAUG: list(AUGMENTATIONS)}.get(policy, policy.split(","))
    if not set(names) <= set(AUGMENTATIONS):
        legal = f"{NO_AUGMENTATION}, {DIFFAUG} or some of {','.join(AUGMENTATIONS)}"
        raise UserError(f"--augment={one_line(policy)}: must be {legal}")
    return [name for name in AUGMENTATIONS if name in names]


def augmentation_policy(policy: str) -> str:
    """The one way to write that policy. Raises UserError as `augmentations` does."""
    names = augmentations(policy)
    return DIFFAUG if len(names) == len(AUGMENTATIONS) else ",".join(names) or NO_AUGMENTATION
