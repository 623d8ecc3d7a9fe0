"""Draw images from a trained run, each with marks that say where it comes from.

usage: kgan sample RUN [--num=64] [--seed=0] [--label=3] [--out=DIR] [--interpolate | --npz]
                       [--c2pa_cert=CERT.pem --c2pa_key=KEY.pem]

Image i of a seed is the same whatever else is asked. A file of that name is replaced only if its marks say that it is
the same image; anything else that is there stops the command.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from absl import flags

import kgan
from kgan import cli, images
from kgan.errors import UserError
from kgan.files import write_atomically, written_whole
from kgan.latents import MIN_TRUNCATION, draws_recipe, slerp_recipe
from kgan.provenance import png
from kgan.provenance.c2pa import Signer
from kgan.provenance.marks import Marks, implicit_label, pnginfo, read_marks, sidecar, xmp_fields
from kgan.provenance.sidecars import sidecar_path
from kgan.runs import checkpoint, environment
from kgan.runs.rundir import RunDir

FLAGS = flags.FLAGS
MAX_KEYS = 32
FRAMES_PER_LEG = 8


def define_flags() -> None:
    flags.DEFINE_integer("num", None, "How many images, or, with --interpolate, draws on the path. Default: 64, or 5.")
    flags.DEFINE_integer("seed", 0, "Image i is a function of seed and i.", lower_bound=0, upper_bound=2**31 - 1)
    flags.DEFINE_integer("label", None, "The class of every image. Default: the classes in turn.", lower_bound=0)
    flags.DEFINE_string("out", None, "The folder to write to. Default: RUN/generated.")
    flags.DEFINE_string("checkpoint", "best", "best (if one was scored, else last), last, or a step.")
    flags.DEFINE_bool("ema", True, "Draw with the averaged weights, if the run has them.")
    flags.DEFINE_float(
        "truncation", None, "Redraw components of z beyond this: fewer kinds of images.", lower_bound=MIN_TRUNCATION
    )
    flags.DEFINE_bool("interpolate", False, "Instead: a strip and a GIF of the way through the first --num draws.")
    flags.DEFINE_bool("grid", True, "Also a grid of the first 64 images.")
    flags.DEFINE_bool("npz", False, "Instead: one file with the arrays samples (uint8 NHWC), labels and marks.")
    flags.DEFINE_string(
        "producer",
        os.environ.get("KGAN_PRODUCER"),
        "Add China's implicit label (GB 45438-2025) with this name. Default: $KGAN_PRODUCER, else no such label.",
    )
    flags.DEFINE_string(
        "c2pa_cert", None, "Sign each PNG with this certificate (PEM, its issuers after it). Needs kgan[c2pa]."
    )
    flags.DEFINE_string("c2pa_key", None, "The private key of --c2pa_cert (PEM). There is no time stamp.")
    flags.DEFINE_bool("caption", True, "Draw 'AI-generated' below grids, strips and GIFs.")


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError("name one run folder, as in kgan sample runs/00000-mnist-dcgan-ns --num=64")
    if FLAGS.interpolate and FLAGS.npz:
        raise UserError("--interpolate and --npz are two different outputs: give one of them")
    signed = FLAGS.c2pa_cert is not None or FLAGS.c2pa_key is not None
    if signed and FLAGS.npz:
        raise UserError("--c2pa_cert signs PNG files: leave it out, or --npz")
    run = RunDir.open(arguments[0])
    checkpoint.choose(run.checkpoints, FLAGS.checkpoint)
    num = _num()
    signer = Signer(FLAGS.c2pa_cert, FLAGS.c2pa_key, kgan.__version__) if signed else None
    environment.import_tensorflow()
    from kgan.runs import generator as trained
    from kgan.sampling import draw as sampling

    found = trained.load(run.path, FLAGS.checkpoint, FLAGS.ema)
    draw = sampling.Draw(FLAGS.seed, FLAGS.truncation, FLAGS.label)
    writer = Writer(found, draw, _folder(run), FLAGS.producer or "", signer)
    if FLAGS.interpolate:
        files = writer.path(num, FLAGS.caption)
    elif FLAGS.npz:
        files = writer.npz(num)
    else:
        files = writer.singles(num, FLAGS.grid, FLAGS.caption)
    weights = "averaged weights" if found.ema else "weights as trained"
    what = f"{num:,} images in {files[0].name}" if FLAGS.npz else f"{len(files):,} files"
    print(f"wrote {what} to {writer.folder} (step {found.step}, {weights})")
    if not FLAGS.npz:
        shown = " ".join(map(str, files)) if FLAGS.interpolate else f"{writer.folder}/seed{FLAGS.seed:08}-*.png"
        print(f"next:     kgan verify {shown} --run={run.path}")


def _num() -> int:
    num = FLAGS.num if FLAGS.num is not None else 5 if FLAGS.interpolate else 64
    low, high = (2, MAX_KEYS) if FLAGS.interpolate else (1, 1_000_000)
    if not low <= num <= high:
        raise UserError(f"--num={num}: must be from {low} to {high:,}{' with --interpolate' * FLAGS.interpolate}")
    return num


def _folder(run: RunDir) -> Path:
    folder = Path(FLAGS.out) if FLAGS.out else run.path / "generated"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={folder}: cannot make this folder ({error.strerror})") from None
    return folder


class Writer:
    """Writes what a trained generator draws into `folder`; every file is written whole or not at all."""

    def __init__(self, trained, draw, folder: Path, producer: str, signer: Signer | None = None):
        from kgan.sampling import draw as sampling

        self.sampling, self.trained, self.draw, self.folder = sampling, trained, draw, folder
        self.origin, self.producer, self.signer = sampling.origin(trained), producer, signer
        self._asked = (draw.truncation, draw.seed)
        sampling.labels_of(trained, draw, range(1))  # says what is wrong with --label before anything is written
        if producer:
            implicit_label(self._grid_marks(draws_recipe(0, 1), draw, np.zeros((1, 1, 1), np.uint8)), producer)

    def singles(self, num: int, grid: bool, caption: bool) -> list[Path]:
        """Images 0 .. num - 1, and a grid of the first of them. Returns the paths."""
        files = [self.folder / f"seed{self.draw.seed:08}-{index:06}.png" for index in range(num)]
        grid_file = self.folder / f"seed{self.draw.seed:08}-grid.png"
        for index, path in enumerate(files):
            self._check_replaces(path, _png_marks, index)
        self._check_replaces(grid_file, _png_marks) if grid else None

        def write(index: int, z: np.ndarray, label: int, picture: np.ndarray) -> None:
            marks = self.sampling.mark_single(self.trained, self.origin, self.draw, index, z, label, picture)
            self._write_png(files[index], picture, marks)

        with ThreadPoolExecutor(8) as pool:  # a disk makes sure of many files at once almost as fast as of one
            for batch in _progress(self.sampling.singles(self.trained, self.draw, num), num):
                list(pool.map(write, *batch))
        if grid:
            recipe, draw = self.sampling.grid_recipe(self.trained, self.draw, min(num, self.sampling.GRID_IMAGES))
            self._write_grid(grid_file, recipe, draw, caption)
        return [*files, grid_file] if grid else files

    def path(self, num: int, caption: bool) -> list[Path]:
        """A strip of the path through draws 0 .. num - 1, a GIF of the path and back to the first, and its JSON."""
        stem = self.folder / f"seed{self.draw.seed:08}-interpolation"
        strip, animation = stem.with_suffix(".png"), stem.with_suffix(".gif")
        self._check_replaces(strip, _png_marks)
        self._check_replaces(animation, _animation_marks)
        draw = self.sampling.path_draw(self.trained, self.draw)
        self._write_grid(strip, slerp_recipe(range(num), (num - 1) * FRAMES_PER_LEG + 1), draw, caption)
        recipe = slerp_recipe([*range(num), 0], num * 2 * FRAMES_PER_LEG + 1)
        frames = self.sampling.draw_animation(self.trained, recipe, draw, caption)

        content = images.gif(frames)
        marks = self._grid_marks(recipe, draw, frames)
        write_atomically(animation, content)
        write_atomically(
            sidecar_path(animation), sidecar(marks, animation.name, content, producer=self.producer).encode("ascii")
        )
        return [strip, animation]

    def npz(self, num: int) -> list[Path]:
        """One file with the arrays samples (num, h, w, c) uint8, labels (num,) int64, and marks, a JSON text."""
        path = self.folder / f"seed{self.draw.seed:08}.npz"
        self._check_replaces(path, _npz_marks)
        shape = (num, *self.trained.generator.output_shape[1:])
        digest = hashlib.sha256("x".join(map(str, shape)).encode() + b"\n")
        labels = self.sampling.labels_of(self.trained, self.draw, range(num))

        def pixels() -> Iterator[bytes]:
            for *_, pictures in _progress(self.sampling.singles(self.trained, self.draw, num), num):
                content = pictures.tobytes()
                digest.update(content)
                yield content

        with written_whole(path) as stream, zipfile.ZipFile(stream, "w") as archive:
            _write_member(archive, "samples", shape, "|u1", pixels())
            _write_member(archive, "labels", labels.shape, "<i8", [labels.astype("<i8").tobytes()])
            blank = self._grid_marks(draws_recipe(0, num), self.draw, np.zeros((1, 1, 1), np.uint8))
            marks = replace(blank, pixels_sha256=digest.hexdigest())
            text = json.dumps({"kgan": asdict(marks), "xmp": xmp_fields(marks, producer=self.producer)})
            _write_member(archive, "marks", (), f"<U{len(text)}", [text.encode("utf-32-le")])
        return [path]

    def _write_grid(self, path: Path, recipe: dict, draw, caption: bool) -> None:
        drawn = self.sampling.draw_grid(self.trained, recipe, draw, caption)
        self._write_png(path, drawn, self._grid_marks(recipe, draw, drawn))

    def _write_png(self, path: Path, picture: np.ndarray, marks: Marks) -> None:
        """The signature comes last, over the marks too; the file appears under its name when all is done."""
        content = images.png_bytes(picture, pnginfo(marks, producer=self.producer))
        write_atomically(path, self.signer.sign(content) if self.signer else content)

    def _grid_marks(self, recipe: dict, draw, drawn: np.ndarray) -> Marks:
        return self.sampling.mark_recipe(self.origin, recipe, draw, drawn)

    def _check_replaces(self, path: Path, read, index: int | None = None) -> None:
        """Raises UserError if there is a file that is not the same image: of another run, checkpoint or setting."""
        if not path.exists():
            return
        old = read(path)
        mine = (self.origin.run_id, self.origin.checkpoint_sha256, self.trained.ema, *self._asked)
        same = old and (old.run_id, old.checkpoint_sha256, old.ema, old.truncation, old.seed) == mine
        if same and index is not None and self.trained.num_classes:
            same = old.label == self.sampling.labels_of(self.trained, self.draw, range(index, index + 1))[0]
        if not same:
            raise UserError(f"{path} is there already and holds something else: name another folder with --out")


def _png_marks(path: Path) -> Marks | None:
    try:
        return read_marks(png.read(path))[0]
    except UserError:
        return None


def _animation_marks(path: Path) -> Marks | None:
    try:
        return Marks(**json.loads(sidecar_path(path).read_text("ascii"))["kgan"])
    except (OSError, ValueError, TypeError, KeyError, UserError):
        return None


def _npz_marks(path: Path) -> Marks | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Marks(**json.loads(str(arrays["marks"]))["kgan"])
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, UserError):
        return None


def _write_member(archive: zipfile.ZipFile, name: str, shape: tuple, dtype: str, parts: Iterable[bytes]) -> None:
    """An array of an .npz in pieces; the date is fixed, so that the same arrays are the same file."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for part in parts:
            member.write(part)


def _progress(batches: Iterable, num: int) -> Iterator:
    done = 0
    with cli.progress("images") as report:
        for batch in batches:
            yield batch
            done += len(batch[0])
            report(done, num)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
