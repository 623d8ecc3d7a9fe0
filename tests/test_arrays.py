"""Array files: what was saved is read, and a schema, bounds and damage are one clear line."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest

from kgan.arrays import Array, read_npy, read_npz
from kgan.errors import UserError
from tests.fuzzing import damaged, fuzz, only_user_errors

ARRAYS = {
    "images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "text": np.array('{"a": 1}'),
    "number": np.float32(2.5),
    "big": np.arange(5, dtype=">i4"),
    "empty": np.zeros((0, 4)),
}


def npz(compressed=False, **arrays) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def npy(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def zipped(member: bytes, method=zipfile.ZIP_DEFLATED, name="a.npy") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, member)
    return buffer.getvalue()


def with_header(text: str, content: bytes = b"") -> bytes:
    """An .npy of version 1.0 whose header is this text."""
    header = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize("compressed", [False, True])
def test_what_was_saved_is_read(tmp_path, compressed):
    (tmp_path / "a.npz").write_bytes(npz(compressed, **ARRAYS))
    read = read_npz(tmp_path / "a.npz")
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert np.array_equal(read[name], array) and read[name].shape == np.shape(array)
        assert read[name].dtype.isnative
        np.save(tmp_path / f"{name}.npy", array)
        assert np.array_equal(read_npy(tmp_path / f"{name}.npy"), array)


def test_a_schema_names_what_is_read(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz(**ARRAYS, objects=np.array([{}], object)))
    schema = {"images": Array(np.integer, (None, 3, 4)), "text": Array(np.str_, ()), "labels": Array(optional=True)}
    assert list(read_npz(tmp_path / "a.npz", schema)) == ["images", "text"]


@pytest.mark.parametrize(
    "schema, words",
    [
        ({"labels": Array()}, "no array called labels .arrays in it: images, columns, "),
        ({"images": Array(np.uint8, (None, 3, 3))}, r"images is uint8 \(2, 3, 4\); it must be uint8 \(any, 3, 3\)"),
        ({"images": Array(np.uint8, (None,))}, r"it must be uint8 \(any,\)"),
        ({"columns": Array(np.uint8)}, r"columns is float64 \(2, 3\); it must be uint8"),
        ({"text": Array(np.number)}, "text is <U8"),
    ],
)
def test_other_arrays_are_refused(tmp_path, schema, words):
    (tmp_path / "a.npz").write_bytes(npz(**ARRAYS))
    with pytest.raises(UserError, match=f"a.npz: .*{words}"):
        read_npz(tmp_path / "a.npz", schema)


def _encrypted(content: bytes) -> bytes:
    """The general-purpose flag of the only member, locally and in the directory, says that it is encrypted."""
    content = bytearray(content)
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def _announcing(size: int) -> bytes:
    """A member that says it is larger than it is."""
    content = bytearray(zipped(npy(np.zeros(9, np.uint8))))
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<I", size)
    return bytes(content)


SHAPE = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }"


@pytest.mark.parametrize(
    "content, words",
    [
        (npz(a=np.array([{}], object)), "a is of type object: only plain numbers and strings"),
        (npz(a=np.zeros(3, [("x", "u1")])), "a is of type"),
        (_encrypted(zipped(npy(np.zeros(9)))), "a in it is encrypted"),
        (zipped(npy(np.zeros(9)), zipfile.ZIP_LZMA), "compressed by another method"),
        (zipped(npy(np.zeros(9)), zipfile.ZIP_BZIP2), "compressed by another method"),
        (_announcing(2**32 - 2), "announce 4,294,967,294 bytes, more than"),
        (zipped(with_header(SHAPE % "(10**12,)")), "not a readable .npz"),
        (zipped(with_header(SHAPE % f"({10**12},)")), "does not fit its"),
        (zipped(with_header(SHAPE % f"({10**30}, {10**30})")), "does not fit its"),
        (zipped(with_header(SHAPE % "(-1,)")), "does not fit its"),
        (zipped(with_header(SHAPE % "(3,)", b"12")), "does not fit its"),
        (zipped(with_header(SHAPE % "(3,)", b"1234")), "does not fit its"),
        (zipped(with_header("{'descr': '<U2', 'fortran_order': False, 'shape': (1,), }", b"\xff" * 8)), "is not text"),
        (zipped(with_header("(" * 9000)), "not a readable .npz"),
        (zipped(with_header("{'a': " * 500 + "'")), "not a readable .npz"),
        (zipped(with_header("'\\")), "not a readable .npz"),
        (zipped(b"\x93NUMPY\x03\x00" + bytes(20)), r"version \(3, 0\)"),
        (zipped(b"not an array"), "not a readable .npz"),
        (zipped(npy(np.zeros(9)))[:-30], "not a readable .npz"),
        (b"", "not a readable .npz"),
        (b"PK no zip", "not a readable .npz"),
    ],
)
def test_hostile_archives_are_refused_in_one_line(tmp_path, content, words):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=f"a.npz: .*{words}") as error:
        read_npz(tmp_path / "a.npz")
    assert str(error.value).isprintable()


def test_a_changed_byte_does_not_go_unnoticed(tmp_path):
    content = bytearray(npz(a=np.zeros(1000, np.uint8)))
    content[600] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match="Bad CRC-32"):
        read_npz(tmp_path / "a.npz")


def test_a_bound_holds_for_all_arrays_together(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz(a=np.zeros(600, np.uint8), b=np.zeros(600, np.uint8)))
    with pytest.raises(UserError, match="announce 1,456 bytes, more than 1,400"):
        read_npz(tmp_path / "a.npz", max_bytes=1400)
    assert len(read_npz(tmp_path / "a.npz", {"a": Array()}, max_bytes=1400)) == 1


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_only_regular_files_are_read(tmp_path, make):
    make(tmp_path / "a")
    for read in (read_npz, read_npy):
        with pytest.raises(UserError, match="a: not a regular file"):
            read(tmp_path / "a")
    with pytest.raises(UserError, match="nowhere: No such file"):
        read_npz(tmp_path / "nowhere")


MEMBERS = [npy(array) for array in ARRAYS.values()] + [npy(np.array([{}], object), allow_pickle=True)]


@fuzz(damaged(npz(**ARRAYS), npz(compressed=True, **ARRAYS), zipped(MEMBERS[0], zipfile.ZIP_LZMA)))
def test_damaged_archives(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    for schema in (None, {"images": Array(np.uint8, (None, 3, 4)), "text": Array(np.str_, ())}):
        with only_user_errors():
            {name: str(array) for name, array in read_npz(path, schema).items()}


@fuzz(damaged(*MEMBERS))
def test_damaged_members(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "damaged"
    for pack, read in ((zipped, read_npz), (bytes, read_npy)):
        path.write_bytes(pack(content))
        with only_user_errors():
            str(read(path))
