"""The commands in README.md, docs/ and the headers of experiments/ are ones that work.

All are parsed: each names a command and flags that it has. The slow tests also run them, but for the bodies of a
shell's loops, in order, in a folder with two small runs and made-up data. Training is shortened to --dry_run, and
`make` to the command that it would run.
"""

import contextlib
import functools
import gzip
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kgan as package
from kgan.data.licensing.card import FILE_NAME
from kgan.data.licensing.inspection import inspect
from tests.conftest import draw_folder, kgan

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(set(ROOT.glob("docs/*.md")) - {ROOT / "docs/flags.md"})]
EXPERIMENTS = sorted(ROOT.glob("experiments/*.flags"))
OF_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS", "RUN", "SWEEP", "EXPERIMENT"}
START = r"(?:kgan (?:train|sample|verify|evaluate|audit|export|sweep|report|data|bench)|make [a-z-]+)\b"
BEFORE = r"(?:exec |srun (?:-N2 )?|TF_CONFIG='[^']*'\s+)*"
PLACEHOLDERS = {
    r"--run_dir=runs/\w+": "--run_dir=runs/new",
    r"\bruns/(\d{5}-[\w-]+|memorise)": "runs/x",
    r"--out=DIR": "--out=exported",
    r"=DIR\|FILE\.npz": "=samples.npz",
    r"\b(DIR|WORKS|data/sevens|data/horses|data/mine)\b": "pictures",
    r"\bIMAGE\b": "picture.png",
    r"=\.\.\.(?=\s|$)": "=x",
}
SHORTER = {
    "train": ["--dry_run"],
    "sweep": ["--dry_run"],
    "evaluate": ["--features=pca", "--num_samples=80"],
    "audit": ["--num_samples=20"],
}
ANSWERS = {"audit": (0, 1, 2), "verify": (0, 2)}  # of untrained runs; what a projection draws cannot be regenerated


def commands(page: Path, loops: bool = True) -> list[str]:
    """Those in indented blocks, tables and spans of code, in order, without comments and with examples for DIR etc.;
    those in a shell's loops, which are indented further, only if they are wanted."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    if page.suffix == ".flags":
        text = re.sub(r"^#   ", "    ", text, flags=re.MULTILINE)
    block = rf"^    {' *' if loops else ''}{BEFORE}({START}[^\n]*)$"
    span = r"`((?:kgan|make) (?!data inspect`)[a-z]+ [^`\n]+)`"
    found = [one or other for one, other in re.findall(rf"{block}|{span}", text, flags=re.MULTILINE)]
    lines = [part.strip() for line in found for part in re.split(r"\s#\s|\s>\s|;\s", line)[0].split(" && ")]
    lines += [part for line in found for part in re.findall(rf";\s+({START}.*)", line)]
    for pattern, example in PLACEHOLDERS.items():
        lines = [re.sub(pattern, example, line) for line in lines]
    return lines


def as_kgan(line: str) -> list[str] | None:
    """The words after `kgan` of the command, or of the one that make would run; None if make runs none."""
    words = shlex.split(line)
    if words[0] == "kgan":
        return words[1:]
    environment = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    told = subprocess.run(
        ["make", "-n", *words[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    wanted = [shlex.split(shown) for shown in told.stdout.splitlines() if re.match(r"\S+/kgan ", shown)]
    return wanted[-1][1:] if wanted else None


@functools.cache
def help_of(command: str) -> str:
    return kgan(command, "--help").stdout


@pytest.mark.parametrize("page", [*PAGES, *EXPERIMENTS], ids=lambda page: page.name)
def test_documented_commands_have_the_flags_that_they_are_given(page):
    for line in commands(page):
        for word in (words := as_kgan(line) or [])[1:]:
            if (flag := re.match(r"--(?:no)?(\w+)", word)) and flag[1] != "help":
                names = rf"--(?:\[no\])?(?:{word.split('=')[0][2:]}|{flag[1]}):"
                assert flag[1] == "flagfile" or re.search(names, help_of(words[0])), f"{line}: {word}"


@pytest.mark.parametrize("recipe", EXPERIMENTS, ids=lambda page: page.name)
def test_recipes_hold_flags_that_their_command_has_each_once(recipe):
    lines = [line for line in recipe.read_text().splitlines() if line.strip() and not line.startswith("#")]
    told = help_of("sweep" if any(line.startswith("--grid") for line in lines) else "train")
    names = []
    for line in lines:
        name, equals, _ = line.removeprefix("--").partition("=")
        pattern = rf"--{name}:" if equals else rf"--\[no\]{name.removeprefix('no')}:"
        assert re.fullmatch(r"--[a-z0-9_]+(=\S+)?", line) and re.search(pattern, told), line
        names.append(name.removeprefix("no"))
    assert [name for name in set(names) - {"grid"} if names.count(name) > 1] == []


def test_commands_are_found():
    readme, everywhere = commands(ROOT / "README.md"), [line for page in PAGES for line in commands(page)]
    assert len(readme) > 12 and "make train" in readme and "kgan sample runs/x --num=64" in readme
    assert len(everywhere) > 50 and "kgan report runs/x runs/y" in everywhere
    assert {line.split()[1] for line in readme if line.startswith("kgan")} >= {"train", "sample", "verify", "audit"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with two runs, one of a sweep, pictures, and made-up MNIST, Fashion-MNIST and CIFAR-10."""
    place = tmp_path_factory.mktemp("workplace")
    pictures = draw_folder(place / "pictures", 200, channels=1)
    for number, name in enumerate(("cat", "dog")):
        (pictures / f"class{number}").rename(pictures / name)
    (pictures / FILE_NAME).write_text(inspect(pictures, license="CC0-1.0", origin="drawn by the tests").card.to_json())
    made = {"dataset": "folder", "data_dir": str(pictures), "image_size": 28, "channels": 1, "arch": "mlp"}
    for run in ("runs/x", "runs/y", "sweeps/a/seed=0"):
        package.train(**made, batch_size=8, steps=4, conditional=True, run_dir=place / run)
    Image.open(next(pictures.rglob("*.png"))).save(place / "picture.png")
    random = np.random.default_rng(0)
    np.savez(place / "samples.npz", samples=random.integers(0, 256, (100, 28, 28, 1), np.uint8))
    card = inspect(place / "samples.npz", license="CC0-1.0", origin="drawn by the tests").card
    (place / f"samples.npz.{FILE_NAME}").write_text(card.to_json())
    draw_data(place / "data", random)
    (place / "experiments").symlink_to(ROOT / "experiments")
    return place


def draw_data(folder: Path, random: np.random.Generator, count: int = 400) -> None:
    """MNIST, Fashion-MNIST and CIFAR-10 of `count` images each, in forms that they are published in."""
    grey, labels = random.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 10
    (folder / "fashion_mnist").mkdir(parents=True)
    np.savez(folder / "mnist.npz", x_train=grey, y_train=labels, x_test=grey, y_test=labels)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", grey), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            with gzip.open(folder / "fashion_mnist" / f"{part}-{kind}-ubyte.gz", "wb") as stream:
                stream.write(header + array.tobytes())
    (folder / "cifar-10-batches-bin").mkdir()
    rows = np.concatenate([labels[:, None], random.integers(0, 256, (count, 3072), np.uint8)], axis=1)
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(rows.tobytes())


@pytest.mark.slow
@pytest.mark.parametrize("page", [*PAGES, *EXPERIMENTS], ids=lambda page: page.name)
def test_documented_commands_run(page, workplace, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.setenv("KGAN_DATA_DIR", str(workplace / "data"))
    monkeypatch.setenv("KGAN_CACHE_DIR", str(workplace / "cache"))
    shutil.rmtree(workplace / "exported", ignore_errors=True)
    ran = 0
    with contextlib.chdir(workplace):
        for line in commands(page, loops=False):
            words = as_kgan(line)
            if words and words[0] != "bench" and "--help" not in words:  # bench has a test of its own
                longer = ["--epochs=100"] if "--resume=runs/x" in words else []
                done = kgan(*words, *SHORTER.get(words[0], []), *longer)
                allowed = ANSWERS.get(words[0], (0,))
                assert done.returncode in allowed and "kgan: error" not in done.stderr, f"{line}: {done.stderr}"
                ran += 1
    assert ran or page.parent.name != "experiments"
