"""Low-rank factors of an item operator: history @ B is approximately (sum of context vectors) @ item vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.datatypes import Floats
from recsys.training.item_operators import Matrix


@dataclass(frozen=True, slots=True)
class Factors:
    """`contexts` and `items`: (I, r) float32. The score of item j after item i is contexts[i] @ items[j]."""

    contexts: Floats
    items: Floats


def factorise(operator: Matrix, dimension: int, seed: int) -> Factors:
    """Return the best factors of rank `dimension` (Eckart and Young 1936) by random projections (Halko et al. 2011)."""
    from sklearn.utils.extmath import randomized_svd  # noqa: PLC0415 - takes a second to import

    size = operator.shape[0]
    rank = min(dimension, size)
    source = sp.csr_array(operator) if sp.issparse(operator) else operator
    left, strength, right = randomized_svd(source, rank, n_iter=4, random_state=seed)
    root = np.sqrt(strength)
    contexts, items = np.zeros((size, dimension), np.float32), np.zeros((size, dimension), np.float32)
    contexts[:, :rank], items[:, :rank] = left * root, right.T * root
    return Factors(contexts, items)


def from_text(text: Floats, learned: Floats, counts: Floats, ridge: float) -> Floats:
    """Return the (d + 1, r) float32 map from [text vector, 1] to learned vectors, for items without interactions.

    It is a ridge regression with the weight count / (count + 20) of an item, the certainty of its learned vector.
    `text`: (I, d) float32; `learned`: (I, r) float32; `counts`: (I,) float32 interactions.
    """
    certainty = (counts / (counts + 20.0)).astype(np.float32)[:, None]
    wide = np.concatenate([text, np.ones((len(text), 1), np.float32)], axis=1)
    regular = wide.T @ (certainty * wide) + np.diag([*[ridge] * text.shape[1], 1e-3])
    return np.asarray(np.linalg.solve(regular, wide.T @ (certainty * learned)), np.float32)
