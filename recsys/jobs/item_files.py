"""Whole item files, read for what is built of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recsys.config import Config
from recsys.datatypes import Item
from recsys.encoders.catalogue import Progress
from recsys.reading.dataset_folder import items_of
from recsys.reading.dialect import ReadOptions
from recsys.reading.readers import Batch

OnBatch = Callable[[Batch[Any]], None]
"""Called with each batch of rows as it was read, for whoever tells what was left out."""


def read_catalogue(
    files: Sequence[Path], config: Config, options: ReadOptions, say: Progress, on_batch: OnBatch
) -> list[Item]:
    """The items of all files in the order of a catalogue; the last of several with one id wins."""
    return items_of(files, config.platform.attributes, say, options, on_batch, config.serving.limits)
