"""The catalogue in item files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recsys.config.whole import Config
from recsys.datatypes import Item
from recsys.encoders.catalogue import Progress
from recsys.reading.dataset_folder import items_of
from recsys.reading.dialect import ReadOptions
from recsys.reading.readers import Batch

OnBatch = Callable[[Batch[Any]], None]
"""Called with each batch of rows, to count what was left out. It may raise BadInput."""


def read_catalogue(
    files: Sequence[Path], config: Config, options: ReadOptions, say: Progress, on_batch: OnBatch
) -> Sequence[Item]:
    """Return the items of all files in catalogue order, made when they are asked for. Of several with one id the last
    wins.
    """
    return items_of(files, config.platform.attributes, say, options, on_batch, config.serving.limits)
