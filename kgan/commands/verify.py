"""Check the marks of images; with --run, make the images again and compare.

usage: kgan verify IMAGE... [--run=RUN] [--c2pa_trust=CA.pem]

Exit 0: verified. 1: an image is not what it claims, or has no marks. 2: it cannot be told. Of many images, any 1 wins,
then 2. Without --run this proves only that a file is consistent with itself: marks can be forged.
"""

from collections.abc import Iterable, Iterator

from absl import flags
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kgan import cli
from kgan.errors import UserError
from kgan.provenance.c2pa import SignatureReader
from kgan.provenance.check import CheckResult, Verdict, check
from kgan.provenance.sidecars import check_animation
from kgan.runs import environment
from kgan.runs.rundir import RunDir
from kgan.text import one_line

FLAGS = flags.FLAGS
FORGEABLE = "marks can be forged: only --run=RUN compares an image with what made it"
_NAMES = {
    Verdict.CONSISTENT: "verified",
    Verdict.INCONSISTENT: "not what it claims",
    Verdict.CANNOT_TELL: "cannot tell",
}


def define_flags() -> None:
    flags.DEFINE_string("run", None, "The run that made the images: each is made again from its latent and compared.")
    flags.DEFINE_string("c2pa_trust", None, "PEM certificates of the authorities whose C2PA signers you trust.")


def main(arguments: list[str]) -> int:
    if not arguments:
        raise UserError("name the images, as in kgan verify runs/x/generated/*.png --run=runs/x")
    signature = SignatureReader(FLAGS.c2pa_trust)
    checked = (
        (path, check_animation(path) if path.lower().endswith(".gif") else check(path, signature)) for path in arguments
    )
    if FLAGS.run:
        RunDir.open(FLAGS.run)
        environment.import_tensorflow()
        from kgan.sampling.verify import Verifier

        judged = ((path, result.verdict, result.words) for path, result in Verifier(FLAGS.run).judge(checked))
    else:
        judged = _alone(checked)
    return _report(judged, len(arguments), _NAMES if FLAGS.run else _NAMES | {Verdict.CONSISTENT: "consistent"})


def _alone(checked: Iterable[tuple[str, CheckResult]]) -> Iterator[tuple[str, Verdict, str]]:
    for path, check_result in checked:
        yield path, check_result.verdict, check_result.told("; ".join(check_result.reasons) or "consistent with itself")


def _report(judged: Iterable[tuple[str, Verdict, str]], count: int, names: dict[Verdict, str]) -> int:
    """Prints a line for one image, a table for many, and returns the exit code."""
    counts = dict.fromkeys((Verdict.CONSISTENT, Verdict.INCONSISTENT, Verdict.CANNOT_TELL), 0)
    table = Table("image", "verdict", "why", box=None, pad_edge=False)
    for path, verdict, words in judged:
        counts[verdict] += 1
        name, words = one_line(path), words.removeprefix(f"{one_line(path)}: ")
        if count == 1:
            print(f"{name}: {names[verdict]}: {words}")
        table.add_row(Text(name, overflow="fold"), names[verdict], Text(words, overflow="fold"))
    if count > 1:
        console = Console()
        if not console.is_terminal:
            console.width = 10_000
        console.print(table)
        print(f"{count:,} images: " + ", ".join(f"{n:,} {names[verdict]}" for verdict, n in counts.items() if n))
    if counts[Verdict.CONSISTENT] and not FLAGS.run:
        print(FORGEABLE)
    return int(next((v for v in (Verdict.INCONSISTENT, Verdict.CANNOT_TELL) if counts[v]), Verdict.CONSISTENT))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
