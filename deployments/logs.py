"""Our lines in Serve's log: its file, its format (JSON where the config says so), its replica and request ids.

Serve sets up its own logger only; without this, ours would go to the worker's stderr, those below WARNING nowhere.
"""

from __future__ import annotations

import logging


class _ToServe(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # Asked for each time: Serve gives its logger new handlers when its logging_config changes.
        logging.getLogger("ray.serve").handle(record)


def log_with_serve() -> None:
    """In a replica, before it does anything."""
    for name in ("recsys", "deployments", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers = [_ToServe()]
        logger.setLevel(logging.INFO)
        logger.propagate = False
