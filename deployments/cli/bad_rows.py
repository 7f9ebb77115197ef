"""Bad rows of files, as commands say them."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from recsys.data.readers import Batch

_SHOWN = 20
"""Bad rows printed one by one; all are counted."""


class BadRows:
    """Called with each batch that is read: prints what a file was taken for and bad rows while they are few; counts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.count = 0

    def __call__(self, batch: Batch[Any]) -> None:
        for line in batch.said:
            self._console.print(line, style="dim", markup=False, soft_wrap=True)
        for row in batch.bad_rows[: max(0, _SHOWN - self.count)]:
            self._console.print(str(row), style="yellow", markup=False)
        self.count += len(batch.bad_rows)
