"""Whole item files, read for what is built of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recsys.config import Config
from recsys.datatypes import Item
from recsys.encoders.catalogue import Progress
from recsys.reading.dialect import ReadOptions
from recsys.reading.readers import Batch, read_items
from recsys.state.tie_breaking import in_catalogue_order

OnBatch = Callable[[Batch[Any]], None]
"""Called with each batch of rows as it was read, for whoever tells what was left out."""


def read_catalogue(
    files: Sequence[Path], config: Config, options: ReadOptions, say: Progress, on_batch: OnBatch
) -> list[Item]:
    """The items of all files in the order of a catalogue; the last of several with one id wins."""
    items: list[Item] = []
    for batch in read_items(files, config.platform.attributes, config.serving.limits, options):
        on_batch(batch)
        for record in batch.records:
            attributes = {key: value for key, value in record.attributes.items() if value is not None}
            items.append(Item(record.item_id, record.title, record.text, attributes, record.created_at))
        say("read items", batch.bytes_read, batch.bytes_total)
    return in_catalogue_order(items)
