"""The real side of an evaluation: which images samples are held against, and which ones features may be fitted on."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kgan.data import sources
from kgan.data.view import Images, ImageView
from kgan.errors import UserError
from kgan.pictures.manifest import dataset_sha256

SPLITS = ("train", "test", "heldout")


@dataclass(frozen=True)
class Reference:
    """Real images of one split of a data set, and what a feature network may see of it.

    `images` (n, h, w, c) uint8 are those of `split`: "train" (the images that a run trains on), "heldout" or "test".
    `sha256` is that of the file set they come from, `data_sha256` that of the training images, whose held-out choice
    it fixes. `fit_images` and `fit_labels` are all training images that are not held out, whatever `num_train` is, so
    that runs on fewer of them are measured with the same features; `unseen()` reads the images and labels that tell a
    classifier's accuracy, None without classes. Labels are int64, or None without classes.
    """

    name: str
    split: str
    images: Images = field(repr=False)
    sha256: str
    data_sha256: str
    num_heldout: int
    num_train: int | None
    num_classes: int
    fit_images: Images = field(repr=False)
    fit_labels: np.ndarray | None = field(repr=False)
    unseen: Callable[[], tuple[Images, np.ndarray] | None] = field(default=lambda: None, repr=False)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def largest_comparison(self, num_samples: int) -> int:
        """N = min(num_samples, half the images): the floor takes N images and N others."""
        return min(num_samples, len(self.images) // 2)

    def half(self, which: int, count: int) -> np.ndarray:
        """`count` images; halves 0 and 1 share none. Chosen, and ordered, at random by the data's hash alone."""
        order = np.random.default_rng([int(self.sha256, 16), 2]).permutation(len(self.images))
        return self.images[order[which * count : (which + 1) * count]]

    def key(self) -> dict[str, object]:
        """What `images` are, as JSON values."""
        return {
            "reference": self.split,
            "reference_sha256": self.sha256,
            "num_heldout": self.num_heldout,
            "num_train": self.num_train,
        }

    def protocol(self) -> dict[str, object]:
        return {
            "dataset": self.name,
            "data_sha256": self.data_sha256,
            **self.key(),
            "reference_images": len(self.images),
        }


def load_reference(
    dataset: str,
    split: str = "train",
    *,
    data_dir: str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    num_heldout: int | None = None,
    num_train: int | None = None,
) -> Reference:
    """Reads a data set and divides it as a run with these settings does (`TrainConfig` has the same names).

    Raises UserError if the data are not there, the split is empty or absent, or the numbers do not fit.
    """
    if split not in SPLITS:
        raise UserError(f"--reference={split}: must be one of {', '.join(SPLITS)}")
    data = sources.load(dataset, data_dir, image_size=image_size, channels=channels)
    parts = data.split(num_heldout, num_train)
    num_classes = data.num_classes if data.num_classes > 1 else 0
    source = sources.load(dataset, data_dir, "test") if split == "test" else data
    rows = {"train": parts.training, "heldout": parts.heldout, "test": np.arange(len(source.images))}[split]

    def unseen() -> tuple[Images, np.ndarray] | None:
        if not num_classes or data.labels is None:
            return None
        if sources.source_of(dataset).has_test:
            with contextlib.suppress(UserError):  # training needs no test images, and here they are seldom missed
                test = sources.load(dataset, data_dir, "test")
                return None if test.labels is None else (test.images, test.labels)
        return ImageView(data.images, parts.heldout), data.labels[parts.heldout]

    reference = Reference(
        name=dataset,
        split=split,
        images=ImageView(source.images, rows),
        sha256=source.sha256,
        data_sha256=data.sha256,
        num_heldout=len(parts.heldout),
        num_train=num_train,
        num_classes=num_classes,
        fit_images=ImageView(data.images, parts.available),
        fit_labels=None if data.labels is None else data.labels[parts.available],
        unseen=unseen,
    )
    if len(reference.images) < 2:
        raise UserError(f"--reference={split}: {dataset} has {len(reference.images)} such images")
    return reference


def reference_of_images(images: Images, name: str) -> Reference:
    """Real images (n, h, w, c), uint8, of no named data set: without labels, and none of them held out.

    Raises UserError for fewer than two.
    """
    if len(images) < 2:
        raise UserError(f"--train={name}: there are {len(images)} images")
    sha256 = dataset_sha256(np.asarray(images), None)
    return Reference(name, "train", images, sha256, sha256, 0, None, 0, fit_images=images, fit_labels=None)
