"""What this process says meanwhile, however it says it."""

from __future__ import annotations

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def heard(said: list[str]) -> Iterator[None]:
    """At the end, `said` has one text more: what was written to stdout and stderr, by libraries in C too, and the
    warnings and log lines that a process without handlers and filters of its own would write there.
    """
    text = io.StringIO()  # stays open: a library's handler may keep it
    handler = logging.StreamHandler(text)
    handler.setLevel(logging.WARNING)
    shown = [os.dup(1), os.dup(2)]
    with (
        tempfile.TemporaryFile() as file,
        redirect_stdout(text),
        redirect_stderr(text),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)  # as Python does
        logging.root.addHandler(handler)
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield
        finally:
            logging.root.removeHandler(handler)
            for number, descriptor in enumerate(shown, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            file.seek(0)
            said.append(text.getvalue() + file.read().decode() + "".join(str(one.message) for one in warned))
