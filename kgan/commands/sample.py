"""Draw images from a trained run, each with marks that say where it comes from.

usage: kgan sample RUN [--num=64] [--seed=0] [--label=cat] [--out=DIR] [--interpolate | --npz | --project=IMAGE]
                       [--c2pa_cert=CERT.pem --c2pa_key=KEY.pem]

Of one checkpoint, label and truncation, image i of a seed is always the same. A file of that name is replaced only if
its marks say that it is the same image, or the grid of such images; anything else that is there stops the command
unless you --overwrite it, and so does one with a signature or a producer's label that the new one would not have.
"""

import functools
import os

from absl import flags

import kgan
from kgan import cli
from kgan.errors import UserError
from kgan.latents import MAX_SEED, MIN_TRUNCATION
from kgan.sampling.sample import SampleResult


def define_flags() -> None:
    default = functools.partial(cli.default, kgan.sample)
    flags.DEFINE_integer("num", None, "How many images, or, with --interpolate, draws on the path. Default: 64, or 5.")
    flags.DEFINE_integer(
        "seed", default("seed"), "Image i is a function of seed and i.", lower_bound=0, upper_bound=MAX_SEED
    )
    flags.DEFINE_string("label", None, "The class of every image, by name or number. Default: the classes in turn.")
    flags.DEFINE_string(
        "out", None, "The folder to write to. Default: RUN/generated/step-N, with --label, --truncation and --noema."
    )
    flags.DEFINE_bool("overwrite", default("overwrite"), "Replace files that hold other images.")
    flags.DEFINE_string("checkpoint", default("checkpoint"), "best (if one was scored, else last), last, or a step.")
    flags.DEFINE_bool("ema", default("ema"), "Draw with the averaged weights, if the run has them.")
    flags.DEFINE_float(
        "truncation",
        None,
        "Truncation trick: redraw components of z whose absolute value is above this. Less variety.",
        lower_bound=MIN_TRUNCATION,
    )
    flags.DEFINE_bool(
        "interpolate",
        default("interpolate"),
        "Instead: a strip and a GIF of the way through the first --num draws.",
    )
    flags.DEFINE_bool("grid", default("grid"), "Also a grid of the first 64 images.")
    flags.DEFINE_bool(
        "npz", default("npz"), "Instead: one file with the arrays samples (uint8 NHWC), labels and marks."
    )
    flags.DEFINE_string("project", None, "Instead: the latent whose picture is nearest to the one in this file.")
    flags.DEFINE_string(
        "producer",
        os.environ.get("KGAN_PRODUCER", default("producer")),
        "Add China's implicit label (GB 45438-2025) with this name. Default: $KGAN_PRODUCER, else no such label.",
    )
    flags.DEFINE_string(
        "c2pa_cert", None, "Sign each PNG with this certificate (PEM, its issuers after it). Needs kgan[c2pa]."
    )
    flags.DEFINE_string("c2pa_key", None, "The private key of --c2pa_cert (PEM). There is no time stamp.")
    flags.DEFINE_bool("caption", default("caption"), "Draw 'AI-generated' below grids, strips and GIFs.")


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError("name one run folder, as in kgan sample runs/00000-mnist-dcgan-rpgan --num=64")
    with cli.progress("images") as progress:
        result = kgan.sample(arguments[0], **cli.flag_values(kgan.sample), progress=progress)
    show(result, arguments[0])


def show(result: SampleResult, run: str) -> None:
    weights = "averaged weights" if result.ema else "weights as trained"
    files, several = result.files, len(result.files) > 1
    what = f"{len(files):,} files" if several else f"{result.num:,} images in {files[0].name}"
    print(f"wrote {what} to {result.folder} (step {result.step}, {weights})")
    if result.mean_squared_error is not None:
        print(f"the nearest latent comes within {result.mean_squared_error:.4g}, the mean squared error in [-1, 1]")
        return
    print(f"next:     {cli.command_line('verify', result.folder, f'--run={run}')}")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
