"""What a run is made with: package versions, the source's revision, and TensorFlow itself."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import kgan
from kgan import cores
from kgan.errors import UserError

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of NVIDIA, AMD, and either under Windows
# those by which TensorFlow chooses its matrix and convolution kernels
_INSTRUCTIONS = {"avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16"}


@functools.cache
def versions() -> dict[str, str]:
    """Of the packages that decide what a network computes, and how its images are written."""
    return {
        "kgan": kgan.__version__,
        "python": platform.python_version(),
        "tensorflow": importlib.metadata.version("tensorflow"),
        "keras": importlib.metadata.version("keras"),
        "numpy": importlib.metadata.version("numpy"),
        "pillow": importlib.metadata.version("pillow"),
    }


def device() -> str:
    """What decides how a network's sums are rounded here: the GPUs, or the processor and its instructions.

    Short ASCII, such as "AMD EPYC, family 26, model 2, avx2 avx512f fma, 8 threads", or "GPU NVIDIA H100".
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        threads = tf.config.threading.get_intra_op_parallelism_threads() or os.environ.get("TF_NUM_INTRAOP_THREADS")
        return f"{_processor()}, {threads or len(cores.usable())} threads"
    names = {tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus}
    return _short_ascii(f"GPU {', '.join(sorted(names))}")


def instructions() -> set[str]:
    """The instruction sets of the processor, as Linux calls them: avx2, avx512_bf16 and so on; none elsewhere."""
    facts = _processor_facts()
    return set(facts.get("flags", facts.get("Features", "")).split())


@functools.cache
def _processor_facts() -> dict[str, str]:
    """What Linux says of the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


@functools.cache
def _processor() -> str:
    facts = _processor_facts()
    name = facts.get("model name") or platform.processor() or platform.machine()
    parts = [name, *(f"{key.removeprefix('cpu ')} {facts[key]}" for key in ("cpu family", "model") if key in facts)]
    parts.append(" ".join(sorted(_INSTRUCTIONS & instructions())))
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        parts.append("without oneDNN")
    return _short_ascii(", ".join(part for part in parts if part))


def _short_ascii(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text)[:180]


def git_revision() -> str | None:
    """The revision of the source kgan runs from, with "+" if it was changed; None for an installed package."""
    root = Path(kgan.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(root)]
        revision = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision + ("+" if changed else "")


def import_tensorflow() -> None:
    """Imports TensorFlow, without the messages that it prints to stderr before its log level counts.

    If the import fails, those messages are shown. Every command and API function comes through here before it uses
    TensorFlow, so that this is the one place for settings that it reads at import: GPU memory is allocated as needed
    (`set_memory_growth` raises once a GPU is initialised, which `load().generate()` before `train()` does).

    Raises UserError if Keras is told to use anything but TensorFlow, or to put channels first.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow") or "tensorflow"
    if "keras" in sys.modules:  # this program imported it, perhaps with another backend in its keras.json
        backend = sys.modules["keras"].config.backend()
    if backend != "tensorflow":
        raise UserError(f"Keras is set to use {backend}, and kgan works on TensorFlow: unset KERAS_BACKEND")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    with tempfile.TemporaryFile() as messages:
        stderr = os.dup(2)
        os.dup2(messages.fileno(), 2)
        try:
            import keras
            import tensorflow  # noqa: F401
        except BaseException:
            messages.seek(0)
            os.write(stderr, messages.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    if keras.config.image_data_format() != "channels_last":
        raise UserError("Keras is set to channels_first in its keras.json, and kgan's images are channels_last")


def accelerator() -> ModuleType | None:
    """TensorFlow, if it sees a GPU, else None. It is not imported to find out where no device file of a GPU is."""
    if "tensorflow" not in sys.modules:
        if not any(Path(device).exists() for device in _GPU_DEVICES):
            return None
        import_tensorflow()
    tensorflow = sys.modules["tensorflow"]
    return tensorflow if tensorflow.config.list_logical_devices("GPU") else None


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """No TensorFloat-32 within: its ten bits of mantissa would show, and differ between GPUs and CPUs."""
    import tensorflow as tf

    setting = tf.config.experimental
    before = setting.tensor_float_32_execution_enabled()
    setting.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        setting.enable_tensor_float_32_execution(before)
