"""Files of 1 MB that unpack to as much as they can: each reader, in a process of its own, stays under 2 GB.

`python -m tests.test_memory` prints what each takes, and how long its processors work on it.
"""

import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kgan.data import formats
from kgan.images import gif
from tests.making import AUDIT, EVALUATION, make_run
from tests.provenance.marked_pngs import ihdr, join, sample_png, split, text_chunk

MEGABYTE = 1 << 20
LIMIT = 2_000_000_000


def zeros(size: int) -> bytes:
    return bytes(size)


def gz(path: Path, head: bytes, size: int) -> None:
    """A gzip of `head` and then `size` zeros."""
    with gzip.open(path, "wb", 9) as stream:
        stream.write(head)
        for start in range(0, size, MEGABYTE):
            stream.write(zeros(min(MEGABYTE, size - start)))


def npz(path: Path, **shapes: tuple[int, ...]) -> None:
    """Arrays of zeros, compressed: uint8, or int64 for names that begin with "y" or are labels."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, shape in shapes.items():
            dtype = "<i8" if name.startswith("y") or name == "labels" else "|u1"
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, {"descr": dtype, "fortran_order": False, "shape": shape})
                for start in range(0, size, MEGABYTE):
                    member.write(zeros(min(MEGABYTE, size - start)))


def tar(path: Path, size: int) -> None:
    """Five batches of CIFAR of `size` zeros each."""
    with tarfile.open(path, "w:gz", compresslevel=9) as archive:
        for name in formats.CIFAR_FILES["train"]:
            rows = size // 3072
            content = pickle.dumps({"data": np.zeros((rows, 3072), np.uint8), "labels": [0] * rows}, 2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def picture(path: Path, form: str, mode: str, width: int, height: int, **options) -> None:
    Image.new(mode, (width, height)).save(path, form, **options)


def png(path: Path, width: int, height: int, depth: int, colour: int, channels: int) -> None:
    """A PNG of zeros of any kind; Pillow writes few."""
    packer, parts = zlib.compressobj(9), []
    row = bytes(1 + width * channels * depth // 8)
    for _ in range(height):
        parts.append(packer.compress(row))
    marks = [chunk for chunk in split(sample_png(channels=3)) if chunk[0] == b"iTXt"]
    pixels = b"".join([*parts, packer.flush()])
    path.write_bytes(join([ihdr(width, height, depth, colour), *marks, (b"IDAT", pixels), (b"IEND", b"")]))


def texts(path: Path) -> None:
    """A PNG of as much compressed XMP as goes into it."""
    space = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + b" " * 4_190_000 + b"</x:xmpmeta>"
    chunks = split(sample_png())
    packets = [text_chunk("XML:com.adobe.xmp", space, compressed=True)] * 240
    path.write_bytes(join([chunks[0], *packets, *chunks[1:]]))


def frames(path: Path) -> None:
    """An animation of black frames, as many as go into it."""
    black = np.zeros((2, 256, 256, 3), np.uint8)
    content = gif(black + np.arange(2, dtype=np.uint8)[:, None, None, None])
    second = content.rindex(b"\x21\xf9\x04")
    path.write_bytes(content[:second] + content[second:-1] * (MEGABYTE // (len(content) - second)) + b";")


def run_folder(folder: Path, **contents: object) -> None:
    """A run with a record and samples, and these JSON files."""
    run = make_run(folder / "run")
    whole = {"evaluation": EVALUATION, "audit": AUDIT} | contents
    for name, content in whole.items():
        (run.path / f"{name}.json").write_text(json.dumps(content)[: 2 * MEGABYTE])


def report_of(what: str) -> str:
    return f"import kgan.reports.report as r; READ; r.report({what!r})"


SIZES = {"samples": (340_000_000 // 3072, 32, 32, 3), "labels": (340_000_000 // 3072,)}
MANY = {f"key {number}": 0.5 for number in range(60_000)}
FLAGGED = [{"sample": number, "train_index": number, "ratio": 0.5, "space": "pixels"} for number in range(15_000)]
READ_IMAGE = "from kgan.pictures import picture; from pathlib import Path; READ; picture.read_image(Path('x'), 64, 3)"
CHECK = "from kgan.provenance.check import check; READ; print(check('x').verdict)"
FOLDER = (
    "from kgan.pictures import cache, opening; from pathlib import Path; READ; "
    "cache.read(opening.open_pictures(Path('.')), 256, 3)"
)
OPT_OUT = "from kgan.data.licensing.optout import data_mining; READ; data_mining('x')"
GRID = "run/samples/step-0000300.png"
FORMATS = "from kgan.data import formats; from pathlib import Path; READ; formats."
SAMPLES = "from kgan.sampling.read import image_shape, read_samples; READ; read_samples('x', image_shape('x'))"
NPZ = "from kgan.provenance.npz import check_npz; READ; print(check_npz('x').verdict)"
JUDGE = (
    "import numpy as np; from kgan.sampling.compare import judge_animation; from kgan.provenance.marks import describe;"
    "from kgan.latents import slerp_recipe; from tests.provenance.marked_pngs import ORIGIN; READ; "
    "frames = np.zeros((COUNT, 256, 256, 3), np.uint8);"
    "marks = describe(ORIGIN, frames, seed=1, z=slerp_recipe([0, 1], COUNT));"
    "print(judge_animation(open('x', 'rb').read(), frames, marks, {}))"
)
CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "npz of MNIST": (
        lambda at: npz(at / "x", x_train=(1_300_000, 28, 28), y_train=(6_000_000,)),
        FORMATS + "read_mnist_npz(Path('x'), 'train', (28, 28, 1))",
    ),
    "idx.gz": (
        lambda at: (
            gz(at / "train-images-idx3-ubyte.gz", struct.pack(">4I", 0x803, 1_000_000, 28, 28), 784_000_000)
            or gz(at / "train-labels-idx1-ubyte.gz", struct.pack(">2I", 0x801, 1_000_000), 1_000_000)
        ),
        FORMATS + "read_idx_pair(Path('.'), 'train', (28, 28, 1))",
    ),
    "tar.gz of batches": (
        lambda at: tar(at / "x", 100_000_000),
        FORMATS + "read_cifar_tar(Path('x'), 'train', (32, 32, 3))",
    ),
    "tar.gz of one file": (
        lambda at: gz(at / "x", _header(1 << 30), 1 << 30),
        FORMATS + "read_cifar_tar(Path('x'), 'train', (32, 32, 3))",
    ),
    "pickle of tuples": (
        lambda at: (at / "x").write_bytes(b"\x80\x02" + b"(" * (MEGABYTE // 2) + b"t" * (MEGABYTE // 2) + b"."),
        "from kgan.data.cifar_pickle import read_batch; READ; read_batch(open('x', 'rb').read())",
    ),
    "pickle of dicts": (
        lambda at: (at / "x").write_bytes(b"\x80\x02" + b"}" * MEGABYTE + b"."),
        "from kgan.data.cifar_pickle import read_batch; READ; read_batch(open('x', 'rb').read())",
    ),
    "npz of samples": (lambda at: npz(at / "x", samples=(1_000_000_000 // 3072, 32, 32, 3)), SAMPLES),
    "npz with marks": (lambda at: npz(at / "x", **SIZES), NPZ),
    "npz of the cache": (
        lambda at: npz(at / "x", a=(1_000_000_000,)),
        "from kgan.arrays import read_npz; READ; read_npz('x')",
    ),
    "checkpoint": (
        lambda at: npz(at / "x", step=(1_000_000_000,)),
        "from kgan.runs.checkpoint import read; from pathlib import Path; READ; read(Path('x'))",
    ),
    **{
        f"PNG, {depth} bits of colour type {colour}": (
            lambda at, w=width, h=height, d=depth, c=colour, n=n: png(at / "x", w, h, d, c, n),
            READ_IMAGE,
        )
        for width, height, depth, colour, n in (
            (7000, 7000, 16, 0, 1),
            (7000, 7000, 16, 6, 4),
            (7000, 7000, 8, 6, 4),
            (7000, 7000, 1, 0, 1),
        )
    },
    "WebP": (lambda at: picture(at / "x", "WEBP", "RGB", 7000, 7000, quality=1), READ_IMAGE),
    "JPEG": (lambda at: picture(at / "x", "JPEG", "RGB", 7000, 7000, progressive=True, quality=1), READ_IMAGE),
    "GIF": (lambda at: picture(at / "x", "GIF", "P", 7000, 7000), READ_IMAGE),
    "folder of eight PNGs": (
        lambda at: [png(at / f"{number}.png", 7000, 7000, 16, 6, 4) for number in range(8)],
        FOLDER,
    ),
    "samples in a folder": (
        lambda at: [(at / "x").mkdir(), *(png(at / f"x/{number}.png", 7000, 7000, 8, 2, 3) for number in range(3))],
        SAMPLES,
    ),
    "marked PNG": (lambda at: png(at / "x", 8000, 8000, 8, 2, 3), CHECK),
    "marked PNG, larger": (lambda at: png(at / "x", 13_000, 13_000, 8, 2, 3), CHECK),
    "metadata of a PNG": (lambda at: texts(at / "x"), OPT_OUT),
    "marks of a PNG": (lambda at: texts(at / "x"), CHECK),
    "animation, many frames": (lambda at: frames(at / "x"), JUDGE.replace("COUNT", "1365")),
    "animation, few frames": (lambda at: frames(at / "x"), JUDGE.replace("COUNT", "2")),
    "report of a large grid": (
        lambda at: [run_folder(at), png(at / GRID, 13_000, 13_000, 8, 2, 3)],
        report_of("run"),
    ),
    "report of a large grid with alpha": (
        lambda at: [run_folder(at), png(at / GRID, 13_000, 13_000, 16, 6, 4)],
        report_of("run"),
    ),
    "report of many scores": (
        lambda at: run_folder(at, evaluation={"scores": MANY, "floor": {}, "protocol": {}}),
        report_of("run"),
    ),
    "report of a long protocol": (lambda at: run_folder(at, audit={"protocol": MANY}), report_of("run")),
    "report of many tests": (
        lambda at: run_folder(at, audit={"p_values": {name: {"count": 1.0} for name in MANY}}),
        report_of("run"),
    ),
    "report of many flagged": (lambda at: run_folder(at, audit={"flagged": FLAGGED}), report_of("run")),
    "settings": (
        lambda at: (at / "config.json").write_text("[" + "[]," * (MEGABYTE // 3) + "[]]"),
        "from kgan.runs.rundir import RunDir; READ; RunDir('.').read_config()",
    ),
    "log lines": (
        lambda at: (at / "metrics.jsonl").write_text(_lines()),
        "from kgan.runs.rundir import RunDir; READ; print(len(RunDir('.').read_metrics()))",
    ),
    "data card": (
        lambda at: (at / "dataset.json").write_text(json.dumps({"name": "x", "classes": dict.fromkeys(MANY, 1)})),
        "from kgan.data.licensing.card import read_card; READ; read_card('.')",
    ),
}


def _header(size: int) -> bytes:
    member = tarfile.TarInfo("data_batch_1")
    member.size = size
    return member.tobuf()


def _lines() -> str:
    from kgan.runs.schema import MetricsLine

    line = json.dumps(dict.fromkeys(MetricsLine.__required_keys__, 1.0) | {"step": 1}) + "\n"
    return line * (MEGABYTE // len(line))


def measure(name: str) -> tuple[int, float, str]:
    """The bytes and seconds of processor time that reading takes beyond importing the reader, and what came of it."""
    make, code = CASES[name]
    imports, _, read = code.partition("READ; ")
    program = (
        f"{imports}\nimport time\nfrom kgan.errors import UserError\nfrom tests.making import peak\n"
        "before, start = peak(), time.process_time()\n"
        f"try:\n    {read}\n    outcome = 'read'\nexcept UserError as error:\n    outcome = str(error)\n"
        "print(peak() - before, time.process_time() - start, outcome)"
    )
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        largest = max(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        assert largest < 2.2 * MEGABYTE, largest
        place = {"env": os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}, "cwd": folder}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, **place)
    assert done.returncode == 0, done.stderr
    grown, seconds, outcome = done.stdout.splitlines()[-1].split(" ", 2)
    return int(grown), float(seconds), outcome


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc says how much memory was taken")
@pytest.mark.parametrize("name", CASES)
def test_a_file_of_one_megabyte_takes_less_than_two_gigabytes(name):
    assert measure(name)[0] < LIMIT


if __name__ == "__main__":
    for name in CASES:
        if len(sys.argv) < 2 or sys.argv[1] in name:
            try:
                grown, seconds, outcome = measure(name)
                print(f"{name:35} {grown / 1e6:7.0f} MB {seconds:6.1f} s  {outcome[:100]}", flush=True)
            except AssertionError as error:
                print(name, "FAILED", str(error)[-300:], flush=True)
