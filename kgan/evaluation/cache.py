"""A folder of arrays that took long to compute: trained classifiers, principal components, features of a data set.

One npz file a key. It is written whole or not at all, holds its own key, and is read with allow_pickle=False; a file
that cannot be read, or holds another key, is computed anew. Nothing here is needed to be right, only to be fast: the
folder may be deleted at any time.
"""

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from kgan.arrays import read_npz
from kgan.data.view import Images
from kgan.errors import UserError
from kgan.files import cache_folder, exclusive, write_atomically

Arrays = dict[str, np.ndarray]

_HASHED_ROWS = 256


def sha256_of_arrays(*arrays: Images) -> str:
    """The sha256, in hexadecimal, over dtype, shape and bytes (C order) of the arrays, in turn, 256 rows at a time."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for start in range(0, len(array), _HASHED_ROWS):
            rows = np.ascontiguousarray(array[start : start + _HASHED_ROWS])
            digest.update(rows.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def cached(kind: str, key: Mapping[str, object], compute: Callable[[], Arrays]) -> Arrays:
    """The arrays of `compute()`, from the cache folder's file for (`kind`, `key`) if there is one; else they are saved.

    `key` is everything that the arrays depend on, as JSON values; change it when the computation changes. Of several
    processes at once one computes and the others wait for it. A killed one leaves nothing that is in the way.
    Raises UserError if the folder cannot be made; arrays that cannot be saved (disk full) are returned with a warning.
    """
    text = json.dumps({"kind": kind, **key}, sort_keys=True)
    path = cache_folder() / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"
    arrays = _read(path, text)
    if arrays is not None:
        return arrays
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the cache folder {path.parent} cannot be made ({error.strerror}): set KGAN_CACHE_DIR to another"
        ) from error
    with exclusive(path.with_suffix(".lock"), f"is computing {path.name}"):
        arrays = _read(path, text)
        if arrays is None:
            arrays = compute()
            _save(path, text, arrays)
    return arrays


def _save(path: Path, text: str, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, key=np.array(text), **arrays)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        logging.warning("%s is not saved, and will be computed again: %s", path, error.strerror)


def _read(path: Path, text: str) -> Arrays | None:
    """The arrays of a cache file, or None if it is absent, damaged or of another key."""
    if not path.is_file():
        return None
    try:
        arrays = read_npz(path)
        if str(arrays.pop("key", "")) == text:
            return arrays
        reason = f"{path}: it is of another key"
    except UserError as error:
        reason = str(error)
    logging.warning("a file of the cache cannot be used, and is computed again: %s", reason)
    return None
