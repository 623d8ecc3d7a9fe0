"""The hardware: which devices a run uses, in which precision, compiled or not."""

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.runs import environment


@dataclass(frozen=True)
class Machine:
    """What "auto" came to. `precision` is float32 or bfloat16; `strategy` places variables and runs replicas."""

    strategy: tf.distribute.Strategy
    precision: str
    xla: bool
    steps_per_call: int
    is_chief: bool


def choose(config: TrainConfig) -> Machine:
    """Sets TensorFlow up as `config` asks. Call it before anything else touches TensorFlow.

    Raises UserError if the global batch does not divide among the replicas, or XLA is asked for on several.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    strategy = _strategy(config.strategy, len(gpus))
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise UserError(f"--batch_size={config.batch_size} does not divide among {replicas} replicas")
    if config.xla == "on" and replicas > 1:
        raise UserError("--xla=on works on one device: leave it at auto, or take --strategy=single")
    return Machine(
        strategy,
        ("bfloat16" if _has_bfloat16(gpus) else "float32") if config.precision == "auto" else config.precision,
        config.xla == "on" or (config.xla == "auto" and bool(gpus) and replicas == 1),
        config.steps_per_call or (20 if gpus else 1),
        is_chief(),
    )


def is_multiworker(config: TrainConfig) -> bool:
    return config.strategy == "multiworker" or (config.strategy == "auto" and "TF_CONFIG" in os.environ)


def is_chief() -> bool:
    """True for the process that writes the run folder: the only one, or the first worker of TF_CONFIG."""
    task = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {})
    return task.get("type", "chief") == "chief" or task.get("index", 0) == 0


def describe(machine: Machine) -> dict:
    """The part of run.json that says where and with what a run was made."""
    devices = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU")
    names = [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in devices]
    return {
        "device": {
            "names": names,
            "processor": environment.device(),
            "replicas": machine.strategy.num_replicas_in_sync,
            "precision": machine.precision,
            "xla": machine.xla,
            "steps_per_call": machine.steps_per_call,
        },
        "threads": {"cores": os.cpu_count(), "usable": len(os.sched_getaffinity(0))},
        "platform": platform.platform(terse=True),
        "versions": environment.versions(),
        "git_revision": environment.git_revision(),
    }


def _strategy(name: str, num_gpus: int) -> tf.distribute.Strategy:
    if name == "multiworker" or (name == "auto" and "TF_CONFIG" in os.environ):
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored" or (name == "auto" and num_gpus > 1):
        kind = "GPU" if num_gpus else "CPU"
        return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])
    return tf.distribute.get_strategy()


def _has_bfloat16(gpus) -> bool:
    """Whether bfloat16 is faster here: NVIDIA from compute capability 8.0, CPUs with AVX512-BF16 or AMX."""
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return all(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
