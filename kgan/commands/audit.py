"""Did it learn, or did it copy? Search the images of a run, or of any generator, for copies of training images.

usage: kgan audit RUN [--recover] [--against=DIR]
       kgan audit --samples=DIR|FILE --dataset=mnist --num_heldout=5000
       kgan audit --samples=DIR|FILE --train=DIR|FILE --heldout=DIR|FILE
       kgan audit --samples=DIR|FILE --against=DIR --heldout=DIR|FILE

A FILE is an .npz or .npy of uint8 images, (n, h, w, c) or (n, h, w).

Writes audit-pairs.png, audit-ratios.png and audit.json: into the run folder, or NAME-audit beside the samples, with
--against=WORKS into against-WORKS in there; or into --out. Exit 0: no copying detected at the sensitivity it states; 1:
copies found; 2: cannot tell, or a mistake.
"""

import functools
import os
from pathlib import Path

from absl import flags

from kgan import cli
from kgan.auditing import audit
from kgan.auditing.result import CANNOT_TELL, COPIES_FOUND, NONE_DETECTED, AuditResult
from kgan.data import sources
from kgan.data.split import default_heldout
from kgan.errors import UserError
from kgan.files import nearest_existing
from kgan.runs.rundir import AUDIT, AUDIT_PAIRS

FLAGS = flags.FLAGS
EXIT_CODES = {NONE_DETECTED: 0, COPIES_FOUND: 1, CANNOT_TELL: 2}


def define_flags() -> None:
    default = functools.partial(cli.default, audit)
    flags.DEFINE_string("samples", None, "Instead of RUN: a folder of images, or an .npz or .npy of them.")
    flags.DEFINE_string(
        "dataset", None, f"What the generator of --samples was trained on: {', '.join(sources.usages())}."
    )
    flags.DEFINE_string("train", None, "The same, as a folder of images or a file like --samples.")
    flags.DEFINE_string("heldout", None, "Images of the same origin that the generator never saw. Default: the run's.")
    flags.DEFINE_integer("num_heldout", None, "With --dataset: it never saw the N images that kgan train holds out.", 1)
    flags.DEFINE_string("against", None, "Look for copies of these known works instead, whatever it was trained on.")
    flags.DEFINE_string("data_dir", None, "Where the data lie. Default: the run's, else $KGAN_DATA_DIR, as in train.")
    flags.DEFINE_integer("num_samples", default("num_samples"), "How many samples to look at.")
    flags.DEFINE_float(
        "alpha", default("alpha"), "Share of held-out images that may be flagged; at least 1/(held-out images + 1)."
    )
    flags.DEFINE_integer("shifts", default("shifts"), "Look for copies moved by up to this many pixels, 0 to 2.")
    flags.DEFINE_bool(
        "recover",
        default("recover"),
        "Also search for latents that reproduce training and held-out images (minutes more).",
    )
    flags.DEFINE_integer("seed", default("seed"), "Of the samples: images 0 .. N-1 of it.")
    flags.DEFINE_string("checkpoint", default("checkpoint"), "best (if one was scored, else last), last, or a step.")
    flags.DEFINE_bool("ema", default("ema"), "Draw with the averaged weights, if the run has them.")
    flags.DEFINE_string("out", None, "The folder to write to.")


def main(arguments: list[str]) -> int:
    run = cli.run_or_samples(arguments, FLAGS.samples)
    out = _out(run)
    with cli.progress("comparing") as progress:
        result = audit(run, **cli.flag_values(audit), progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    pictures = result.save_pictures(out)
    result.save(out / AUDIT)
    print(result)
    print(f"wrote {AUDIT}, {' and '.join(path.name for path in pictures)} to {out}")
    _say_what_next(run, result, out)
    return EXIT_CODES[result.verdict]


def _out(run: str | None) -> Path:
    """The folder to write to, which need not be there yet. Raises UserError if it cannot be written to."""
    if FLAGS.out:
        path = Path(FLAGS.out)
    elif run:
        path = Path(run)
    else:
        samples = Path(os.path.abspath(FLAGS.samples))  # which gives "." a name
        path = samples.with_name(f"{samples.stem if samples.is_file() else samples.name}-audit")
    if FLAGS.against and not FLAGS.out:
        path /= f"against-{os.path.basename(os.path.abspath(FLAGS.against))}"
    there = nearest_existing(path)
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"{path}: cannot be written to; name a folder with --out")
    return path


def _say_what_next(run: str | None, result: AuditResult, out: Path) -> None:
    if result.verdict == COPIES_FOUND:
        print(f"Look at the pairs: {out / AUDIT_PAIRS}")
    if FLAGS.dataset and not FLAGS.against and not result.protocol["num_heldout"]:
        least = default_heldout(result.protocol["num_train"])
        print(f"If its generator never saw the images that kgan train holds out, say so with --num_heldout={least}")
    if run and not FLAGS.against:
        print(f"next:     {cli.command_line('report', run)}")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
