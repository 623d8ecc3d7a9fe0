"""Export a run's generator for others: a .keras file, a SavedModel, a model card and a labelled sample grid.

usage: kgan export RUN --out=DIR --license=SPDX-ID [--checkpoint=best] [--noema]

The same checkpoint gives the same bytes of generator.keras, README.md and samples.png. Neither format needs kgan.
"""

import os
import shutil
from pathlib import Path

from absl import flags, logging

from kgan import cli, images
from kgan.data.licensing.card import normal_license
from kgan.errors import UserError
from kgan.exporting.modelcard import model_card
from kgan.files import write_atomically
from kgan.provenance.marks import pnginfo
from kgan.runs import checkpoint, environment
from kgan.runs.rundir import RunDir

FLAGS = flags.FLAGS
SAMPLE_SEED = 0
GRID = "samples.png"


def define_flags() -> None:
    flags.DEFINE_string("out", None, "The new folder to write to.")
    flags.DEFINE_string("license", None, "The licence of the weights: an SPDX id, or LicenseRef-NAME. Yours to choose.")
    flags.DEFINE_string("checkpoint", "best", "best (if one was scored, else last), last, or a step.")
    flags.DEFINE_bool("ema", True, "Export the averaged weights, if the run has them.")
    flags.DEFINE_string("producer", os.environ.get("KGAN_PRODUCER"), "As for kgan sample, for the sample grid.")


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError("name one run folder, as in kgan export runs/00000-mnist-dcgan-ns --out=DIR --license=SPDX-ID")
    if not FLAGS.out:
        raise UserError("--out is missing: name the folder to write to")
    if not (FLAGS.license or "").strip():
        raise UserError("--license is missing: choose one for the weights, an SPDX id such as CC-BY-4.0")
    license = normal_license(FLAGS.license)
    run, out = RunDir.open(arguments[0]), Path(FLAGS.out)
    checkpoint.choose(run.checkpoints, FLAGS.checkpoint)
    folder = _workplace(out)
    try:
        environment.import_tensorflow()
        from kgan.runs import generator as trained

        write(trained.load(run.path, FLAGS.checkpoint, FLAGS.ema), run, folder, license)
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"wrote {', '.join(sorted(path.name for path in out.iterdir()))} to {out}")


def _workplace(out: Path) -> Path:
    """A folder beside `out`, to be moved there when all is written. Raises UserError if `out` is taken."""
    folder = out.absolute().with_name(f".{out.absolute().name}.{os.getpid()}.tmp")
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--out={out} is there already: name a new folder")
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--out={out}: cannot make this folder ({error.strerror})") from None
    return folder


def write(found, run: RunDir, folder: Path, license: str) -> None:
    """Writes the whole export of a TrainedGenerator into an empty folder. Raises UserError for a damaged run."""
    from kgan.exporting import archive as exporting
    from kgan.sampling import draw as sampling

    facts = exporting.facts(found, run, license, FLAGS.checkpoint)
    card = model_card(facts | {"sample_grid": GRID, "sample_seed": SAMPLE_SEED})
    recipe, draw = sampling.grid_recipe(found, sampling.Draw(SAMPLE_SEED))
    grid = sampling.draw_grid(found, recipe, draw)
    marks = sampling.mark_recipe(sampling.origin(found), recipe, draw, grid)
    images.write_png(folder / GRID, grid, pnginfo(marks, producer=FLAGS.producer or ""))
    write_atomically(folder / "README.md", card.encode("utf-8"))
    write_atomically(folder / "generator.keras", exporting.keras_archive(found.generator))
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells of every step on the way
    found.generator.export(folder / "saved_model", verbose=False)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
