"""The errors a user sees as one line, each with the exit code it ends the program with."""


class UserError(Exception):
    """Something the user can put right: a flag, a file, a folder. The message says how."""

    exit_code = 2


class NonFiniteLoss(Exception):
    """Training produced NaN or infinity; the message names the step, the value and the last good checkpoint."""

    exit_code = 4


class Stopped(Exception):
    """Ctrl-C or SIGTERM arrived and everything is saved. `exit_code` is what a shell expects of that signal."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class LostWorker(Exception):
    """Another worker of the run has ended, or cannot be reached. The message names it and says how to go on."""

    exit_code = 3
