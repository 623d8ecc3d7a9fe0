"""Write one HTML page about a run, or several side by side: data, settings, curves, samples, scores, audit.

usage: kgan report RUN [RUN ...] [--out=FILE]

The page needs no network and no other file. It says what to type for what a run lacks, such as kgan evaluate RUN.
"""

from absl import flags

from kgan import cli
from kgan.reports.report import report

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("out", None, "The HTML file. Default: RUN/report.html, of several runs report.html here.")


def main(arguments: list[str]) -> None:
    written = report(arguments, out=FLAGS.out)
    print(f"wrote {written.path} ({written.num_bytes / 2**20:.1f} MiB)")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
