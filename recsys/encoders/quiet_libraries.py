"""What libraries of models log, warn and draw, kept from the reader of a command."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from transformers.utils import logging as progress


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Loaders, exporters and quantisers say much that nobody can act on. Their errors are exceptions and still come."""
    level, bars = logging.root.manager.disable, progress.is_progress_bar_enabled()
    logging.disable(logging.WARNING)
    progress.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        if bars:
            progress.enable_progress_bar()  # type: ignore[no-untyped-call]
