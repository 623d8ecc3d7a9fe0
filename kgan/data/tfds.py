"""Data sets of TensorFlow Datasets, "tfds:NAME[:SPLIT]": what it says of them, and their pictures as it loads them.

Loading needs TensorFlow running, which a run has to set up for itself first: it is done in a process of its own, which
hands the encoded pictures on through a pipe.
"""

import contextlib
import importlib.util
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from kgan.data.licensing.card import normal_license
from kgan.errors import UserError
from kgan.pictures.manifest import hash_files
from kgan.pictures.picture import Encoded
from kgan.pictures.pictures import Pictures, Shape
from kgan.text import one_line

USAGE = "tfds:NAME[:SPLIT]"
_HEAD = struct.Struct("<qQ")  # before each picture: its label, and the number of its bytes
_MAX_BYTES = 1 << 28  # of one picture
_TEXT = 2000  # characters of what is said of a data set


class TfdsPictures(Pictures):
    """The pictures of one split ("train" by default), in the order in which they are stored, with the labels of its
    ClassLabel, if there is one.

    Prepared, downloaded if need be, into `data_dir`, else where TensorFlow Datasets keeps its own. Raises UserError if
    the package is missing, it knows no such data set or split, or the data set is not one of pictures.
    """

    has_metadata = False

    def __init__(self, name: str, data_dir: str | None):
        self._title, (self._name, self._split) = name, _parsed(name)
        self._data_dir = data_dir
        builder = _builder(self._name, data_dir)
        if not builder.info.splits:
            _in_own_process(self._title, "prepare", self._name, data_dir or "")
            builder = _builder(self._name, data_dir)
        self._info = builder.info
        self._image, self._label = _features(self._title, self._info)
        try:
            self._count = self._info.splits[self._split].num_examples
        except ValueError as error:
            raise UserError(f"{name}: {one_line(error)}") from None
        self._labels: list[int] = []
        super().__init__(Path(builder.data_dir), self._split)

    @property
    def about(self) -> dict[str, Any]:
        license = self._info.redistribution_info.license.strip()
        return {
            "license": _as_spdx(license),
            "origin": one_line(self._info.homepage or f"TensorFlow Datasets, {self._info.full_name}", _TEXT),
            "holder": "see the citation" if self._info.citation else "not said",
            "citation": " ".join(one_line(self._info.citation.replace("\n", " "), _TEXT).split()),
        }

    def files(self) -> list[str]:
        return sorted(str(path) for path in self.place.rglob("*") if path.is_file())

    def files_sha256(self) -> str:
        return hash_files(self.place, [Path(file).relative_to(self.place).as_posix() for file in self.files()])

    def own_shape(self) -> Shape | None:
        shape = self._info.features[self._image].shape
        if None in shape:
            return None
        height, width, channels = shape
        return height, width, 1 if channels < 3 else 3  # without an alpha channel

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Encoded]:
        self._labels = []
        arguments = ("read", self._name, self._data_dir or "", self._split, self._image, self._label)
        with _own_process(self._title, *arguments) as stream:
            while len(head := stream.read(_HEAD.size)) == _HEAD.size:
                label, length = _HEAD.unpack(head)
                name = f"{self._title}, picture {len(self._labels)}"
                if length > _MAX_BYTES:
                    raise UserError(f"{name}: larger than {_MAX_BYTES >> 20} MiB")
                if len(content := stream.read(length)) < length:
                    break  # its loader ended early; its last words are raised below
                self._labels.append(label)
                yield Encoded(name, content)
        if len(self._labels) != self._count:
            raise UserError(f"{self._title}: {len(self._labels):,} pictures came, of {self._count:,}")

    def labels(self, rows: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
        labels = np.array(self._labels, np.int64)[rows]
        if not self._label or not len(labels) or labels.min() < 0:  # -1 stands for a label that is withheld
            return None, ()
        return labels, tuple(self._info.features[self._label].names)


def _parsed(name: str) -> tuple[str, str]:
    _, dataset, split = [*name.split(":", 2), "train"][:3]
    if not re.fullmatch(r"\w[\w./-]*", dataset):
        raise UserError(f"--dataset={one_line(name, 80)}: must be {USAGE}, as in tfds:oxford_flowers102:train")
    return dataset, split or "train"


def _as_spdx(license: str) -> str:
    """What a data set says of its licence, as an SPDX id, or as a LicenseRef of its words."""
    with contextlib.suppress(UserError):
        return normal_license(license)
    return "LicenseRef-" + re.sub(r"[^A-Za-z0-9.]+", "-", license)[:80].strip("-")


def _builder(name: str, data_dir: str | None) -> Any:
    if importlib.util.find_spec("tensorflow_datasets") is None:
        raise UserError(f"tfds:{name} needs TensorFlow Datasets: pip install 'kgan[tfds]'")
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # of its registry, of files, or of the data set's own code
        raise UserError(f"tfds:{name}: {one_line(str(error).partition(chr(10))[0]) or type(error).__name__}") from None


def _features(title: str, info: Any) -> tuple[str, str]:
    """The names of the feature that is the picture, and of that which is its class, or ""."""
    import tensorflow_datasets as tfds

    features = dict(info.features.items()) if isinstance(info.features, tfds.features.FeaturesDict) else {}
    favourites = info.supervised_keys or ()
    found = []
    for kind in (tfds.features.Image, tfds.features.ClassLabel):
        names = [name for name, feature in features.items() if type(feature) is kind]
        found.append(next((name for name in names if name in favourites or len(names) == 1), ""))
    image, label = found
    if not image:
        raise UserError(f"{title}: no single one of its features ({', '.join(features)}) is the picture")
    if features[image].dtype not in (np.uint8, np.uint16):
        raise UserError(f"{title}: its pictures are {features[image].dtype}, not uint8")
    return image, label


@contextlib.contextmanager
def _own_process(title: str, *arguments: str) -> Iterator[IO[bytes]]:
    """What this module, run as a program, writes to stdout. Raises UserError with its last words if it fails."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-P", "-m", "kgan.data.tfds", *arguments]  # -P: nothing is imported from this folder
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, env=environment) as process,
    ):
        assert process.stdout
        try:
            yield process.stdout
        except BaseException:
            process.kill()
            raise
        if process.wait():
            messages.seek(0)
            lines = messages.read().decode("utf-8", "replace").strip().splitlines()
            raise UserError(f"{title}: {one_line(lines[-1] if lines else 'its loader failed', 400)}")


def _in_own_process(title: str, *arguments: str) -> None:
    with _own_process(title, *arguments) as stream:
        stream.read()


def _prepare(name: str, data_dir: str) -> None:
    _builder(name, data_dir or None).download_and_prepare()


def _read(output: IO[bytes], name: str, data_dir: str, split: str, image: str, label: str) -> None:
    """Writes every picture of a split, encoded as it is stored, after its label (-1: none)."""
    import tensorflow_datasets as tfds

    decoders = tfds.decode.PartialDecoding(
        {key: True for key in (image, label) if key}, decoders={image: tfds.decode.SkipDecoding()}
    )
    order = tfds.ReadConfig(interleave_cycle_length=1)
    builder = _builder(name, data_dir or None)
    for example in builder.as_dataset(split, decoders=decoders, read_config=order, shuffle_files=False):
        content = example[image].numpy()
        output.write(_HEAD.pack(int(example[label]) if label else -1, len(content)) + content)


def main(arguments: list[str]) -> None:
    """Prepares a data set, or writes its pictures to stdout, to which nobody else may write."""
    action, *rest = arguments
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)
        if action == "prepare":
            _prepare(*rest)
        else:
            _read(output, *rest)


if __name__ == "__main__":
    main(sys.argv[1:])
