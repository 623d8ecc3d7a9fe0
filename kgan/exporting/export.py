"""`kgan.export`: a run's generator for others, as files that need no kgan."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from kgan import images
from kgan.data.licensing.card import normal_license
from kgan.errors import UserError
from kgan.exporting.modelcard import model_card
from kgan.files import write_atomically
from kgan.provenance.marks import pnginfo
from kgan.runs import environment
from kgan.runs.checkpoint import find
from kgan.runs.rundir import RunDir

SAMPLE_SEED = 0
CARD, ARCHIVE, SAVED_MODEL, GRID = "README.md", "generator.keras", "saved_model", "samples.png"


@dataclass(frozen=True)
class ExportResult:
    """What `export` wrote: the names `files` in `folder`."""

    folder: Path
    files: tuple[str, ...]


def export(
    run: str | os.PathLike,
    *,
    out: str | os.PathLike,
    license: str,
    checkpoint: str | int = "best",
    ema: bool = True,
    producer: str = "",
) -> ExportResult:
    """Writes generator.keras, a SavedModel, a model card and a labelled grid of samples into a new folder.

    The same checkpoint gives the same bytes of all but the SavedModel. The folder appears whole or not at all.

    Args:
        run: The run folder.
        out: The new folder.
        license: The licence of the weights: an SPDX id, or LicenseRef-NAME.
        checkpoint: "best" (if one was scored, else the last), "last", or a step.
        ema: Export the averaged weights, if the run has them.
        producer: Adds China's implicit label (GB 45438-2025) with this name to the grid.

    Raises:
        UserError: There is no such run, checkpoint or licence, or `out` is there already.
    """
    if not os.fspath(out or ""):
        raise UserError("--out is missing: name the folder to write to")
    if not (license or "").strip():
        raise UserError("--license is missing: choose one for the weights, an SPDX id such as CC-BY-4.0")
    license, target = normal_license(license), Path(out)
    folder = RunDir.open(run)
    find(folder.checkpoints, str(checkpoint))
    workplace = _workplace(target)
    try:
        _write(folder, workplace, license, str(checkpoint), ema, producer)
        os.replace(workplace, target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return ExportResult(target, tuple(sorted(path.name for path in target.iterdir())))


def _workplace(out: Path) -> Path:
    """A folder beside `out`, to be moved there when all is written. Raises UserError if `out` is taken."""
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--out={out} is there already: name a new folder")
        if out.is_symlink() or os.path.ismount(out) or out.resolve() == Path.cwd():
            raise UserError(f"--out={out} cannot be replaced by a folder: name one that is not there yet")
        folder = out.absolute().with_name(f".{out.absolute().name}.{os.getpid()}.tmp")
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--out={out}: cannot make this folder ({error.strerror})") from None
    return folder


def _write(run: RunDir, folder: Path, license: str, checkpoint: str, ema: bool, producer: str) -> None:
    environment.import_tensorflow()
    from kgan.exporting import archive
    from kgan.exporting.facts import card_facts
    from kgan.runs.generator import load
    from kgan.sampling import draw

    trained = load(run.path, checkpoint, ema)
    facts = card_facts(trained, run, license, checkpoint)
    card = model_card(facts | {"sample_grid": GRID, "sample_seed": SAMPLE_SEED})
    picture, marks = draw.marked_grid(trained, draw.SampleSettings(SAMPLE_SEED))
    images.write_png(folder / GRID, picture, pnginfo(marks, producer=producer))
    write_atomically(folder / CARD, card.encode("utf-8"))
    write_atomically(folder / ARCHIVE, archive.keras_archive(trained.generator))
    archive.write_saved_model(trained.generator, folder / SAVED_MODEL)
