"""Draw images from a trained run, each with marks that say where it comes from.

usage: kgan sample RUN [--num=64] [--seed=0] [--label=3] [--out=DIR] [--interpolate | --npz]
                       [--c2pa_cert=CERT.pem --c2pa_key=KEY.pem]

Image i of a seed is the same whatever else is asked. A file of that name is replaced only if its marks say that it is
the same image; anything else that is there stops the command.
"""

import os

from absl import flags

import kgan
from kgan import cli
from kgan.errors import UserError
from kgan.latents import MIN_TRUNCATION
from kgan.sampling.sample import SampleResult

FLAGS = flags.FLAGS


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
        os.environ.get("KGAN_PRODUCER", ""),
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
    with cli.progress("images") as progress:
        result = kgan.sample(arguments[0], **cli.flag_values(kgan.sample), progress=progress)
    show(result, arguments[0])


def show(result: SampleResult, run: str) -> None:
    weights = "averaged weights" if result.ema else "weights as trained"
    what = f"{result.num:,} images in {result.files[0].name}" if FLAGS.npz else f"{len(result.files):,} files"
    print(f"wrote {what} to {result.folder} (step {result.step}, {weights})")
    if not FLAGS.npz:
        files = " ".join(map(str, result.files)) if FLAGS.interpolate else f"{result.folder}/seed{FLAGS.seed:08}-*.png"
        print(f"next:     kgan verify {files} --run={run}")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
