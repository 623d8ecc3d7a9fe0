"""Train a GAN on a data set or a folder of images.

usage: kgan train [--dataset=mnist] [--flagfile=experiments/mnist.flags] [--run_dir=runs/x [--go_on]]
                  [--resume=runs/x]
"""

import json

from absl import flags

from kgan import cli
from kgan.config import TrainConfig
from kgan.errors import UserError
from kgan.runs import environment
from kgan.runs.rundir import RunDir
from kgan.training import plan

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_settings()
    flags.DEFINE_string("run_dir", None, "The new run's folder. Default: the next numbered one below runs/.")
    flags.DEFINE_string("resume", None, "Go on with the run in this folder; --epochs or --steps may be raised.")
    flags.DEFINE_bool("go_on", False, "If --run_dir holds this run already, resume it; if it is finished, do nothing.")
    flags.DEFINE_bool("dry_run", False, "Print the resolved settings, parameter counts and disk use, and stop.")


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"unexpected {' '.join(arguments)!r}: every setting is a flag, as in --dataset=mnist")
    if FLAGS.resume and FLAGS.run_dir:
        raise UserError("--resume and --run_dir both name the run folder: give one of them")
    if FLAGS.go_on and not FLAGS.run_dir:
        raise UserError("--go_on needs --run_dir, the run that may be there already")
    given = cli.given_settings()
    resumed = FLAGS.resume or (FLAGS.run_dir if FLAGS.go_on and RunDir(FLAGS.run_dir).config_file.exists() else None)
    if resumed:
        run = RunDir.open(resumed)
        saved = run.read_config()
        config = plan.resume_config(saved, given)
        if FLAGS.go_on and config == saved and run.read_record().get("status") == "finished":
            print(f"{run.path} is finished already")
            return
    else:
        config = TrainConfig(**given)
    environment.import_tensorflow()
    from kgan.training import loop

    if FLAGS.dry_run:
        show(loop.describe(config))
        return
    run = RunDir(loop.train(config, resumed or FLAGS.run_dir, resume=bool(resumed)))
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
