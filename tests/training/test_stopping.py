"""Signals are requests to save and stop."""

import os
import signal

import pytest

from kgan.training.stopping import stop_signals


@pytest.fixture
def on_hangup():
    """Sets what is done on SIGHUP, for this test."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_stops_like_sigterm(on_hangup):
    on_hangup(signal.SIG_DFL)
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
    assert stop.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_a_closed_terminal_is_nothing_to_a_program_under_nohup(on_hangup):
    on_hangup(signal.SIG_IGN)
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
    assert stop.received == 0
