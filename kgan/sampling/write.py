"""Files of what a trained generator draws: PNGs, grids, animations and arrays, with their marks."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from kgan import images
from kgan.errors import UserError
from kgan.files import write_atomically, written_whole
from kgan.latents import draws_recipe, slerp_recipe
from kgan.progress import Progress
from kgan.provenance import npz, png
from kgan.provenance.c2pa import CHUNK, Signer
from kgan.provenance.claimed import marks_in
from kgan.provenance.marks import COMPOSITE, Marks, describe, implicit_label, pnginfo, read_marks, sidecar
from kgan.provenance.sidecars import sidecar_path
from kgan.provenance.xmp import named
from kgan.runs.generator import TrainedGenerator
from kgan.sampling import draw
from kgan.sampling.draw import Batch, SampleSettings
from kgan.sampling.projection import Projection, project

FRAMES_PER_LEG = 8
_PAIR_TITLES = ("nearest", "given")  # the caption comes to stand under the generated one
_MAX_NAME = 100  # bytes of a projected picture's name that the files are named after
_THREADS = 8  # a disk makes sure of many files at once almost as fast as of one


class Writer:
    """Writes what a trained generator draws into `folder`; every file is written whole or not at all.

    Without `overwrite`, a file of the same name is replaced only if its marks say that it is the same image. Raises
    UserError, when made, if the folder cannot be made, or for an invalid label or producer.
    """

    def __init__(
        self,
        trained: TrainedGenerator,
        settings: SampleSettings,
        folder: Path,
        producer: str = "",
        signer: Signer | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ):
        self.trained, self.settings, self.folder = trained, settings, folder
        self.producer, self.signer, self.overwrite, self.progress = producer, signer, overwrite, progress
        self.origin = draw.origin(trained)
        self._stem = f"seed{settings.seed:08}"
        trained.labels_for(range(1), settings.label)  # says what is wrong with --label before anything is written
        if producer:
            implicit_label(self._marks(draws_recipe(1), settings, np.zeros((1, 1, 1), np.uint8)), producer)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out={folder}: cannot make this folder ({error.strerror})") from None

    def singles(self, num: int, grid: bool = True, caption: bool = True) -> list[Path]:
        """Images 0 .. num - 1, and a grid of the first of them. Returns the paths."""
        files = [self.folder / f"{self._stem}-{index:06}.png" for index in range(num)]
        grid_file = self.folder / f"{self._stem}-grid.png"
        labels = self.trained.labels_for(range(num), self.settings.label).tolist()
        for index, path in enumerate(files):
            label = labels[index] if self.trained.num_classes else None
            self._check_replaces(path, index=index, label=label)
        if grid:
            self._check_replaces(grid_file)

        def write(index: int, z: np.ndarray, label: int, image: np.ndarray) -> None:
            marks = draw.single_marks(self.trained, self.origin, self.settings, index, z, label, image)
            self._write_png(files[index], image, marks)

        with ThreadPoolExecutor(_THREADS) as pool:
            for batch in self._batches(num):
                list(pool.map(write, *batch))
        if not grid:
            return files
        picture, marks = draw.marked_grid(self.trained, self.settings, min(num, draw.GRID_IMAGES), caption)
        self._write_png(grid_file, picture, marks)
        return [*files, grid_file]

    def interpolation(self, num: int, caption: bool = True) -> list[Path]:
        """A strip of the path through draws 0 .. num - 1, a GIF of the path and back to the first, and its JSON."""
        strip, animation = (self.folder / f"{self._stem}-interpolation.{suffix}" for suffix in ("png", "gif"))
        settings = draw.interpolation_settings(self.trained, self.settings)
        way = slerp_recipe(range(num), (num - 1) * FRAMES_PER_LEG + 1)
        loop = slerp_recipe([*range(num), 0], num * 2 * FRAMES_PER_LEG + 1)
        self._check_replaces(strip, z=way, label=settings.label)
        self._check_replaces(animation, z=loop, label=settings.label)
        picture = draw.draw_grid(self.trained, way, settings, caption)
        self._write_png(strip, picture, self._marks(way, settings, picture))
        frames = draw.draw_animation(self.trained, loop, settings, caption)
        write_animation(animation, images.gif(frames), self._marks(loop, settings, frames), self.producer)
        return [strip, animation, sidecar_path(animation)]

    def npz(self, num: int) -> list[Path]:
        """One file with the arrays samples (num, h, w, c) uint8, labels (num,) int64, and marks, a JSON text."""
        path = self.folder / f"{self._stem}.npz"
        recipe = draws_recipe(num)
        self._check_replaces(path, z=recipe, label=self.settings.label)
        shape = (num, *self.trained.generator.output_shape[1:])
        labels = self.trained.labels_for(range(num), self.settings.label)
        blank = self._marks(recipe, self.settings, np.zeros((1, 1, 1), np.uint8))
        pixels = (batch.images for batch in self._batches(num))
        with written_whole(path) as stream:
            npz.write(stream, shape, pixels, labels, lambda sha256: replace(blank, pixels_sha256=sha256), self.producer)
        return [path]

    def projection(self, image: np.ndarray, name: str, caption: bool = True) -> tuple[list[Path], Projection]:
        """The nearest picture that the generator makes to an image (h, w, c) uint8, both side by side, and its latent
        as JSON. `name` is for the files. Returns their paths and the latent."""
        safe = re.sub(r"[^\w.-]+", "-", name).encode()[:_MAX_NAME].decode(errors="ignore")
        stem = f"projection-{safe}"
        files = [self.folder / f"{stem}.png", self.folder / f"{stem}.json"]
        for path in files:
            if path.exists() and not self.overwrite:
                raise UserError(f"{path} is there already: name another folder with --out, or --overwrite it")
        nearest = project(self.trained, image, self.settings.label, self.progress)  # type: ignore[arg-type]
        made = self.trained.generate(z=np.array([nearest.z], np.float32), labels=nearest.label)
        pair = images.captioned_grid(np.stack([made[0], image]), 2, caption, _PAIR_TITLES)
        info = pnginfo(describe(self.origin, pair), COMPOSITE, self.producer)
        write_atomically(files[0], images.png_bytes(pair, info))
        nearest.save(files[1])
        return files, nearest

    def _batches(self, num: int) -> Iterator[Batch]:
        """The images, with a call of `progress` after each batch is used."""
        for batch in draw.batches(self.trained, self.settings, num):
            yield batch
            if self.progress:
                self.progress(batch.indices.stop, num)

    def _marks(self, recipe: dict, settings: SampleSettings, image: np.ndarray) -> Marks:
        return draw.recipe_marks(self.origin, recipe, settings, image)

    def _write_png(self, path: Path, image: np.ndarray, marks: Marks) -> None:
        """The signature comes last, over the marks too; the file appears under its name when all is done."""
        content = images.png_bytes(image, pnginfo(marks, producer=self.producer))
        write_atomically(path, self.signer.sign(content) if self.signer else content)

    def _check_replaces(self, path: Path, **ours: object) -> None:
        """Raises UserError if there is a file that is not the same image: of another run, checkpoint, seed or
        truncation, or with other marks than `ours`, by their names. A grid goes with its single images."""
        if self.overwrite or not path.exists():
            return
        ours |= {name: getattr(self.origin, name) for name in ("run_id", "checkpoint_sha256", "ema")}
        ours |= {name: getattr(self.settings, name) for name in ("truncation", "seed")}
        old = marks_in(path)
        if old is None or any(getattr(old, name) != value for name, value in ours.items()):
            raise UserError(
                f"{path} is there already and holds something else: name another folder with --out, or --overwrite it"
            )
        if path.suffix == ".png" and self._loses(png.read(path)):
            raise UserError(
                f"{path} is there already with a signature or a producer's label: give --c2pa_cert, --c2pa_key or "
                "--producer again, name another folder with --out, or --overwrite it"
            )

    def _loses(self, old: png.Png) -> bool:
        """Whether a PNG has a signature or an implicit label that what is written now would not have."""
        is_labelled = named("TC260:AIGC") in (read_marks(old)[1] or {})
        return (CHUNK.decode() in old.kinds and not self.signer) or (is_labelled and not self.producer)


def write_animation(path: Path, content: bytes, marks: Marks, producer: str = "") -> None:
    """Writes a GIF, and first the JSON beside it with its marks: no crash leaves a GIF without them."""
    write_atomically(sidecar_path(path), sidecar(marks, path.name, content, producer=producer).encode("ascii"))
    write_atomically(path, content)
