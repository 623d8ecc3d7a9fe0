"""What every command shares: flags made from TrainConfig, and errors turned into one line and an exit code."""

import contextlib
import dataclasses
import inspect
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags

from kgan import config, settings
from kgan.arguments import check_run_or_samples
from kgan.errors import LostWorker, NonFiniteLoss, Stopped, UserError
from kgan.progress import Progress
from kgan.text import one_line

if TYPE_CHECKING:
    from rich.console import Console


def define_settings() -> None:
    """Defines one absl flag for each field of TrainConfig, shown in the calling program's --help.

    The flags' own default is None, so that a flag given can be told from one left out; the help states the
    field's default.
    """
    for field in dataclasses.fields(config.TrainConfig):
        text = field.metadata["help"]
        if field.default is not None:
            text += f" Default: {config.flag_value(field.default)}."
        kind, choices = settings.value_type(field), field.metadata["choices"]
        module = sys.argv[0]
        if kind is bool:
            flags.DEFINE_bool(field.name, None, text, module_name=module)
        elif kind is int:
            flags.DEFINE_integer(
                field.name, None, text + (f" One of {choices}." if choices else ""), module_name=module
            )
        elif kind is float:
            flags.DEFINE_float(field.name, None, text, module_name=module)
        elif choices:
            flags.DEFINE_enum(field.name, None, choices, text, module_name=module)
        else:
            flags.DEFINE_string(field.name, None, text, module_name=module)


def given_settings() -> dict:
    """The settings given on the command line or in a flagfile: name -> value."""
    names = (field.name for field in dataclasses.fields(config.TrainConfig))
    return {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].present}


def default(function: Callable, name: str):
    """The default of an API function's parameter, so that the flag of that name has the same one."""
    return inspect.signature(function).parameters[name].default


def flag_values(function: Callable) -> dict:
    """The values of the flags that are called like parameters of `function`, to be passed to it."""
    return {name: flags.FLAGS[name].value for name in inspect.signature(function).parameters if name in flags.FLAGS}


def parse_setting(name: str, text: str):
    """The value of a setting as its flag would read it. Raises UserError for what the flag would refuse."""
    config.check_name(name)
    try:
        return flags.FLAGS[name].parser.parse(text)
    except (ValueError, TypeError) as error:
        raise UserError(f"--{name}={text}: {error}") from None


def run(main: Callable[[list[str]], int | None]) -> None:
    """Parses the command line, calls `main(positional arguments)` and exits with its code.

    Every error becomes one line on stderr: 2 for the user's mistakes, 4 for a non-finite loss, 130 after
    Ctrl-C, 3 for a lost worker, and, with a traceback, for what nobody expected.
    """
    app.run(lambda arguments: sys.exit(guarded(lambda: main(arguments[1:]))), flags_parser=_parse)


def guarded(action: Callable[[], int | None]) -> int:
    """Runs `action`; returns its exit code, or the code of the error it raised, which is printed."""
    try:
        return action() or 0
    except (UserError, NonFiniteLoss) as error:
        return fail(str(error), error.exit_code)
    except Stopped as stop:
        _say(f"kgan: {stop}")
        return stop.exit_code
    except LostWorker as error:
        fail(str(error), error.exit_code)
        sys.stdout.flush()
        os._exit(error.exit_code)  # TensorFlow waits at exit, up to two minutes, for the worker that is gone
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except BrokenPipeError:
        raise  # `kgan.__main__` ends in silence
    except OSError as error:
        return fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), 3)
    except Exception:
        _say(traceback.format_exc().rstrip())
        return fail("internal error; the lines above say where", 3)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A bar on the terminal, moved by calling what this gives with (done, total); none where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def console() -> "Console":
    """Where tables are printed: off a terminal, wide enough for every row to stay on its line."""
    from rich.console import Console

    there = Console()
    return there if there.is_terminal else Console(width=10_000)


def run_or_samples(arguments: Sequence[str], samples: str | None) -> str | None:
    """The run folder that a command is to look at, or None for the images of its flag --samples."""
    run = arguments[0] if arguments else None
    if len(arguments) > 1:
        raise UserError(f"name one run folder, not several: {', '.join(arguments)}")
    check_run_or_samples(run, samples)
    return run


def command_line(*arguments: object) -> str:
    """A command of kgan to paste into a shell."""
    return f"{program()} {shlex.join(map(str, arguments))}"


def program() -> str:
    """What to type for `kgan` here, quoted for a shell: the command as it was typed, shorter if it is on the PATH."""
    python, *arguments = sys.orig_argv
    if arguments[:2] == ["-m", "kgan"]:
        return f"{shlex.quote(python)} -m kgan"
    script = arguments[0] if arguments and Path(arguments[0]).name == "kgan" else "kgan"
    on_path = shutil.which("kgan")
    if on_path and Path(script).exists() and Path(on_path).samefile(script):
        return "kgan"
    return shlex.quote(script)


def fail(message: str, code: int) -> int:
    """Prints an error as one line without control characters, whatever path it names; returns `code`."""
    _say(f"kgan: error: {one_line(' '.join(message.split()), 10_000)}")
    return code


def _say(text: str) -> None:
    """On stderr, if that is still there: a terminal that was closed must not change the exit code."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def _refuse_empty() -> None:
    """Raises UserError for a flag that is given empty, as an unset variable of the shell leaves it: what it would have
    said must not be left undone in silence. An empty --producer asks for no label."""
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        if flag.present and flag.value == "" and flag.default != "" and name != "producer":
            raise UserError(f"--{name}= is empty: give it a value, or leave it out")


def _parse(arguments: list[str]) -> list[str]:
    try:
        others = flags.FLAGS(arguments)
        _refuse_empty()
        return others
    except BrokenPipeError:
        raise
    except UserError as error:
        sys.exit(fail(str(error), error.exit_code))
    except (flags.Error, OSError, ValueError) as error:  # ValueError: a flagfile that is not text
        sys.exit(fail(str(error), 2))
    except SystemExit:  # absl exits 1 after printing --help, wherever that stood
        sys.exit(0)
