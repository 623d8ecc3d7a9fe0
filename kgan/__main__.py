"""`kgan COMMAND ...`: finds commands/COMMAND.py and runs it as the program."""

import ast
import codecs
import difflib
import io
import os
import runpy
import signal
import sys
from pathlib import Path

import kgan

_COMMANDS = Path(__file__).parent / "commands"


def main() -> None:
    """Runs the command line. Where the reader of the output goes away, as in `kgan --help | head -1`, it ends in
    silence with the code of a program killed by SIGPIPE. File names that are not UTF-8 are printed as they are, what
    the terminal has no characters for as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    try:
        try:
            _run(sys.argv[1:])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _run(arguments: list[str]) -> None:
    commands = sorted(path.stem for path in _COMMANDS.glob("[a-z]*.py"))
    if not arguments and (listed := _runs_here()):
        print(listed)
        return
    command, *rest = arguments or ["--help"]
    if command in ("--help", "-h", "help"):
        print(_usage(commands))
    elif command == "--version":
        print(f"kgan {kgan.__version__}")
    elif command in commands:
        sys.argv = [f"kgan {command}", *("--help" if argument == "-h" else argument for argument in rest)]
        runpy.run_module(f"kgan.commands.{command}", run_name="__main__", alter_sys=True)
    else:
        near = difflib.get_close_matches(command, commands, n=1)
        meant = f"did you mean {near[0]}? It" if near else "it"
        print(f"kgan: error: no command {command!r}: {meant} is one of {', '.join(commands)}", file=sys.stderr)
        sys.exit(2)


def _runs_here() -> str | None:
    """The runs of the working directory, or of runs/ in it."""
    from kgan.reports import listing

    runs = listing.runs_here()
    if not runs:
        return None
    return f"{listing.table(runs)}\n\n`kgan report RUN` writes a page about one; `kgan --help` lists the commands."


def _usage(commands: list[str]) -> str:
    lines = [kgan.__doc__.splitlines()[0], "", "usage: kgan COMMAND [--flags]", ""]
    for command in commands:
        description = ast.get_docstring(ast.parse((_COMMANDS / f"{command}.py").read_text("utf-8"))) or ""
        lines.append(f"  {command:10} {description.partition(chr(10))[0]}")
    return "\n".join([*lines, "", "`kgan COMMAND --help` lists the flags of that command with their defaults."])


if __name__ == "__main__":
    main()
