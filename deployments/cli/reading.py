"""Whole item files, read for commands that build something of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from deployments.machine.serve_config import platform_of, serving_of
from recsys.data.readers import read_items
from recsys.datatypes import Item
from recsys.encoders.catalogue import Progress

_SHOWN = 20
"""Bad rows printed one by one; all are counted."""


def read_catalogue(
    files: Sequence[Path], known: dict[str, Any], mapping: Mapping[str, str], report: Progress, console: Console
) -> tuple[list[Item], int]:
    """The items, and the number of rows that were left out. `known`: the Serve config file."""
    items, bad = [], 0
    for batch in read_items(files, platform_of(known).attributes, serving_of(known).limits, mapping):
        for row in batch.bad_rows[: max(0, _SHOWN - bad)]:
            console.print(str(row), style="yellow", markup=False)
        bad += len(batch.bad_rows)
        for record in batch.records:
            attributes = {key: value for key, value in record.attributes.items() if value is not None}
            items.append(Item(record.item_id, record.title, record.text, attributes, record.created_at))
        report("read", batch.bytes_read, batch.bytes_total)
    return items, bad
