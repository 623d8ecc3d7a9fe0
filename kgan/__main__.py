"""`kgan COMMAND ...`: finds commands/COMMAND.py and runs it as the program."""

import ast
import runpy
import sys
from pathlib import Path

import kgan

_COMMANDS = Path(__file__).parent / "commands"


def main() -> None:
    commands = sorted(path.stem for path in _COMMANDS.glob("[a-z]*.py"))
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("--help", "-h", "help"):
        print(_usage(commands))
    elif command == "--version":
        print(f"kgan {kgan.__version__}")
    elif command in commands:
        sys.argv = [f"kgan {command}", *sys.argv[2:]]
        runpy.run_module(f"kgan.commands.{command}", run_name="__main__", alter_sys=True)
    else:
        print(f"kgan: error: no command {command!r}: it is one of {', '.join(commands)}", file=sys.stderr)
        sys.exit(2)


def _usage(commands: list[str]) -> str:
    lines = [kgan.__doc__.splitlines()[0], "", "usage: kgan COMMAND [--flags]", ""]
    for command in commands:
        description = ast.get_docstring(ast.parse((_COMMANDS / f"{command}.py").read_text("utf-8")))
        lines.append(f"  {command:10} {description.splitlines()[0]}")
    return "\n".join([*lines, "", "`kgan COMMAND --help` lists the flags of that command with their defaults."])


if __name__ == "__main__":
    main()
