"""`kgan.sample`: images of a trained run as files, each with marks that say where it comes from."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import kgan
from kgan.arguments import check_range, refuse_changed
from kgan.errors import UserError
from kgan.latents import MAX_SEED, check_truncation
from kgan.pictures.picture import read_image
from kgan.progress import Progress
from kgan.provenance.c2pa import Signer
from kgan.runs import environment
from kgan.runs.checkpoint import find
from kgan.runs.generator import TrainedGenerator, class_number, load
from kgan.runs.rundir import RunDir

NUM_IMAGES, NUM_KEYS = 64, 5
MAX_IMAGES, MAX_KEYS = 1_000_000, 32  # file names have six digits


@dataclass(frozen=True)
class SampleResult:
    """What `sample` wrote: `files` in `folder`, `num` images of the generator as it was after `step` updates.

    `ema` says whether the averaged weights drew them. Of an interpolation, `num` counts the draws on the path, and the
    files are the strip, the GIF and its JSON. Of a projection `num` is 1, the files are the pair and the latent's JSON,
    and `mean_squared_error` says how near it came, with images in [-1, 1].
    """

    folder: Path
    files: tuple[Path, ...]
    num: int
    step: int
    ema: bool
    mean_squared_error: float | None = None


def sample(
    run: str | os.PathLike,
    *,
    num: int | None = None,
    seed: int = 0,
    label: int | str | None = None,
    out: str | os.PathLike | None = None,
    checkpoint: str | int = "best",
    ema: bool = True,
    truncation: float | None = None,
    interpolate: bool = False,
    grid: bool = True,
    npz: bool = False,
    project: str | os.PathLike | None = None,
    producer: str = "",
    c2pa_cert: str | os.PathLike | None = None,
    c2pa_key: str | os.PathLike | None = None,
    caption: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SampleResult:
    """Draws images from a trained run. Image i of a seed is the same whatever else is asked.

    Args:
        run: The run folder.
        num: How many images (default 64) or, with `interpolate`, draws on the path (default 5).
        seed: Image i is a function of seed and i. From 0 to 2**31 - 1.
        label: The class of every image, by name or number (a name counts first); without it a conditional generator
            draws the classes in turn.
        out: The folder to write to. By default RUN/generated/step-N, with the label, the truncation and "noema" in
            its name where they are given, so that images of different kinds never meet.
        checkpoint: "best" (if one was scored, else the last), "last", or a step.
        ema: Draw with the averaged weights, if the run has them.
        truncation: Redraw components of z beyond this (see `kgan.latents.latents`).
        interpolate: Instead of single images, a strip and a GIF of the way through the first `num` draws.
        grid: Also a grid of the first 64 images.
        npz: Instead of PNG files, one with the arrays samples (uint8 NHWC), labels and marks.
        project: Instead, the latent whose picture is nearest to the one in this file, as JSON, and the pair as a
            picture. The file is cropped and resized as for training; without `label` every class is tried. Nothing is
            drawn, so that `num`, `seed` and `truncation` are not for it.
        producer: Adds China's implicit label (GB 45438-2025) with this name.
        c2pa_cert, c2pa_key: Sign each PNG with this certificate and private key (PEM files).
        caption: Draw "AI-generated" below grids, strips and GIFs.
        overwrite: Replace any file in the way; without it, only one whose marks say that it is the same image.
        progress: Called with (images written, `num`) or, of a projection, with (steps done, all steps).

    Raises:
        UserError: There is no such run, checkpoint or label, a value is out of range or not for this output, or a file
            that is something else is in the way.
    """
    signed = c2pa_cert is not None or c2pa_key is not None
    _check_outputs(interpolate, npz, project is not None, signed)
    if project is not None:
        drawn = {"num": num, "seed": seed, "truncation": truncation}
        refuse_changed(sample, drawn, "images that are drawn: leave it out, or --project")
    if interpolate or npz or project is not None:
        refuse_changed(sample, {"grid": grid}, "single images, not for --interpolate, --npz or --project")
    if npz:
        refuse_changed(sample, {"caption": caption}, "pictures of several images, not for --npz")
    check_range("seed", seed, 0, MAX_SEED)
    check_truncation(truncation)
    num = _checked_num(num, interpolate)
    folder = RunDir.open(run)
    find(folder.checkpoints, str(checkpoint))
    number = _label_number(folder, label)
    target = None if project is None else _read_target(folder, Path(project))
    signer = Signer(c2pa_cert, c2pa_key, kgan.__version__) if signed else None
    environment.import_tensorflow()
    from kgan.sampling.draw import SampleSettings
    from kgan.sampling.write import Writer

    trained = load(folder.path, checkpoint, ema)
    place = Path(out) if out else folder.generated_by(trained.step, _variant(trained, number, truncation))
    settings = SampleSettings(seed, truncation, number)
    writer = Writer(trained, settings, place, producer, signer, overwrite, progress)
    error = None
    if project is not None and target is not None:
        files, nearest = writer.projection(target, Path(project).stem, caption)
        num, error = 1, nearest.mean_squared_error
    elif interpolate:
        files = writer.interpolation(num, caption)
    else:
        files = writer.npz(num) if npz else writer.singles(num, grid, caption)
    return SampleResult(writer.folder, tuple(files), num, trained.step, trained.ema, error)


def _check_outputs(interpolate: bool, npz: bool, project: bool, signed: bool) -> None:
    if interpolate + npz + project > 1:
        raise UserError("--interpolate, --npz and --project are different outputs: give one of them")
    if signed and (npz or project):
        raise UserError("--c2pa_cert signs generated PNG files: leave it out, or --npz and --project")


def _variant(trained: TrainedGenerator, label: int | None, truncation: float | None) -> str:
    """What tells images of other settings from those of none in the name of their folder."""
    parts = [f"-label-{label}" if label is not None else "", f"-truncation-{truncation}" if truncation else ""]
    return "".join([*parts, "-noema" if trained.config.ema_decay and not trained.ema else ""])


def _read_target(run: RunDir, path: Path) -> np.ndarray:
    config = run.read_config()
    assert config.image_size and config.channels  # a run's settings are resolved
    return read_image(path, config.image_size, config.channels)


def _label_number(run: RunDir, label: int | str | None) -> int | None:
    """The number of a class of the run's. Raises UserError if it has no such class."""
    if label is None:
        return None
    if not run.read_config().conditional:
        raise UserError(f"--label={label}: this generator was trained without labels: it takes none")
    return class_number(label, list(run.read_record().get("dataset", {}).get("classes", {})))


def _checked_num(num: int | None, interpolate: bool) -> int:
    num = num if num is not None else NUM_KEYS if interpolate else NUM_IMAGES
    low, high = (2, MAX_KEYS) if interpolate else (1, MAX_IMAGES)
    if not low <= num <= high:
        raise UserError(f"--num={num}: must be from {low} to {high:,}{' with --interpolate' * interpolate}")
    return num
