"""Vectors supplied with the items of files, used instead of encoding their texts: see `data/given_vectors.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from recsys.data.given_vectors import refuse_others, spread
from recsys.data.vector_chunks import content_hash
from recsys.datatypes import Floats
from recsys.encoders.base import Encoder
from recsys.reading.vector_files import SuppliedVectors
from recsys.versions.build import Content

_SAMPLE = 16
"""Texts that are encoded for the comparison."""


def with_vectors(content: Content, given: SuppliedVectors, encoder: Encoder) -> Content:
    """Return the content with the given vectors, float32 of length `encoder.dimension`, for its items' texts.

    A vector whose content hash differs from the hash of the item's text is left out: the text has changed, or another
    encoder was used. Of the vectors without a hash a sample is compared with the encoder. Raises BadInput when they
    are not like its own.
    """
    by_text: dict[str, Floats] = {}
    unsure = []
    for item in content.items:
        vector, text = given.vectors.get(item.item_id), item.passage()
        if vector is None:
            continue
        expected = given.hashes.get(item.item_id)
        if expected is None:
            unsure.append(text)
        elif expected != content_hash(encoder.fingerprint, text):
            continue
        by_text[text] = vector
    _compare(by_text, unsure, encoder)
    brought = hashlib.sha256(np.concatenate(list(by_text.values())).tobytes()).hexdigest() if by_text else ""
    return replace(content, encoded={**content.encoded, **by_text}, brought=brought)


def _compare(by_text: Mapping[str, Floats], texts: Sequence[str], encoder: Encoder) -> None:
    """Encode an evenly spread sample of the texts. Raise BadInput when their vectors differ from the encoder's."""
    if sample := [texts[at] for at in spread(len(texts), _SAMPLE)]:
        fix = "name their model under encoder in the config file, or leave the column out and texts are encoded"
        refuse_others(np.stack([by_text[text] for text in sample]), encoder.encode(sample), fix)
