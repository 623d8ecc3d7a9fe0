"""The JSON beside a GIF, which can hold no marks of its own: where it is, and whether GIF and JSON belong together."""

import hashlib
import json
import os
from pathlib import Path

from kgan.errors import UserError
from kgan.files import read_bounded
from kgan.provenance.check import CheckResult, Verdict
from kgan.provenance.marks import COMPOSITE, GENERATED, read_record, sidecar
from kgan.provenance.png import MAX_FILE_BYTES, MAX_TEXT_BYTES
from kgan.text import one_line


def sidecar_path(path: str | os.PathLike) -> Path:
    """Where the marks of the GIF at `path` are: NAME.gif.json."""
    return Path(f"{os.fspath(path)}.json")


def check_animation(path: str | os.PathLike) -> CheckResult:
    """Checks a GIF with the JSON beside it; never raises for what the two hold. The frames are not decoded."""
    try:
        content = read_bounded(path, MAX_FILE_BYTES)
        if not content.startswith((b"GIF87a", b"GIF89a")):
            raise UserError(f"{path}: not a GIF")
        if not os.path.exists(sidecar_path(path)):  # false for a name that is too long
            return CheckResult(Verdict.INCONSISTENT, (f"it has no kgan marks ({one_line(sidecar_path(path).name)})",))
        text = read_bounded(sidecar_path(path), MAX_TEXT_BYTES)
    except UserError as error:
        return CheckResult(Verdict.CANNOT_TELL, (one_line(error, 400),))
    try:
        record = json.loads(text)
        marks, producer = read_record(record)
        source_type = record["xmp"]["Iptc4xmpExt:DigitalSourceType"]
        expected = sidecar(marks, record["file"], content, source_type, producer)
    except Exception:  # anything may stand in a stranger's JSON
        return CheckResult(Verdict.INCONSISTENT, ("the JSON beside it is not what kgan writes",))
    reasons = []
    if record.get("file_sha256") != hashlib.sha256(content).hexdigest():
        reasons.append("the file is not the one that was marked")
    elif expected.encode("ascii") != text or source_type not in (GENERATED, COMPOSITE):
        reasons.append("the JSON beside it is not what kgan writes")
    verdict = Verdict.INCONSISTENT if reasons else Verdict.CONSISTENT
    return CheckResult(verdict, tuple(reasons), marks, source_type, content=content)
