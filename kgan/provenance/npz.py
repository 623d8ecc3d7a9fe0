"""Generated images as the arrays of one .npz: samples, labels and marks, written and checked as a whole."""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np

from kgan.arrays import Array, read_npz
from kgan.errors import UserError
from kgan.files import read_bounded
from kgan.provenance.check import CheckResult, Verdict
from kgan.provenance.marks import GENERATED, Marks, pixels_digest, pixels_sha256, read_record, xmp_fields
from kgan.provenance.png import MAX_FILE_BYTES
from kgan.text import one_line

_SCHEMA = {
    "samples": Array(np.uint8, (None, None, None, None)),
    "labels": Array(np.int64, (None,)),
    "marks": Array(np.str_, ()),
}


def write(
    stream: BinaryIO,
    shape: tuple[int, ...],
    batches: Iterable[np.ndarray],
    labels: np.ndarray,
    marks: Callable[[str], Marks],
    producer: str = "",
) -> None:
    """Writes images (uint8, of `shape` (n, h, w, c) together), int64 labels (n,), and their marks as a JSON text.

    `marks` is called with the hash of all pixels, once they are written. The same arrays are the same file.
    """
    digest = pixels_digest(shape)

    def pixels() -> Iterator[bytes]:
        for images in batches:
            content = images.tobytes()
            digest.update(content)
            yield content

    with zipfile.ZipFile(stream, "w") as archive:
        _write_member(archive, "samples", shape, "|u1", pixels())
        _write_member(archive, "labels", labels.shape, "<i8", [labels.astype("<i8").tobytes()])
        record = marks(digest.hexdigest())
        text = json.dumps({"kgan": record.to_dict(), "xmp": xmp_fields(record, producer=producer)})
        _write_member(archive, "marks", (), f"<U{len(text)}", [text.encode("utf-32-le")])


def read_marks(path: str | os.PathLike) -> Marks:
    """The marks in an .npz, as they stand there. Raises UserError if there are none."""
    text = str(read_npz(path, {"marks": _SCHEMA["marks"]}, MAX_FILE_BYTES)["marks"])
    return _parse(text)[0]


def check_npz(path: str | os.PathLike) -> CheckResult:
    """Checks an .npz of `kgan.sample` with itself; never raises for what the file holds.

    It must be byte for byte what its own arrays and marks are written as, so that it has room for nothing else.
    """
    try:
        content = read_bounded(path, MAX_FILE_BYTES)
        schema = {name: Array(want.dtype, want.shape, True) for name, want in _SCHEMA.items()}
        arrays = read_npz(path, schema, MAX_FILE_BYTES)
    except UserError as error:
        return CheckResult(Verdict.CANNOT_TELL, (one_line(error, 400),))
    if set(arrays) != set(_SCHEMA):
        return CheckResult(Verdict.INCONSISTENT, ("it has no kgan marks",))
    samples, labels = arrays["samples"], arrays["labels"]
    expected = io.BytesIO()
    try:
        marks, producer = _parse(str(arrays["marks"]))
        write(expected, samples.shape, [samples], labels, lambda _: marks, producer)
    except UserError as error:
        return CheckResult(Verdict.INCONSISTENT, (str(error),))
    reasons = []
    if pixels_sha256(samples) != marks.pixels_sha256:
        reasons.append("the pixels are not the ones that were marked")
    if expected.getvalue() != content:
        reasons.append("the file is not what kgan writes of these arrays and marks")
    verdict = Verdict.INCONSISTENT if reasons else Verdict.CONSISTENT
    return CheckResult(verdict, tuple(reasons), marks, GENERATED, samples, labels=labels)


def _parse(text: str) -> tuple[Marks, str]:
    """The marks and the producer's name, "" without one. Raises UserError."""
    try:
        return read_record(json.loads(text))
    except Exception:  # anything may stand in a stranger's JSON
        raise UserError("its marks are not what kgan writes") from None


def _write_member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: str, parts: Iterable[bytes]
) -> None:
    """An array in pieces; the date is fixed, so that the same arrays are the same file."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for part in parts:
            member.write(part)
