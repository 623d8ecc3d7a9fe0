"""An .npy or .npz file of images as a data set, read a piece at a time."""

import contextlib
import math
from collections.abc import Iterator

import numpy as np

from kgan.arrays import Array, Stream, opened, read_exactly, read_npz
from kgan.errors import UserError
from kgan.pictures.picture import MAX_PIXELS, MAX_SIDE
from kgan.pictures.picture_file import MAX_CLASSES, PictureFile
from kgan.pictures.pictures import Shape, numbered

NAMES = ("samples", "images", "arr_0")
LABELS = "labels"
MIN_SIDE = 16
_MAX_RATIO = 30  # of the pixels to a file's bytes: photographs get to 3, digits to 5
_MAX_LABELS = 1 << 32  # bytes
_PIECE = 1 << 22  # bytes


class ArrayFile(PictureFile):
    """uint8 images (n, h, w, 1 or 3), or (n, h, w) if grey, in an .npy, or in an .npz under one of NAMES, there perhaps
    with `labels` (n,), whole numbers from 0.

    Raises UserError, naming the file and what is wrong with it, when it is read.
    """

    has_metadata = False

    def own_shape(self) -> Shape:
        with self._opened() as (shape, _):
            return shape[1:]

    def __len__(self) -> int:
        with self._opened() as (shape, _):
            return shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        with self._opened() as ((count, *shape), stream):
            rows = max(1, _PIECE // math.prod(shape))
            for start in range(0, count, rows):
                piece = read_exactly(stream, min(rows, count - start) * math.prod(shape))
                yield from piece.reshape(-1, *shape)
            if stream.read(1):  # also checks the sum at the end of an .npz's member
                raise UserError("it is longer than it announces")

    def labels(self, rows: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
        if self.place.suffix.lower() == ".npy":
            return None, ()
        wanted = Array(np.integer, (len(self),), optional=True)
        found = read_npz(self.place, {LABELS: wanted}, _MAX_LABELS).get(LABELS)
        if found is None:
            return None, ()
        least, most = int(found.min()), int(found.max())
        if least < 0 or most >= MAX_CLASSES:
            raise UserError(f"{self.place}: labels from {least} to {most}, not from 0 to {MAX_CLASSES - 1}")
        return numbered(found[rows])

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[tuple[int, int, int, int], Stream]]:
        """The shape (n, h, w, c), and the stream of all pixels."""
        with opened(self.place, NAMES, Array(np.uint8), _MAX_RATIO) as (shape, _, stream):
            count, height, width, channels = shape if len(shape) == 4 else (*shape, 1) if len(shape) == 3 else (0,) * 4
            if channels in (1, 3) and not count:
                raise UserError("there are no images in it")
            if channels not in (1, 3):
                raise UserError(f"its array is of shape {shape}; it must be (n, h, w, 1 or 3), or (n, h, w) if grey")
            if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
                least, most = f"{MIN_SIDE} x {MIN_SIDE}", f"{MAX_PIXELS:,} pixels"
                raise UserError(f"images of {height} x {width}; those from {least} to {most} are read")
            yield (count, height, width, channels), stream
