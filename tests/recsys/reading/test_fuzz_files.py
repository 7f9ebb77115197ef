"""Files with anything in them: a user's import, a damaged version. Each is read, or refused in one clear way."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.access.api_keys import parse_keys
from recsys.config.serving import Limits, Serving
from recsys.errors import BadInput, VersionError
from recsys.files import sha256
from recsys.reading.readers import read_events, read_items
from recsys.versions.build import Content
from recsys.versions.opening import open_shard
from recsys.versions.store import VersionStore
from tests.support.any_text import any_text
from tests.support.builds import SHARD_FILES, build
from tests.support.world import ATTRIBUTES, catalogue

ENDINGS = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz", ".parquet")
EXAMPLES = settings(max_examples=40)

ROWS = [
    {"item_id": "1", "title": "a", "text": "b, c", "topic": "sea", "user_id": "u", "type": "like", "timestamp": 5},
    {"item_id": "2", "title": "é", "text": 'q"x', "topic": "sky", "user_id": "u", "type": "view", "timestamp": 6},
]


def good(ending: str) -> bytes:
    """A file of that kind without a fault."""
    if ending == ".parquet":
        whole = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(ROWS), whole)
        return whole.getvalue()
    if "csv" in ending:
        table = io.StringIO()
        writer = csv.DictWriter(table, list(ROWS[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(ROWS)
        text = table.getvalue().encode()
    else:
        text = "\n".join(map(json.dumps, ROWS)).encode()
    return gzip.compress(text, mtime=0) if ending.endswith(".gz") else text


Damage = list[tuple[str, float, bytes]]
damage = st.lists(
    st.tuples(st.sampled_from(("put", "insert", "cut", "drop")), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=6,
)


def damaged(whole: bytes, steps: Damage) -> bytes:
    for step, where, what in steps:
        at = int(where * len(whole))
        match step:
            case "put":
                whole = whole[:at] + what + whole[at + len(what) :]
            case "insert":
                whole = whole[:at] + what + whole[at:]
            case "cut":
                whole = whole[:at]
            case "drop":
                whole = whole[:at] + whole[at + len(what) :]
    return whole


def read_whole(path: Path) -> None:
    """As items and as events; every row is a record or has its line and what is wrong with it."""
    for read in (
        lambda: read_items([path], ATTRIBUTES, Limits()),
        lambda: read_events([path], Serving().event_types, Limits()),
    ):
        try:
            for batch in read():
                assert all(bad.line >= 1 and bad.message for bad in batch.bad_rows)
                assert 0 <= batch.bytes_read <= batch.bytes_total
        except BadInput as refused:
            said = str(refused)
            assert path.name in said
            assert "\n" not in said


@pytest.mark.parametrize("ending", ENDINGS)
@EXAMPLES
@example(content=b"[1")
@example(content=b'{"item_id":\n1}')
@given(content=st.one_of(st.binary(max_size=400), any_text(max_size=200).map(str.encode)))
def test_anything_is_read_or_refused(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(gzip.compress(content, mtime=0) if ending.endswith(".gz") else content)
    read_whole(path)


@pytest.mark.parametrize("ending", ENDINGS)
@EXAMPLES
@given(steps=damage)
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, ending: str, steps: Damage) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(damaged(good(ending), steps))
    read_whole(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_file_that_is_damaged_is_good(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(good(ending))
    items = [record for batch in read_items([path], ATTRIBUTES, Limits()) for record in batch.records]
    assert [(item.item_id, item.title) for item in items] == [("1", "a"), ("2", "é")]


def test_a_small_file_that_unpacks_to_much_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """A line longer than any record is refused once that is known, and not after 256 MiB of it."""
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(256):
            file.write(b"x" * (1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match="line 1 is longer than 16 MiB"):
            list(read_items([path], ATTRIBUTES, Limits()))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_parquet_whose_column_has_no_name_in_utf8_is_refused(tmp_path: Path) -> None:
    """What made-up damage found: Arrow fails with another error there than elsewhere."""
    path = tmp_path / "x.parquet"
    path.write_bytes(good(".parquet").replace(b"title", b"ti\x80le"))
    with pytest.raises(BadInput, match=r"x\.parquet: cannot be read"):
        list(read_items([path], ATTRIBUTES, Limits()))


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a small version that is whole."""
    root = tmp_path_factory.mktemp("fuzz")
    store = VersionStore(root)
    made = build(store, shards=1).publish(Content(catalogue()))
    store.promote(made.version)
    assert open_shard(store, made.version, 0).version == made.version
    return root / made.version


@pytest.mark.parametrize("name", SHARD_FILES)
@settings(max_examples=12)
@given(steps=damage)
def test_a_damaged_snapshot_is_refused_by_its_checksum(version: Path, tmp_path: Path, name: str, steps: Damage) -> None:
    store = copied(version, tmp_path)
    path = tmp_path / "copy" / version.name / "shard-0" / name
    whole = path.read_bytes()
    changed = damaged(whole, steps)
    path.unlink()  # it is the version's own file
    path.write_bytes(changed)
    if changed == whole:
        open_shard(store, version.name, 0)
        return
    for use in (store.verify, store.promote, lambda v: open_shard(store, v, 0)):
        with pytest.raises(VersionError, match=f"{name} is missing or was changed"):
            use(version.name)


@EXAMPLES
@given(steps=damage)
def test_a_damaged_manifest_is_refused(version: Path, tmp_path: Path, steps: Damage) -> None:
    """Or it still says the same of the files, as where a digit of the time of day was changed."""
    store = copied(version, tmp_path)
    path = tmp_path / "copy" / version.name / "manifest.json"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(damaged(whole, steps))
    for use in (store.manifest, store.verify, lambda v: open_shard(store, v, 0)):
        refused_or_done(lambda use=use: use(version.name))
    store.versions()


@EXAMPLES
@given(content=st.one_of(st.binary(max_size=100), any_text(max_size=50).map(str.encode), damage))
def test_a_damaged_current_is_refused(version: Path, tmp_path: Path, content: bytes | Damage) -> None:
    store = copied(version, tmp_path)
    path = tmp_path / "copy" / "CURRENT"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(content if isinstance(content, bytes) else damaged(whole, content))
    for use in (store.current, store.rollback, lambda: store.promote(version.name)):
        refused_or_done(use)


@pytest.mark.parametrize("name", ["vectors.npy", "sketch.npy"])
def test_arrays_that_hold_objects_are_not_unpickled(version: Path, tmp_path: Path, name: str) -> None:
    """Even where whoever wrote the file gave it the right checksum."""
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
            return open, (str(ran), "w")

    store = copied(version, tmp_path)
    folder = tmp_path / "copy" / version.name
    (folder / "shard-0" / name).unlink()
    np.save(folder / "shard-0" / name, np.array([Bomb()], dtype=object), allow_pickle=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["sha256"][name] = sha256(folder / "shard-0" / name)
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VersionError, match="cannot be read"):
        open_shard(store, version.name, 0)
    assert not ran.exists()


@EXAMPLES
@given(text=st.one_of(any_text(max_size=200), st.sampled_from(["&a [*a]", "!!python/object:os.system x", "a: " * 500])))
def test_a_key_file_with_anything_in_it_is_read_or_refused(text: str) -> None:
    try:
        parse_keys(text, "keys")
    except BadInput as refused:
        said = str(refused)
        assert said.startswith("keys: ")


def copied(version: Path, folder: Path) -> VersionStore:
    """A store of links to the version's files: one that is to be changed is removed first."""
    shutil.rmtree(folder / "copy", ignore_errors=True)
    shutil.copytree(version.parent, folder / "copy", copy_function=os.link)
    return VersionStore(folder / "copy")


def refused_or_done(use: Callable[[], object]) -> None:
    with contextlib.suppress(VersionError):
        use()
