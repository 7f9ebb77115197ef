"""Vectors supplied with the items, used instead of encoding their texts.

They must come from the encoder of the version that is built. That encoder also encodes queries and later items, and
only vectors of one encoder can be compared.
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
from recsys.reading.vector_files import SuppliedVectors
from recsys.versions.build import Content

AGREEMENT = 0.95
"""Least mean cosine between supplied vectors and the encoder's own. Exports of one model in float32 and int8 reach
0.99 and more; vectors of another model are near 0."""
_SAMPLE = 16
"""Texts that are encoded for the comparison."""


def with_vectors(content: Content, given: SuppliedVectors, encoder: Encoder) -> Content:
    """Return the content with the given vectors, float32 of length `encoder.dimension`, for its items' texts.

    A vector whose content hash differs from the hash of the item's text is left out: the text has changed, or another
    encoder was used. Of the vectors without a hash a sample is compared with the encoder. Raises BadInput when their
    mean cosine is under AGREEMENT.
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
    sample = [texts[at] for at in np.unique(np.linspace(0, len(texts) - 1, _SAMPLE).astype(int))] if texts else []
    if not sample:
        return
    cosine = float((np.stack([by_text[text] for text in sample]) * encoder.encode(sample)).sum(axis=1).mean())
    if not cosine >= AGREEMENT:
        raise BadInput(
            f"vector: of {len(sample)} texts the given vectors have a mean cosine of {cosine:.3f} to those of the "
            f"config file's encoder, under {AGREEMENT}; they must come from it, of the text `title. text`: name their "
            "model under encoder, or leave the column out and texts are encoded",
            field=VECTOR,
        )
