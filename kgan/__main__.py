"""`kgan VERB ...`: finds commands/VERB.py and runs it as the program."""

import ast
import runpy
import sys
from pathlib import Path

import kgan

_COMMANDS = Path(__file__).parent / "commands"


def main() -> None:
    verbs = sorted(path.stem for path in _COMMANDS.glob("[a-z]*.py"))
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("--help", "-h", "help"):
        print(_usage(verbs))
    elif verb == "--version":
        print(f"kgan {kgan.__version__}")
    elif verb in verbs:
        sys.argv = [f"kgan {verb}", *sys.argv[2:]]
        runpy.run_module(f"kgan.commands.{verb}", run_name="__main__", alter_sys=True)
    else:
        print(f"kgan: error: no verb {verb!r}: it is one of {', '.join(verbs)}", file=sys.stderr)
        sys.exit(2)


def _usage(verbs: list[str]) -> str:
    lines = [kgan.__doc__.splitlines()[0], "", "usage: kgan VERB [--flags]", ""]
    for verb in verbs:
        description = ast.get_docstring(ast.parse((_COMMANDS / f"{verb}.py").read_text("utf-8")))
        lines.append(f"  {verb:10} {description.splitlines()[0]}")
    return "\n".join([*lines, "", "`kgan VERB --help` lists the flags of that verb with their defaults."])


if __name__ == "__main__":
    main()
