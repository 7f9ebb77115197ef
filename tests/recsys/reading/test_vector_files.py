"""Vectors that come with the items: Parquet of Spark, of pandas and of our own, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.config.encoder import EncoderSpec
from recsys.config.serving import Limits
from recsys.data.parquet_folders import SUCCESS, files_of
from recsys.data.vector_chunks import content_hash
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import BadInput
from recsys.reading.readers import read_items
from recsys.reading.vector_files import SuppliedVectors, read_vectors
from recsys.versions.brought_vectors import with_vectors
from recsys.versions.build import Content

SPARK = Path(__file__).parents[2] / "support" / "spark"
ENCODER = HashingEncoder(EncoderSpec(kind="hashing", dimension=4))
ITEMS = [Item(str(n), f"Film {n}") for n in range(40)]
GOOD = [[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [3.0, 4.0, 0.0, 0.0]]


def write(path, vectors, kind=None, **columns):
    table = {"item_id": [str(n) for n in range(len(vectors))]} | columns
    table["vector"] = pa.array(vectors, kind or pa.list_(pa.float32()))
    pq.write_table(pa.table(table), path)
    return path


def refusal(path, dimension=4, **options):
    with pytest.raises(BadInput) as caught:
        read_vectors([path], dimension, **options)
    return str(caught.value)


@pytest.mark.parametrize(("name", "rows"), [("films", 60), ("doubles", 8)])
def test_what_pyspark_wrote_is_read(name, rows):
    """A folder with _SUCCESS, checksum files, snappy parts, whole numbers as ids; arrays of float and of double."""
    given = read_vectors([SPARK / name], 384)
    assert len(given.vectors) == rows
    lengths = [np.linalg.norm(vector) for vector in given.vectors.values()]
    np.testing.assert_allclose(lengths, 1.0, atol=1e-6)
    batches = list(read_items([SPARK / name], {"genres": "keyword[]", "year": "number"}, Limits()))
    items = [record for batch in batches for record in batch.records]
    assert [bad for batch in batches for bad in batch.bad_rows] == []
    assert {item.item_id for item in items} == given.vectors.keys()
    assert all(item.title and item.attributes["genres"] and item.attributes["year"] > 1900 for item in items)


def test_doubles_and_floats_of_one_item_are_the_same_vector():
    floats, doubles = (read_vectors([SPARK / name], 384).vectors for name in ("films", "doubles"))
    for name, vector in doubles.items():
        np.testing.assert_allclose(floats[name], vector, atol=1e-6)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 4)],
    ids=str,
)
def test_vectors_are_brought_to_length_one(tmp_path, kind):
    given = read_vectors([write(tmp_path / "v.parquet", GOOD, kind)], 4)
    expected = {"0": [1, 0, 0, 0], "1": [0, 1, 0, 0], "2": [0.6, 0.8, 0, 0]}
    for name, vector in expected.items():
        assert given.vectors[name].dtype == np.float32
        np.testing.assert_allclose(given.vectors[name], vector, atol=1e-7)


def test_numbers_of_any_size_have_a_direction(tmp_path):
    """Though their squares are no numbers any more."""
    given = read_vectors([write(tmp_path / "v.parquet", [[3e300, 4e300], [3e-300, 4e-300]], pa.list_(pa.float64()))], 2)
    for vector in given.vectors.values():
        np.testing.assert_allclose(vector, [0.6, 0.8], atol=1e-7)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (None, "is missing; give every row one"),
        ([1.0, 0.0, 0.0], "has 3 numbers, and the config file's encoder makes 4"),
        ([], "has 0 numbers"),
        ([1.0, float("nan"), 0.0, 0.0], "not finite"),
        ([1.0, float("inf"), 0.0, 0.0], "not finite"),
        ([1.0, None, 0.0, 0.0], "not finite"),
        ([0.0, 0.0, 0.0, 0.0], "all zeros"),
    ],
)
def test_a_wrong_vector_is_refused_by_file_row_and_field(tmp_path, bad, says):
    path = write(tmp_path / "v.parquet", [*GOOD, bad])
    message = refusal(path)
    assert f"{path}:4: vector: " in message
    assert says in message


def test_rows_are_counted_over_batches(tmp_path):
    path = write(tmp_path / "v.parquet", [GOOD[0]] * 5000 + [None])
    assert f"{path}:5001: vector: is missing" in refusal(path)


@pytest.mark.parametrize("kind", [pa.string(), pa.float32(), pa.list_(pa.string()), pa.list_(pa.int64())], ids=str)
def test_a_column_that_holds_no_vectors_is_refused(tmp_path, kind):
    values = {"string": "x", "float": 1.0}.get(str(kind), [])
    path = write(tmp_path / "v.parquet", [values], kind)
    assert "not a list of float or double; in Spark write array<float>" in refusal(path)


def test_sparks_ml_vectors_are_refused_with_the_way_out(tmp_path):
    kind = pa.struct([("type", pa.int8()), ("values", pa.list_(pa.float64()))])
    path = write(tmp_path / "v.parquet", [{"type": 1, "values": [1.0]}], kind)
    assert "vector_to_array" in refusal(path)


def test_files_without_the_column_have_no_vectors(tmp_path):
    path = tmp_path / "i.parquet"
    pq.write_table(pa.table({"item_id": ["a"], "title": ["x"]}), path)
    csv = tmp_path / "i.csv"
    csv.write_text("item_id,title\na,x\n")
    assert read_vectors([path, csv], 4) == SuppliedVectors()


def test_other_names_of_the_columns(tmp_path):
    path = tmp_path / "i.parquet"
    pq.write_table(pa.table({"sku": [7], "embedding": [[0.0, 2.0]]}), path)
    given = read_vectors([path], 2, "embedding", "sku")
    np.testing.assert_array_equal(given.vectors["7"], [0.0, 1.0])
    assert "has no column emb; found: sku, embedding" in refusal(path, 2, column="emb")
    csv = tmp_path / "i.csv"
    csv.write_text("item_id,title\na,x\n")
    assert "is no Parquet file" in refusal(csv, 2, column="embedding")


def content(items, encoder=ENCODER, vectors=None, hashes=None):
    made = dict(zip([i.item_id for i in items], encoder.encode([i.passage() for i in items]), strict=True))
    given = SuppliedVectors(vectors or made, hashes or dict.fromkeys(made))
    return with_vectors(Content(items, {"kept": made[items[0].item_id]}), given, ENCODER)


def test_vectors_become_known_texts_beside_those_that_are():
    made = content(ITEMS)
    assert made.encoded.keys() == {"kept", *(item.passage() for item in ITEMS)}
    for item in ITEMS:
        np.testing.assert_array_equal(made.encoded[item.passage()], ENCODER.encode([item.passage()])[0])


def test_vectors_of_another_encoder_are_refused():
    """The same length and another space: told by a sample of the texts."""
    strange = HashingEncoder(EncoderSpec(kind="hashing", dimension=4))
    rng = np.random.default_rng(1)
    strange.encode = lambda texts: rng.standard_normal((len(texts), 4)).astype(np.float32) / 2
    with pytest.raises(BadInput, match=r"mean cosine of .* under 0\.95; they must come from it"):
        content(ITEMS, strange)


def test_a_vector_whose_hash_is_not_the_texts_is_left_out():
    """A text that was changed behind it, or another encoder: the text is encoded again, and no sample is needed."""
    hashes = {item.item_id: content_hash(ENCODER.fingerprint, item.passage()) for item in ITEMS}
    hashes["3"] = content_hash(ENCODER.fingerprint, "what it was before")
    hashes["4"] = content_hash("another encoder", ITEMS[4].passage())
    made = content(ITEMS, hashes=hashes)
    assert {item.passage() for item in ITEMS} - made.encoded.keys() == {"Film 3", "Film 4"}


def test_other_vectors_make_another_content():
    """A build that died must not go on with shards of the vectors of before."""
    other = dict(zip([i.item_id for i in ITEMS], ENCODER.encode([i.passage() for i in ITEMS]), strict=True))
    other["1"] = -other["1"]  # none of the sample
    assert content(ITEMS).brought == content(ITEMS).brought != content(ITEMS, vectors=other).brought
    assert with_vectors(Content(ITEMS), SuppliedVectors(), ENCODER).brought == ""


def test_folders_are_read_in_order_of_their_parts(tmp_path):
    for name in ("part-1.parquet", "part-0.parquet", "_metadata", ".part-0.parquet.crc", SUCCESS):
        (tmp_path / name).touch()
    other = tmp_path.parent / "x.csv"
    assert [p.name for p in files_of([other, tmp_path])] == ["x.csv", "part-0.parquet", "part-1.parquet"]


def test_folders_that_cannot_be_taken(tmp_path):
    with pytest.raises(BadInput, match="is a folder without _SUCCESS"):
        files_of([tmp_path])
    (tmp_path / SUCCESS).touch()
    with pytest.raises(BadInput, match=r"holds no file whose name ends in \.parquet"):
        files_of([tmp_path])
    (tmp_path / "year=1990").mkdir()
    with pytest.raises(BadInput, match="holds the folder year=1990, as partitionBy writes"):
        files_of([tmp_path])
