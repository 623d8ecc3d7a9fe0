"""Array files of anyone (.npz and .npy), read within bounds: nothing is unpickled, and what an array would take is
known and checked before any of it is read."""

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from kgan.errors import UserError
from kgan.files import open_regular
from kgan.text import one_line

MAX_BYTES = 16 << 30
_MAX_RATIO = 1040  # bytes that one byte of deflate can stand for, and a little
_PIECE = 1 << 20
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Stream(Protocol):
    """What is read from: a file, a member of a zip, or a decompressed stream."""

    def read(self, size: int = -1, /) -> bytes: ...

    def tell(self) -> int: ...


@dataclass(frozen=True)
class Array:
    """What an array must be: of this type or kind of type (np.uint8, np.integer, np.str_), and of this shape, in which
    None stands for any length. A `shape` of None is any."""

    dtype: type[Any] = np.generic
    shape: tuple[int | None, ...] | None = None
    optional: bool = False

    def refusal(self, dtype: np.dtype, shape: tuple[int, ...]) -> str:
        """Why an array of this type and shape will not do, or ""."""
        fits = self.shape is None or (
            len(shape) == len(self.shape) and all(want in (None, n) for n, want in zip(shape, self.shape, strict=True))
        )
        if np.issubdtype(dtype, self.dtype) and fits:
            return ""
        wanted = "" if self.shape is None else f" {self._sides()}"
        return f"is {dtype} {shape}; it must be {self.dtype.__name__.strip('_')}{wanted}"

    def _sides(self) -> str:
        sides = ["any" if side is None else str(side) for side in self.shape or ()]
        return f"({', '.join(sides)}{',' * (len(sides) == 1)})"


def read_npz(
    path: str | os.PathLike, schema: Mapping[str, Array] | None = None, max_bytes: int = MAX_BYTES
) -> dict[str, np.ndarray]:
    """The arrays of an .npz that `schema` names, or all of them without one; others are not even looked at.

    Raises UserError naming the file and the array if it cannot be read, an array is missing or of another type or
    shape, or all of them together would take more than `max_bytes`.
    """
    with open_regular(path) as stream, _in_one_line(path, "not a readable .npz"), zipfile.ZipFile(stream) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if schema is None:
            schema = dict.fromkeys(members, Array())
        missing = [name for name, wanted in schema.items() if name not in members and not wanted.optional]
        if missing:
            there = ", ".join(members) or "none"
            raise UserError(f"it has no array called {', '.join(missing)} (arrays in it: {there})")
        wanted = {name: members[name] for name in schema if name in members}
        _check_sizes(wanted, os.fstat(stream.fileno()).st_size, max_bytes)
        return {name: _read_member(archive, info, name, schema[name]) for name, info in wanted.items()}


def read_npy(path: str | os.PathLike) -> np.ndarray:
    """The array of an .npy file. Raises UserError as `read_npz` does."""
    with open_regular(path) as stream, _in_one_line(path, "not a readable .npy"):
        size = os.fstat(stream.fileno()).st_size
        if size > MAX_BYTES:
            raise UserError(f"it takes {size:,} bytes, and at most {MAX_BYTES:,} are read")
        return _read_array(stream, size, "the array", Array())


@contextlib.contextmanager
def opened(
    path: str | os.PathLike, names: Sequence[str], wanted: Array, max_ratio: float
) -> Iterator[tuple[tuple[int, ...], np.dtype, Stream]]:
    """An array to be read in parts: its shape, its type, and the stream of its elements in C order.

    Of an .npz it is the first of `names` that is there, if it unpacks to at most `max_ratio` times the file's bytes.
    Raises UserError as `read_npz` does, also for what is raised while the stream is read.
    """
    with open_regular(path) as file, _in_one_line(path, "not a readable array file"):
        size = os.fstat(file.fileno()).st_size
        if Path(path).suffix.lower() == ".npy":
            yield *_read_header(file, size, "the array", wanted), file
            return
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            name = next((name for name in names if name in members), None)
            if name is None:
                there = ", ".join(members) or "none"
                raise UserError(f"it has no array called {' or '.join(names)} (arrays in it: {there})")
            length = members[name].file_size
            if length > max_ratio * size:
                raise UserError(
                    f"{name} announces {length:,} bytes, more than {max_ratio:g} times the file's: "
                    "save it uncompressed, with np.savez"
                )
            _check_sizes({name: members[name]}, size, length)
            with archive.open(members[name]) as stream:
                yield *_read_header(stream, length, name, wanted), stream


def read_exactly(stream: Stream, count: int) -> np.ndarray:
    """`count` bytes as uint8 (count,), read piece by piece into their place. Raises EOFError if there are fewer."""
    content = np.empty(count, np.uint8)
    view = content.data
    done = 0
    while done < count:
        piece = stream.read(min(_PIECE, count - done))
        if not piece:
            raise EOFError(f"it ends after {done:,} of {count:,} bytes")
        view[done : done + len(piece)] = piece
        done += len(piece)
    return content


@contextlib.contextmanager
def _in_one_line(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Turns whatever the block raises into a UserError of one line that names the file.

    zipfile, zlib and NumPy's header parser raise nearly anything on damaged files, MemoryError included.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {one_line(error, 400)}") from None
    except Exception as error:
        raise UserError(f"{path}: {what} ({one_line(error) or type(error).__name__})") from None


def _check_sizes(members: Mapping[str, zipfile.ZipInfo], file_size: int, max_bytes: int) -> None:
    for name, info in members.items():
        if info.flag_bits & 1:
            raise UserError(f"{name} in it is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{name} in it is compressed by another method than deflate")
    total = sum(info.file_size for info in members.values())
    if total > max_bytes or total > _MAX_RATIO * file_size:
        raise UserError(f"its arrays announce {total:,} bytes, more than {min(max_bytes, _MAX_RATIO * file_size):,}")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, wanted: Array) -> np.ndarray:
    with archive.open(info) as stream:
        return _read_array(stream, info.file_size, name, wanted)


def _read_array(stream: Stream, size: int, name: str, wanted: Array) -> np.ndarray:
    """An array in .npy format that must fill the `size` bytes of its stream."""
    shape, dtype, order = _read_any_header(stream, size, name, wanted)
    length = math.prod(shape) * dtype.itemsize
    content = read_exactly(stream, length)
    if stream.read(1):  # also checks the sum at the end of a zip's member
        raise UserError(f"{name} is longer than it announces")
    if dtype.kind == "U" and length and content.view(np.dtype("u4").newbyteorder(dtype.byteorder)).max() > 0x10FFFF:
        raise UserError(f"{name} is not text")
    array = content.view(dtype).reshape(shape, order=order)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: Stream, size: int, name: str, wanted: Array) -> tuple[tuple[int, ...], np.dtype]:
    shape, dtype, order = _read_any_header(stream, size, name, wanted)
    if order == "F":
        raise UserError(f"{name} is in Fortran order: save it again from np.ascontiguousarray")
    return shape, dtype


def _read_any_header(
    stream: Stream, size: int, name: str, wanted: Array
) -> tuple[tuple[int, ...], np.dtype, Literal["C", "F"]]:
    """Shape, type and order of an array that must fill the `size` bytes of its stream."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADER_READERS:
        raise UserError(f"{name} is written in version {version} of the .npy format, not 1.0 or 2.0")
    shape, fortran_order, dtype = _HEADER_READERS[version](stream)
    if dtype.hasobject or dtype.names or dtype.subdtype:
        raise UserError(f"{name} is of type {dtype}: only plain numbers and strings are read")
    if refusal := wanted.refusal(dtype, shape):
        raise UserError(f"{name} {refusal}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise UserError(f"{name} is of shape {shape}, which does not fit its {size:,} bytes")
    return shape, dtype, "F" if fortran_order else "C"
