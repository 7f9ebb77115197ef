"""A catalogue and its vectors in chunks: what is made again when items change, a run dies or a file is damaged."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys.config.encoder import EncoderSpec
from recsys.data.embedding_plan import alone, plan
from recsys.data.parquet_folders import SUCCESS, files_of
from recsys.data.vector_chunks import MAKING, content_hash, write_chunk
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import BadInput, VersionError

DECLARED = {"genres": "keyword[]", "year": "number", "at": "datetime", "language": "keyword"}
ITEMS = [Item(f"i{n}", f"Film {n}", f"about {n}", {"year": float(n)}, float(n)) for n in range(40)]


class Counting(HashingEncoder):
    """Remembers the texts that it encoded."""

    def __init__(self, dimension=16):
        super().__init__(EncoderSpec(kind="hashing", dimension=dimension))
        self.texts = []

    def encode(self, texts):
        self.texts += texts
        return super().encode(texts)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def run(folder, items, encoder=None, chunks=None, per_chunk=10):
    """A run over `chunks` of the plan (None: all, to the end); the encoder, and what was written."""
    encoder = encoder or Counting()
    with alone(folder):
        todo = plan(folder, items, encoder.fingerprint, DECLARED, per_chunk)
        written = [write_chunk(folder, rows, encoder) for rows in todo.todo[:chunks]]
        if chunks is None:
            todo.finish()
    return encoder, written


def rows(folder):
    return [row for path in files_of([folder]) for row in pq.read_table(path).to_pylist()]


def test_a_run_writes_every_item_with_its_vector_and_all_it_holds(folder):
    items = [*ITEMS, Item("ü/1", "T", "x", {"genres": ["A", "B"], "at": 5.0, "language": "de"}), Item("bare", "t")]
    encoder, written = run(folder, items)
    found = {row["item_id"]: row for row in rows(folder)}
    assert found.keys() == {item.item_id for item in items}
    for item in items:
        row = found[item.item_id]
        created = None if row["created_at"] is None else row["created_at"].timestamp()
        assert (row["title"], row["text"], created) == (item.title, item.text, item.created_at)
        attributes = {k: v for k, v in row["attributes"].items() if v is not None}
        if "at" in attributes:
            attributes["at"] = attributes["at"].timestamp()
        assert attributes == item.attributes
        assert row["content_hash"] == content_hash(encoder.fingerprint, item.passage())
        np.testing.assert_array_equal(np.float32(row["vector"]), encoder.encode([item.passage()])[0])
    assert sum(w.encoded for w in written) == sum(w.items for w in written) == len(items)
    assert len(written) == 8
    assert list((folder / MAKING).glob("part-*")) == []


def test_the_vectors_have_a_fixed_length_of_float32(folder):
    run(folder, ITEMS)
    kind = pq.read_schema(files_of([folder])[0]).field("vector").type
    assert (kind.list_size, str(kind.value_type)) == (16, "float")


def test_a_second_run_has_nothing_to_do_and_the_folder_stays_complete(folder):
    run(folder, ITEMS)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    encoder, written = run(folder, reversed(ITEMS), chunks=0)
    assert (encoder.texts, written) == ([], [])
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()} == before


def test_a_run_that_died_goes_on_behind_its_chunks(folder):
    first, done = run(folder, ITEMS, chunks=2)
    (folder / MAKING / "part-of-a-dead-worker").write_bytes(b"half")
    with pytest.raises(BadInput, match="_SUCCESS"):
        files_of([folder])
    second, rest = run(folder, ITEMS)
    assert first.texts
    assert not set(first.texts) & set(second.texts)
    assert len(first.texts) + len(second.texts) == len(ITEMS)
    assert not {w.chunk for w in done} & {w.chunk for w in rest}
    assert len(rows(folder)) == len(ITEMS)
    assert not (folder / MAKING / "part-of-a-dead-worker").exists()


def test_only_changed_texts_are_encoded_again(folder):
    """An item whose attributes changed is written again with the vector that it has."""
    run(folder, ITEMS)
    kept = {path.name for path in files_of([folder])}
    items = [Item("i3", "Film 3", "another text"), Item("i7", "Film 7", "about 7", {"year": 1999.0}), *ITEMS[8:]]
    items += [Item("new", "Film 9", "about 9")]  # a text that another item has
    encoder, written = run(folder, items)
    assert encoder.texts == ["Film 3. another text"]
    assert sum(w.encoded for w in written) == 1
    found = {row["item_id"]: row for row in rows(folder)}
    assert found.keys() == {item.item_id for item in items}
    assert found["i7"]["attributes"]["year"] == 1999.0
    for item in items:
        expected = HashingEncoder(EncoderSpec(kind="hashing", dimension=16)).encode([item.passage()])[0]
        np.testing.assert_array_equal(np.float32(found[item.item_id]["vector"]), expected)
    assert kept - {path.name for path in files_of([folder])}  # chunks of before are gone


def test_one_changed_item_changes_one_chunk(folder):
    run(folder, ITEMS)
    before = {path.name for path in files_of([folder])}
    _, written = run(folder, [Item("i0", "Film 0", "new"), *ITEMS[1:]])
    assert len(before - {path.name for path in files_of([folder])}) == len(written) == 1


def test_another_encoder_encodes_all(folder):
    """The hash is of the encoder as well."""
    run(folder, ITEMS)
    encoder, _ = run(folder, ITEMS, Counting(dimension=8))
    assert len(encoder.texts) == len(ITEMS)
    assert {len(row["vector"]) for row in rows(folder)} == {8}


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_chunk_is_made_again(folder, damage):
    run(folder, ITEMS)
    path = files_of([folder])[1]
    held = pq.read_metadata(path).num_rows
    path.write_bytes(path.read_bytes()[:-100]) if damage == "cut" else path.unlink()
    encoder, [made] = run(folder, ITEMS)
    assert (made.chunk, made.encoded, len(encoder.texts)) == (path.name, held, held)
    assert len(rows(folder)) == len(ITEMS)


def test_a_chunk_whose_source_vanishes_on_the_way_is_encoded(folder):
    """The vectors are looked for when the chunk is made, and a file may be gone by then."""
    run(folder, ITEMS)
    encoder = Counting()
    with alone(folder):
        todo = plan(folder, [Item("i0", "Film 0", "new"), *ITEMS[1:]], encoder.fingerprint, DECLARED, 10)
        for path in folder.glob("part-*"):
            path.unlink()
        written = write_chunk(folder, todo.todo[0], encoder)
    assert written.encoded == written.items > 1


def test_the_last_of_several_items_with_one_id_wins(folder):
    run(folder, [Item("a", "first"), Item("b", "x"), Item("a", "second")])
    assert sorted((row["item_id"], row["title"]) for row in rows(folder)) == [("a", "second"), ("b", "x")]


def test_an_empty_catalogue(folder):
    run(folder, ITEMS)
    run(folder, [])
    assert [path.name for path in folder.iterdir() if path.is_file()] == [SUCCESS]


def test_a_folder_with_files_of_someone_else_is_refused(folder):
    """They would be taken for items of this catalogue; nothing of it is touched."""
    folder.mkdir()
    (folder / "part-00000-479b2a5c-c000.snappy.parquet").write_bytes(b"x")
    (folder / SUCCESS).touch()
    with pytest.raises(BadInput, match=r"c000\.snappy\.parquet, which `recsys embed` did not write"):
        run(folder, ITEMS)
    assert (folder / SUCCESS).exists()


def test_one_run_at_a_time_in_a_folder(folder):
    with alone(folder), pytest.raises(VersionError, match="under way"):
        run(folder, ITEMS)


def test_files_that_are_no_chunks_stay(folder):
    folder.mkdir()
    (folder / "README").write_text("mine")
    (folder / "part-1.csv").write_text("mine")
    run(folder, ITEMS)
    assert {"README", "part-1.csv"} <= {path.name for path in folder.iterdir()}
