"""A trained generator as files for others: a .keras archive that is always the same bytes, and a SavedModel."""

import io
import json
import tempfile
import zipfile
from pathlib import Path

import keras
from absl import logging

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file can hold
_DATE_SAVED = "1980-01-01@00:00:00"


def keras_archive(model: keras.Model) -> bytes:
    """The model as a .keras file that plain Keras reads; the same weights give the same bytes.

    Keras writes the time into the zip directory and into metadata.json, and numbers shared objects by their address in
    memory: all three are put in order.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    members["metadata.json"] = _json(json.loads(members["metadata.json"]) | {"date_saved": _DATE_SAVED})
    members["config.json"] = _json(_renumbered(json.loads(members["config.json"]), {}))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), members[name])
    return buffer.getvalue()


def write_saved_model(model: keras.Model, folder: Path) -> None:
    """The model as a SavedModel whose `serve(z)`, or `serve(z, labels)` of a conditional one, gives the images."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells of every step on the way
    try:
        archive = keras.export.ExportArchive()
        archive.track(model)
        signature = [
            keras.InputSpec(shape=tensor.shape, dtype=tensor.dtype, name=tensor.name) for tensor in model.inputs
        ]
        archive.add_endpoint("serve", lambda *inputs: model(_one_or_all(inputs), training=False), signature)
        archive.write_out(folder, verbose=False)
    finally:
        logging.set_verbosity(level)


def _one_or_all(inputs: tuple):
    """What a functional model with these inputs is called with."""
    return inputs[0] if len(inputs) == 1 else list(inputs)


def _json(content: dict) -> bytes:
    return json.dumps(content, sort_keys=True).encode("ascii")


def _renumbered(value, numbers: dict[int, int]):
    """The configuration with its shared objects numbered in the order in which they come."""
    if isinstance(value, list):
        return [_renumbered(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: numbers.setdefault(item, len(numbers)) if key == "shared_object_id" else _renumbered(item, numbers)
        for key, item in value.items()
    }
