"""What a command writes is its own: no log lines and no warnings of the libraries that it uses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_OURS = ("recsys", "deployments")


@contextmanager
def only_our_lines() -> Iterator[None]:
    """While it lasts, warnings of our own loggers go to stderr, and what libraries log or warn goes nowhere.

    Some libraries set up logging for the whole process when they are imported, as onnxruntime's quantisation does. Then
    every HTTP request of a command would be a line. They leave a root logger alone that has a handler.
    """
    with ExitStack() as stack:
        _handle(stack, logging.root, logging.NullHandler())
        shown = logging.StreamHandler()
        shown.setLevel(logging.WARNING)
        for name in _OURS:
            _handle(stack, logging.getLogger(name), shown)
        logging.captureWarnings(capture=True)
        stack.callback(logging.captureWarnings, capture=False)
        yield


def _handle(stack: ExitStack, logger: logging.Logger, handler: logging.Handler) -> None:
    logger.addHandler(handler)
    stack.callback(logger.removeHandler, handler)
