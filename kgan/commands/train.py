"""Train a GAN on a data set or a folder of images.

usage: kgan train [--dataset=mnist] [--flagfile=experiments/mnist.flags] [--run_dir=runs/x]
       kgan train --resume=runs/x [--epochs=100]
       kgan train --run_dir=runs/x --resume=auto [--dataset=mnist]
"""

import json
import shlex

from absl import flags

from kgan import cli
from kgan.errors import UserError
from kgan.runs.rundir import RunDir
from kgan.training.display import Display
from kgan.training.train import TrainResult, describe, train

FLAGS = flags.FLAGS
AUTO = "auto"


def define_flags() -> None:
    cli.define_settings()
    flags.DEFINE_string(
        "run_dir", cli.default(train, "run_dir"), "The new run's folder. Default: the next numbered one below runs/."
    )
    flags.DEFINE_string(
        "resume",
        None,
        "The run to go on with; --epochs and some others may change. auto: start the run in --run_dir, go on with it, "
        "or leave it if it is finished.",
    )
    flags.DEFINE_bool("dry_run", False, "Print the resolved settings, parameter counts and disk use, and stop.")


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"unexpected {' '.join(arguments)!r}: every setting is a flag, as in --dataset=mnist")
    if FLAGS.resume == AUTO and not FLAGS.run_dir:
        raise UserError("--resume=auto needs --run_dir, the run that may be there already")
    if FLAGS.resume and FLAGS.resume != AUTO and FLAGS.run_dir:
        raise UserError("--resume and --run_dir both name the run folder: give one of them")
    where = {
        "run_dir": FLAGS.run_dir if FLAGS.resume in (None, AUTO) else FLAGS.resume,
        "resume": FLAGS.resume if FLAGS.resume == AUTO else bool(FLAGS.resume),
    }
    if FLAGS.dry_run:
        show_plan(describe(**where, **cli.given_settings()))
        return
    with Display() as display:
        result = train(**where, **cli.given_settings(), progress=display.progress)
    if result.status == "finished":
        show_result(result)


def show_plan(description: dict) -> None:
    config = description.pop("config")
    print(config.to_flags() + json.dumps(description, indent=2))
    print(f"disk: up to {description['disk_bytes'] / 2**20:,.0f} MiB; no run folder was made")


def show_result(result: TrainResult) -> None:
    """What to look at, and commands to paste."""
    run = RunDir(result.path)
    kgan, path = cli.program(), shlex.quote(str(run.path))
    settings = run.read_config()
    longer = f"--epochs={2 * settings.epochs}" if settings.epochs else f"--steps={2 * result.step}"
    print(f"look at   {run.comparison_file}: real images beside generated ones. Can you name each? Do they differ?")
    print(f"          {run.animation_file}: the same latents through training; {run.curves_file}: the losses")
    if "frechet_distance" in result.scores:
        print(f"best:     step {result.best_step}, Frechet distance {result.scores['frechet_distance']:.4g}")
    print(f"next:     {kgan} sample {path} --num=64   # single images, each with its origin inside")
    print(f"          {kgan} evaluate {path}   # how good are they?")
    print(f"          {kgan} audit {path}   # are they copies?")
    print(f"          {kgan} train --resume={path} {longer}   # train it longer")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
