"""What is known of a data set before its files are opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kgan.pictures.pictures import Pictures, Shape

Reader = Callable[[Path, str, Shape], tuple[np.ndarray, np.ndarray]]


class Download(NamedTuple):
    """A file and the sha256 it must have."""

    file_name: str
    address: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """What is known of a data set before its files are opened; everything in kgan that depends on it reads it here.

    `license` is an SPDX id, or "" where none is stated. `image_shape` (h, w, c) is None where the user chooses it, and
    `pictures` then finds what is to be decoded, by the name and --data_dir; the user's `own` need a card that permits
    it. A record stands for many data sets if it has a `usage`, the form of their names. `splits` has the number of
    images of "train" and, if there are test images, of "test"; `train_sha256` is the `dataset_sha256` of the former, by
    which another data set that lies in the same form is told apart. `forms` are the ways it can lie on a disk: the name
    of a file or folder ("[.gz]" at its end stands for both) and its reader, which takes that place (the folder around a
    "[.gz]"), a split and the image shape. A data set that comes with a Python package names it, and the extra of kgan
    that installs it; its only form is a file in that package. `hub_id` is its name on the Hugging Face Hub.
    """

    name: str
    license: str
    origin: str
    holder: str
    image_shape: Shape | None = None
    pictures: Callable[[str, str | None], Pictures] | None = None
    own: bool = False
    usage: str = ""
    splits: Mapping[str, int] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    train_sha256: str = ""
    forms: Mapping[str, Reader] = field(default_factory=dict)
    downloads: tuple[Download, ...] = ()
    package: str = ""
    extra: str = ""
    hub_id: str = ""
    citation: str = ""

    @property
    def has_test(self) -> bool:
        return "test" in self.splits
