"""Vectors that come with the items, taken for texts that need not be encoded.

They must come from the encoder of the version that is built: what is searched for and what is added later is encoded by
that one, and only vectors of one encoder can be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from recsys.data.vector_chunks import VECTOR, content_hash
from recsys.datatypes import Floats
from recsys.encoders.base import Encoder
from recsys.errors import BadInput
from recsys.reading.vector_files import Given
from recsys.versions.build import Content

AGREEMENT = 0.95
"""Mean cosine to the encoder's own vectors, from which on given ones are its. Exports of one model in float32 and int8
have 0.99 and more, another model about 0."""
_SAMPLE = 16


def with_vectors(content: Content, given: Given, encoder: Encoder) -> Content:
    """The content, whose items' texts have the given vectors.

    A vector whose content hash is not that of the item's text by this encoder is left out. Of those without a
    hash a sample is encoded; BadInput when they are not alike.
    """
    known: dict[str, Floats] = {}
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
        known[text] = vector
    _compare(known, unsure, encoder)
    brought = hashlib.sha256(np.concatenate(list(known.values())).tobytes()).hexdigest() if known else ""
    return replace(content, known={**content.known, **known}, brought=brought)


def _compare(known: Mapping[str, Floats], texts: Sequence[str], encoder: Encoder) -> None:
    """BadInput when the vectors of some of the texts, evenly spread, are not alike to the encoder's."""
    sample = [texts[at] for at in np.unique(np.linspace(0, len(texts) - 1, _SAMPLE).astype(int))] if texts else []
    if not sample:
        return
    cosine = float((np.stack([known[text] for text in sample]) * encoder.encode(sample)).sum(axis=1).mean())
    if not cosine >= AGREEMENT:
        raise BadInput(
            f"vector: of {len(sample)} texts the given vectors have a mean cosine of {cosine:.3f} to those of the "
            f"config file's encoder, under {AGREEMENT}; they must come from it, of the text `title. text`: name their "
            "model under encoder, or leave the column out and texts are encoded",
            field=VECTOR,
        )
