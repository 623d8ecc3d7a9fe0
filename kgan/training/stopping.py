"""Ctrl-C and SIGTERM as a request to save and stop."""

import contextlib
import signal
from collections.abc import Iterator


class Stop:
    """`received` is the number of the signal that arrived, 0 while none has."""

    received = 0


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Notes Ctrl-C and SIGTERM instead of dying of them; a second Ctrl-C is Python's own KeyboardInterrupt."""
    stop = Stop()

    def note(number, _frame):
        stop.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals are the program's own business
        previous = {}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
