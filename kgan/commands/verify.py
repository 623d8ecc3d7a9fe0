"""Check the marks of images; with --run, regenerate the images and compare.

usage: kgan verify IMAGE|DIR... [--run=RUN] [--c2pa_trust=CA.pem]

Exit 0: verified, which takes equal pixels. 1: an image is not what it claims, or has no marks. 2: it cannot be told, or
is close: as few pixel values differ by one level as rounding on other hardware gives. Of many images, any 1 wins, then
2. Without --run nothing is compared with a run, and 0 only says that a file is consistent with itself: marks can be
forged. Of the folder of RUN, what no network drew is left out: checkpoints, reals.png, curves.png, audit-ratios.png.
"""

from collections import Counter

from absl import flags

import kgan
from kgan import cli
from kgan.provenance.check import Verdict
from kgan.sampling.verify import FileResult, VerifyResult
from kgan.text import one_line, table

FLAGS = flags.FLAGS
FORGEABLE = "marks can be forged: only --run=RUN compares an image with what made it"


def define_flags() -> None:
    flags.DEFINE_string("run", None, "The run that made the images, to compare them with. Without it none is compared.")
    flags.DEFINE_string("c2pa_trust", None, "PEM file of authorities whose C2PA signers you trust; adds a note.")


def main(arguments: list[str]) -> int:
    with cli.progress("images") as progress:
        result = kgan.verify(arguments, run=FLAGS.run, c2pa_trust=FLAGS.c2pa_trust, progress=progress)
    show(result)
    return result.exit_code


def show(result: VerifyResult) -> None:
    """Prints a line for one image, a table and counts for many."""
    if len(result.files) == 1:
        (file,) = result.files
        print(f"{one_line(file.path)}: {file.verdict}: {_reason(file)}")
    else:
        rows = [(one_line(file.path), file.verdict.value, _reason(file)) for file in result.files]
        print(table(("image", "verdict", "why"), rows))
        counts = Counter(file.verdict for file in result.files)
        parts = (f"{counts[verdict]:,} {verdict}" for verdict in Verdict if counts[verdict])
        print(f"{len(result.files):,} images: " + ", ".join(parts))
    if not result.regenerated and any(file.verdict == Verdict.CONSISTENT for file in result.files):
        print(FORGEABLE)


def _reason(file: FileResult) -> str:
    return file.reason.removeprefix(f"{one_line(file.path)}: ")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
