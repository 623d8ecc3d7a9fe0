"""What the tests share: small image folders, the command line, and the real data where they are."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from absl import app, flags
from hypothesis import settings
from PIL import Image

from kgan.__main__ import main as kgan_main
from kgan.data.licensing.card import FILE_NAME
from kgan.data.licensing.inspection import inspect

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # a GPU rounds otherwise; set it to run the tests on one
settings.register_profile("kgan", deadline=None)  # no test depends on the speed of a machine
settings.load_profile("kgan")
_OF_THE_USER = ("FORCE_COLOR", "TTY_COMPATIBLE", "KGAN_PRODUCER", "TF_CONFIG", "KERAS_BACKEND")
for _name in (*_OF_THE_USER, *(name for name in os.environ if name.startswith("SLURM_"))):
    os.environ.pop(_name, None)
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share the folder of the process that started them
    _cache = tempfile.TemporaryDirectory(prefix="kgan-tests-")
    os.environ |= {"KGAN_CACHE_DIR": _cache.name, "MPLCONFIGDIR": f"{_cache.name}/matplotlib"}
    os.environ["KERAS_HOME"] = f"{_cache.name}/keras"
    for _name in ("no_proxy", "NO_PROXY"):  # TensorFlow would reach its other workers on this machine through a proxy
        os.environ[_name] = ",".join(filter(None, [os.environ.get(_name), "localhost,127.0.0.1"]))
    import matplotlib.font_manager  # noqa: F401  # says on stderr when it looks for fonts the first time


def draw_folder(
    root: Path, count: int = 48, size: int = 28, channels: int = 1, classes: int = 2, seed: int = 0
) -> Path:
    """A folder data set of `count` smooth random images, in `classes` folders (0: none), with its dataset.json."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 5, 5, channels), np.uint8)
    for number, pixels in enumerate(coarse):
        folder = root / f"class{number % classes}" if classes else root
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.squeeze()).resize((size, size), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:04}.png")
    (root / FILE_NAME).write_text(inspect(root, license="CC0-1.0", origin="drawn by the tests").card.to_json())
    return root


@pytest.fixture
def folder(tmp_path) -> Path:
    """48 grey 28x28 images in two classes."""
    return draw_folder(tmp_path / "images")


@pytest.fixture
def folder_flags(folder) -> list[str]:
    """The flags that train on `folder`, on small networks, for 4 steps."""
    return [
        "--dataset=folder",
        f"--data_dir={folder}",
        "--image_size=28",
        "--channels=1",
        "--arch=mlp",
        "--batch_size=8",
        "--steps=4",
    ]


def kgan(*arguments, new_process: bool = False, **options) -> subprocess.CompletedProcess:
    """Runs the command in this process, which has TensorFlow loaded, or in a new one: if asked, or given `options`.

    A new process is for settings that last as long as one, such as --deterministic and the number of devices.
    """
    arguments = [str(argument) for argument in arguments]
    if new_process or options:
        command = [sys.executable, "-m", "kgan", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    app.define_help_flags()
    before, output, errors = set(flags.FLAGS), io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["kgan", *arguments]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            kgan_main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        finally:
            flags.FLAGS.unparse_flags()
            for name in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, name)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def refused(*arguments, **options) -> str:
    """Runs a command that must fail as the user's mistake: exit 2 and one clear line, which is returned."""
    done = kgan(*arguments, **options)
    assert done.returncode == 2, done
    assert done.stderr.startswith("kgan: error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def real_data() -> Path:
    """$KGAN_DATA_DIR, which holds MNIST, Fashion-MNIST and CIFAR-10; the test is skipped without it."""
    if not (path := os.environ.get("KGAN_DATA_DIR")):
        pytest.skip("KGAN_DATA_DIR is not set")
    return Path(path)
