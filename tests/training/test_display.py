"""What `kgan train` shows does not outlast it: a notebook's logger is as it was."""

import logging

from kgan.training.display import Display
from kgan.training.logging import LOGGER


def test_the_logger_is_left_as_it_was(capsys):
    before = LOGGER.level, LOGGER.propagate, LOGGER.isEnabledFor(logging.DEBUG)
    with Display():
        LOGGER.debug("step 1/2")
    assert capsys.readouterr().out == "step 1/2\n"
    assert (LOGGER.level, LOGGER.propagate, LOGGER.isEnabledFor(logging.DEBUG)) == before
