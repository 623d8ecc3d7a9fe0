"""The hardware: which devices a run uses, in which precision, compiled or not."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from kgan import cores
from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.hardware import cluster
from kgan.hardware.peers import Peers, join
from kgan.models.architectures import architecture
from kgan.runs import environment

MIN_IMAGES_PER_GPU = 256
"""With fewer images a replica, adding up gradients takes longer than a second GPU saves."""


@dataclass(frozen=True)
class Hardware:
    """What "auto" came to. `precision` is float32 or bfloat16; `strategy` places variables and runs replicas; batches
    are copied ahead to `feed_device`, if it is not None; `notes` are lines for the log."""

    strategy: tf.distribute.Strategy
    precision: str
    xla: bool
    steps_per_call: int
    peers: Peers
    feed_device: str | None = None
    notes: tuple[str, ...] = ()


def set_up(config: TrainConfig, earlier: Mapping | None = None) -> Hardware:
    """Sets TensorFlow up as `config` asks. Call it before anything else touches TensorFlow.

    `earlier` is the device record of the run that is resumed: what `config` leaves to "auto" stays as it was. Raises
    UserError if that, or what `config` asks for, is not available here, or the global batch does not divide among the
    replicas.
    """
    workers = cluster.read(config)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus, earlier = tf.config.list_physical_devices("GPU"), earlier or {}
    notes: list[str] = []
    strategy = join(workers) if workers.size > 1 else _strategy(config, len(gpus), notes)
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % (replicas * config.accumulate):
        parts = f", in {config.accumulate} parts each (--accumulate)" if config.accumulate > 1 else ""
        raise UserError(f"--batch_size={config.batch_size} does not divide among {replicas} replicas{parts}")
    return Hardware(
        strategy,
        _precision(config, gpus, earlier.get("precision")),
        _xla(config, gpus, strategy, earlier.get("xla"), notes),
        config.steps_per_call or (20 if gpus else architecture(config).steps_per_call),
        Peers(workers, strategy),
        _feed_device(gpus, strategy),
        tuple(notes),
    )


def describe(hardware: Hardware) -> dict:
    """The part of run.json that says where and with what a run was made."""
    devices = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU")
    names = [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in devices]
    return {
        "device": {
            "names": names,
            "processor": environment.device(),
            "replicas": hardware.strategy.num_replicas_in_sync,
            "precision": hardware.precision,
            "xla": hardware.xla,
            "steps_per_call": hardware.steps_per_call,
        },
        "threads": {"cores": os.cpu_count(), "usable": len(cores.usable())},
        "platform": platform.platform(terse=True),
        "versions": environment.versions(),
        "git_revision": environment.git_revision(),
    }


def _strategy(config: TrainConfig, num_gpus: int, notes: list[str]) -> tf.distribute.Strategy:
    take_all = config.strategy == "mirrored" or (config.strategy == "multiworker" and num_gpus > 1)
    if config.strategy == "auto" and num_gpus > 1:
        shares = num_gpus * config.accumulate
        rest = config.batch_size % shares
        take_all = config.batch_size >= MIN_IMAGES_PER_GPU * num_gpus and not rest
        if not take_all:
            why = (
                f"cannot be shared out among all; a multiple of {shares} can, with --strategy=mirrored"
                if rest
                else f"is not {MIN_IMAGES_PER_GPU} images or more for each; --strategy=mirrored takes all"
            )
            notes.append(f"using one of {num_gpus} GPUs: --batch_size={config.batch_size} {why}")
    if take_all:
        kind = "GPU" if num_gpus else "CPU"
        return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])
    return tf.distribute.get_strategy()


def _feed_device(gpus, strategy: tf.distribute.Strategy) -> str | None:
    """The one GPU that is used; a strategy with several devices feeds them itself."""
    return "/GPU:0" if gpus and strategy is tf.distribute.get_strategy() else None


def _precision(config: TrainConfig, gpus, earlier: str | None) -> str:
    if config.precision != "auto":
        return config.precision
    has_bfloat16 = _has_bfloat16(gpus)
    if earlier == "bfloat16" and not has_bfloat16:
        raise UserError(
            "this run was trained in bfloat16, which this machine is slow at: resume it with --precision=bfloat16 all "
            "the same, or change it with --precision=float32"
        )
    return earlier or ("bfloat16" if has_bfloat16 else "float32")


def _xla(config: TrainConfig, gpus, strategy: tf.distribute.Strategy, earlier: bool | None, notes: list[str]) -> bool:
    """XLA cannot compile the sums over replicas, and on CPUs it is the slower choice."""
    possible = strategy is tf.distribute.get_strategy()
    if config.xla == "on" and not possible:
        raise UserError("--xla=on works on one device: leave it at auto, or take --strategy=single")
    if config.xla != "auto":
        return config.xla == "on"
    if earlier and not possible:
        raise UserError(
            "this run was trained with XLA, which works on one device: resume it with --strategy=single, or change it "
            "with --xla=off"
        )
    if earlier is not None:
        return earlier
    if not (gpus and possible):
        return False
    known = _newest_known_gpu()
    here = max(_compute_capability(gpu) for gpu in gpus)
    if known and here > known:
        notes.append(
            f"XLA is off: this GPU has compute capability {here[0]}.{here[1]}, and this TensorFlow was built for "
            f"{known[0]}.{known[1]} at most; a newer TensorFlow, or --xla=on with a newer CUDA toolkit, may do better"
        )
        return False
    return True


def _newest_known_gpu() -> tuple[int, int] | None:
    """The highest compute capability that this build of TensorFlow has kernels for."""
    listed = tf.sysconfig.get_build_info().get("cuda_compute_capabilities", [])
    digits = [name.rpartition("_")[2] for name in listed]
    return max(((int(text[:-1]), int(text[-1])) for text in digits if text.isdecimal()), default=None)


def _compute_capability(gpu) -> tuple[int, int]:
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))


def _has_bfloat16(gpus) -> bool:
    """Whether bfloat16 is faster here: NVIDIA from compute capability 8.0, CPUs with AVX512-BF16 or AMX."""
    if gpus:
        return all(_compute_capability(gpu) >= (8, 0) for gpu in gpus)
    return not environment.instructions().isdisjoint({"avx512_bf16", "amx_bf16"})
