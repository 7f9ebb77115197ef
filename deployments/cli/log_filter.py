"""The filter for log lines and warnings of libraries, which commands do not show."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_OURS = ("recsys", "deployments")


@contextmanager
def own_logs_only() -> Iterator[None]:
    """Within the block, warnings of this project's loggers go to stderr, and those of libraries are discarded.

    Some libraries, such as onnxruntime's quantisation, configure logging for the whole process when they are imported.
    Then every HTTP request of a command would print a line. They do not if the root logger has a handler.
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
