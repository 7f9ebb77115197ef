"""Files of items and events, written and read."""

from __future__ import annotations

import gzip

from recsys.config.platform import AttributeType
from recsys.config.serving import Limits
from recsys.reading.dialect import ReadOptions
from recsys.reading.readers import read_events, read_items

DECLARED: dict[str, AttributeType] = {
    "genre": "keyword",
    "tags": "keyword[]",
    "year": "number",
    "seen_at": "datetime",
}
TYPES = ("view", "like", "rating")


def write(folder, name, content):
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def items_of(*paths, batch=1000, **options):
    """Records and bad rows of all batches; numbers are seconds, also small ones."""
    batches = list(read_items(paths, DECLARED, Limits(), ReadOptions(**{"time_unit": "s", **options}), batch))
    return [one for batch in batches for one in batch.records], [one for batch in batches for one in batch.bad_rows]


def events_of(*paths, batch=1000, default_type=None, default_timestamp=None, **options):
    batches = list(
        read_events(
            paths,
            TYPES,
            Limits(),
            ReadOptions(**{"time_unit": "s", **options}),
            batch,
            default_type=default_type,
            default_timestamp=default_timestamp,
        )
    )
    return [one for batch in batches for one in batch.records], [one for batch in batches for one in batch.bad_rows]
