"""A zip of pictures as StyleGAN's tools write it: PNGs of one size, not compressed again, and their labels."""

import contextlib
import functools
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

import numpy as np

from kgan.errors import UserError
from kgan.files import open_regular
from kgan.pictures.picture import MAX_PIXELS, Encoded, image_shape
from kgan.pictures.picture_file import MAX_CLASSES, PictureFile
from kgan.pictures.pictures import Shape, numbered
from kgan.text import one_line

LABELS = "dataset.json"
_MAX_LABELS = 1 << 28  # bytes
_PIXELS_A_BYTE = 100  # that the file may announce; StyleGAN's tools do not compress their PNGs, and stay below 1


class PictureZip(PictureFile):
    """The PNGs in a zip, ordered by name, all of the first one's size; none of the members is compressed.

    Their `labels` in dataset.json are pairs of a name and a whole number from 0, or null. Raises UserError, naming the
    file and what is wrong with it, when it is read.
    """

    def own_shape(self) -> Shape:
        with self._opened() as archive:
            return image_shape(self._read(archive, self._names[0]))

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Encoded]:
        height, width, _ = self.own_shape()
        allowed = MAX_PIXELS + _PIXELS_A_BYTE * os.path.getsize(self.place)
        if len(self) * height * width > allowed:
            raise UserError(f"{self.place}: its pictures announce more than {allowed:,} pixels")
        with self._opened() as archive:
            for name in self._names:
                yield self._read(archive, name, (width, height))

    def labels(self, rows: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
        by_name = self._labels_by_name()
        if by_name is None:
            return None, ()
        missing = [name for name in self._names if name not in by_name]
        if missing:
            raise UserError(f"{self.place}: {LABELS} has no label for {one_line(missing[0], 80)}")
        return numbered(np.array([by_name[name] for name in self._names], np.int64)[rows])

    @functools.cached_property
    def _names(self) -> list[str]:
        with self._opened() as archive:
            members = [info for info in archive.infolist() if _is_picture(info.filename)]
            if not members:
                raise UserError("it has no PNG in it: of other pictures, unpack it and give the folder")
            for info in members:
                if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                    name = one_line(info.filename, 80)
                    raise UserError(
                        f"{name} in it is compressed or encrypted, which StyleGAN's tools do not do: unpack it and "
                        "give the folder, or pack it again with zip -0"
                    )
            if sum(info.file_size for info in members) > os.path.getsize(self.place):
                raise UserError("its members announce more bytes than it has")
            return sorted({info.filename for info in members})

    def _labels_by_name(self) -> Mapping[str, int] | None:
        with self._opened() as archive:
            if LABELS not in archive.namelist():
                return None
            info = archive.getinfo(LABELS)
            if info.file_size > min(_MAX_LABELS, os.path.getsize(self.place)):
                raise UserError(f"{LABELS} in it is longer than {_MAX_LABELS >> 20} MiB, or compressed")
            try:
                pairs = json.loads(archive.read(info))["labels"]
                if pairs is None:
                    return None
                labels = {str(name): label for name, label in pairs}
            except (ValueError, KeyError, TypeError, RecursionError):
                raise UserError(f'{LABELS} in it is not {{"labels": [[name, number], ...]}} or null') from None
            if not all(type(label) is int and 0 <= label < MAX_CLASSES for label in labels.values()):
                raise UserError(f"the labels in its {LABELS} are not all whole numbers from 0 to {MAX_CLASSES - 1}")
            return labels

    def _read(self, archive: zipfile.ZipFile, name: str, size: tuple[int, int] | None = None) -> Encoded:
        """A picture; what is damaged has no content, and is refused when it is decoded."""
        try:
            content = archive.read(name)
        except Exception:  # zipfile raises nearly anything
            content = b""
        return Encoded(f"{self.place}: {one_line(name, 80)}", content, ("PNG",), size)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        with open_regular(self.place) as stream:
            try:
                with zipfile.ZipFile(stream) as archive:
                    yield archive
            except UserError as error:
                reason = str(error).removeprefix(f"{self.place}: ")
                raise UserError(f"{self.place}: {reason}") from None
            except Exception as error:  # zipfile raises nearly anything on damaged files
                raise UserError(
                    f"{self.place}: not a readable zip ({one_line(error) or type(error).__name__})"
                ) from None


def _is_picture(name: str) -> bool:
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and name.lower().endswith(".png")
