"""What the card of an exported generator says of it: facts of its run, its data and its scores."""

import dataclasses

from kgan.choices import LOSSES
from kgan.config import TrainConfig
from kgan.runs import results
from kgan.runs.generator import TrainedGenerator
from kgan.runs.rundir import RunDir
from kgan.training.plan import chosen


def card_facts(trained: TrainedGenerator, run: RunDir, license: str, checkpoint_choice: str) -> dict:
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
        "chosen": chosen(config, dataset) or {"settings": "none but the defaults"},
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


def _objective(config: TrainConfig) -> str:
    r1_weight, r2_weight, _ = config.penalties
    extras = {
        "R1 penalty, weight": r1_weight,
        "R2 penalty, weight": r2_weight,
        "gradient penalty, weight": config.gp_weight,
        "one-sided label smoothing": config.label_smoothing,
    }
    return ", ".join([LOSSES[config.loss].words, *(f"{name} {value:g}" for name, value in extras.items() if value)])
