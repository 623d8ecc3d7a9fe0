"""Write one HTML page about a run, or several side by side: data, settings, curves, samples, scores, audit.

usage: kgan report RUN [RUN ...] [--out=FILE]

The page needs no network and no other file. It says what to type for what a run lacks, such as kgan evaluate RUN.
"""

import os
from pathlib import Path

from absl import flags

from kgan import cli
from kgan.errors import UserError
from kgan.files import write_atomically
from kgan.reports import facts, page
from kgan.runs.rundir import RunDir

FLAGS = flags.FLAGS
FILE_NAME = "report.html"
_FRAMES, _MIN_FRAMES = 36, 3  # sample grids on the whole page; of each run
_PICTURE_BYTES = 3_000_000  # of all of them, roughly


def define_flags() -> None:
    flags.DEFINE_string("out", None, "The HTML file. Default: RUN/report.html, of several runs report.html here.")


def main(arguments: list[str]) -> None:
    if not arguments:
        raise UserError("name the run folders, as in kgan report runs/00000-mnist-dcgan-ns")
    runs = list({path.resolve(): RunDir.open(path) for path in map(Path, arguments)}.values())
    out = Path(FLAGS.out) if FLAGS.out else runs[0].path / FILE_NAME if len(runs) == 1 else Path(FILE_NAME)
    if out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise UserError(f"{out}: cannot be written; name a file with --out")
    frames = max(_MIN_FRAMES, min(12, _FRAMES // len(runs)))
    text = page.render([facts.read_run(run, frames, _PICTURE_BYTES // (len(runs) * (frames + 1))) for run in runs])
    write_atomically(out, text.encode())
    print(f"wrote {out} ({len(text) / 2**20:.1f} MiB)")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
