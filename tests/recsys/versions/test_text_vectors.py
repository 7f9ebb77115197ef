"""Vectors of texts are the same in memory and in a file."""

from __future__ import annotations

import shutil

import numpy as np

from recsys.config.encoder import EncoderSpec
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.versions import text_vectors as module
from recsys.versions.text_vectors import text_vectors


def test_many_vectors_are_in_a_file_and_are_the_same(tmp_path, monkeypatch):
    """With equal texts, some that were encoded already, and the folder deleted behind them."""
    encoder, asked = HashingEncoder(EncoderSpec(kind="hashing", dimension=16)), []

    class Counting:
        fingerprint, dimension = "counting", 16

        def encode(self, texts):
            asked.extend(texts)
            return encoder.encode(texts)

    items = [Item(str(n), f"title {n % 700}") for n in range(1500)]
    encoded = {f"title {n}": np.full(16, n, np.float32) for n in range(0, 700, 7)}
    plain = text_vectors(items, encoded, Counting(), tmp_path / "a", lambda *_: None)
    assert sorted(asked) == sorted(f"title {n}" for n in range(700) if n % 7)
    monkeypatch.setattr(module, "IN_MEMORY", 1)
    mapped = text_vectors(items, encoded, Counting(), tmp_path / "b", lambda *_: None)
    assert (tmp_path / "b" / "all.npy").exists()
    shutil.rmtree(tmp_path / "b")
    np.testing.assert_array_equal(plain, mapped)
    for n in (0, 7, 8, 699, 700, 1400, 1499):
        expected = encoded.get(f"title {n % 700}")
        np.testing.assert_array_equal(
            plain[n], encoder.encode([f"title {n % 700}"])[0] if expected is None else expected
        )
