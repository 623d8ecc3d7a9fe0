"""The marks that any file of generated images claims, whatever its kind, unchecked."""

import json
from pathlib import Path

from kgan.errors import UserError
from kgan.files import read_bounded
from kgan.provenance import npz, png
from kgan.provenance.marks import Marks, read_marks
from kgan.provenance.png import MAX_TEXT_BYTES
from kgan.provenance.sidecars import sidecar_path


def marks_in(path: Path) -> Marks | None:
    """The marks in a PNG or an .npz, or beside a GIF; None if there are none, or they are not what kgan writes."""
    try:
        if path.suffix == ".gif":
            return Marks(**json.loads(read_bounded(sidecar_path(path), MAX_TEXT_BYTES))["kgan"])
        return npz.read_marks(path) if path.suffix == ".npz" else read_marks(png.read(path))[0]
    except (OSError, ValueError, TypeError, KeyError, RecursionError, UserError):
        return None
