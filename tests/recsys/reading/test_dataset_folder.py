"""Data sets in a folder: one file of items, one of events."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from recsys.errors import BadInput
from recsys.reading.dataset_folder import in_folder, read_folder
from recsys.reading.judgement import FileTallies

ITEMS = b'{"item_id": "a", "title": "A"}\n{"item_id": "b", "title": "B"}\n'
EVENTS = b"".join(
    b'{"user_id": "u", "item_id": "%b", "timestamp": 170000000%d}\n' % (item, n) for n, item in enumerate((b"a", b"b"))
)


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json", ".txt"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_data_set_is_found_under_any_name_that_can_be_read(tmp_path: Path, ending: str, packed: bool) -> None:
    """What is in the files is told by their content, so their names need not promise it."""
    for name, content in (("items", ITEMS), ("events", EVENTS)):
        path = tmp_path / f"{name}{ending}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)
        assert in_folder(tmp_path, name) == path
    tallies = FileTallies()
    read = read_folder(tmp_path, {}, lambda *_: None, tallies=tallies)
    assert ({item.item_id for item in read.items}, len(read.data)) == ({"a", "b"}, 2)
    assert not tallies.items.refused
    assert not tallies.events.refused


def test_a_folder_without_one_is_told_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no items file; it needs items\.csv"):
        in_folder(tmp_path, "items")
