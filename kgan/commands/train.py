"""Train a GAN on a data set or a folder of images.

usage: kgan train [--dataset=mnist] [--flagfile=experiments/mnist.flags] [--run_dir=runs/x] [--resume=runs/x]
"""

import json

from absl import flags

from kgan import cli
from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.training import plan
from kgan.training.rundir import RunDir

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_settings()
    flags.DEFINE_string("run_dir", None, "The new run's folder. Default: the next numbered one below runs/.")
    flags.DEFINE_string("resume", None, "Go on with the run in this folder; --epochs or --steps may be raised.")
    flags.DEFINE_bool("dry_run", False, "Print the resolved settings, parameter counts and disk use, and stop.")


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"unexpected {' '.join(arguments)!r}: every setting is a flag, as in --dataset=mnist")
    if FLAGS.resume and FLAGS.run_dir:
        raise UserError("--resume and --run_dir both name the run folder: give one of them")
    given = cli.given_settings()
    if FLAGS.resume:
        config = plan.resume_config(RunDir.open(FLAGS.resume).read_config(), given)
    else:
        config = TrainConfig(**given)
    cli.import_tensorflow()
    from kgan.training import loop

    if FLAGS.dry_run:
        show(loop.describe(config))
        return
    run = RunDir(loop.train(config, FLAGS.resume or FLAGS.run_dir, resume=bool(FLAGS.resume)))
    done = run.read_config()
    longer = f"--epochs={2 * done.epochs}" if done.epochs else f"--steps={2 * done.steps}"
    print(f"next:     kgan sample {run.path} --num=64   # single images, each with its origin inside")
    print(f"          kgan evaluate {run.path}; kgan audit {run.path}   # how good are they? are they copies?")
    print(f"          kgan train --resume={run.path} {longer}   # train it longer")


def show(description: dict) -> None:
    config = description.pop("config")
    print(config.to_flags() + json.dumps(description, indent=2))
    print(f"disk: up to {description['disk_bytes'] / 2**20:,.0f} MiB; nothing was written")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
