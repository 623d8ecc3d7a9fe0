"""Ctrl-C, SIGTERM and a terminal that is closed as a request to save and stop."""

import contextlib
import signal
from collections.abc import Iterator


class Stop:
    """`received` is the number of the signal that arrived, that of SIGTERM for SIGHUP, 0 while none has."""

    received = 0


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Notes Ctrl-C, SIGTERM and SIGHUP instead of dying of them; a second Ctrl-C is Python's own KeyboardInterrupt.

    SIGHUP comes when a terminal or a connection is closed. Where it is ignored, as under nohup, it stays so.
    """
    stop = Stop()

    def note(number, _frame):
        stop.received = signal.SIGTERM if number == signal.SIGHUP else number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = (signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP]))
    try:
        previous = {number: signal.signal(number, note) for number in numbers}
    except ValueError:  # not in the main thread: signals are the program's own business
        previous = {}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            if handler is not None:  # None: one of another language, which Python cannot give back
                signal.signal(number, handler)
