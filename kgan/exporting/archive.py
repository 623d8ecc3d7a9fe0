"""A trained generator as files for others: a .keras archive that is always the same bytes, the facts of its card."""

import dataclasses
import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import keras
from absl import logging

from kgan.choices import LOSSES
from kgan.config import TrainConfig
from kgan.runs import results
from kgan.runs.generator import TrainedGenerator
from kgan.runs.rundir import RunDir
from kgan.training.plan import defaults

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


def facts(trained: TrainedGenerator, run: RunDir, license: str, checkpoint_choice: str) -> dict:
    """What `kgan.exporting.modelcard` is to say; nothing in it depends on when, or from where, it is asked."""
    config, record = trained.config, trained.record
    dataset = record.get("dataset", {})
    shown = trained.step * config.d_steps * config.batch_size
    num_train = dataset.get("num_train") or 0
    epoch = num_train // config.batch_size
    height, width, channels = trained.generator.output_shape[1:]
    return {
        "name": f"{dataset.get('name', config.dataset)}-{config.arch}-{config.loss}",
        "license": license,
        "run_id": record.get("id"),
        "checkpoint_sha256": trained.checkpoint_sha256,
        "checkpoint_choice": checkpoint_choice,
        "ema": trained.ema,
        "step": trained.step,
        "epochs": round(trained.step * config.d_steps / epoch, 3) if epoch else None,
        "passes_per_image": round(shown / num_train, 3) if num_train else None,
        "versions": record.get("versions"),
        "device": _device(record.get("device") or {}),
        "config": dataclasses.asdict(config),
        "chosen": _chosen(config, dataset),
        "architecture": {
            "Networks": config.arch + (", conditional on the class" if trained.num_classes else ""),
            "Generator parameters": trained.generator.count_params(),
            "Output (height, width, channels)": [height, width, channels],
        },
        "objective": _objective(config),
        "dataset": dataset,
        "ancestors": record.get("ancestors", []),
        "evaluation": _result(trained, run, results.EVALUATION),
        "audit": _result(trained, run, results.AUDIT),
    }


def _result(trained: TrainedGenerator, run: RunDir, name: str) -> dict | None:
    """The run's evaluation or audit, unless it says that it is about another checkpoint or its other weights."""
    found = results.read(run, name)
    weights = {"checkpoint_sha256": trained.checkpoint_sha256, "ema": trained.ema}
    return found if found and results.is_of(found, **weights) else None


def _device(device: dict) -> str | None:
    if not device.get("names"):
        return None
    names = ", ".join(str(name).removeprefix("/physical_device:") for name in device["names"])
    return f"{names}; {device.get('replicas')} replica(s), {device.get('precision')}"


def _chosen(config: TrainConfig, card: Mapping) -> dict:
    """The settings that are not what the program would have chosen for these data."""
    usual = defaults(config, card)
    found = {name: value for name, value in dataclasses.asdict(config).items() if value != usual[name]}
    return found if found else {"settings": "none but the defaults"}


def _objective(config: TrainConfig) -> str:
    r1_weight, r2_weight, _ = config.penalties
    extras = {
        "R1 penalty, weight": r1_weight,
        "R2 penalty, weight": r2_weight,
        "gradient penalty, weight": config.gp_weight,
        "one-sided label smoothing": config.label_smoothing,
    }
    return ", ".join([LOSSES[config.loss].words, *(f"{name} {value:g}" for name, value in extras.items() if value)])
