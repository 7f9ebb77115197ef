"""Item-to-item operators: matrices B with score(next item) = history @ B, learned in closed form.

`ease`         Steck 2019 (arXiv:1905.03375): the best linear autoencoder with a zero diagonal. Here on a Gram matrix in
               which two items of a user count by how near they stand in the history, exp(-gap / span): on
               MovieLens 100K's validation that takes NDCG@10 from 0.126 to 0.135, more than transitions add.
`local_ease`   the same, each column on its strongest neighbours only: for catalogues whose square does not fit memory.
`follows`      how often one item came soon after another, 1/lag, over the root of how often anything did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse as sp

from recsys.data.interactions import Interactions
from recsys.datatypes import Floats

FLOOR = 0.1
"""Share of a pair's weight that does not depend on the gap: 0.05 to 0.2 are the same within noise on validation."""
_LAGS = 10
_REACH = 5
"""Spans after which a pair's nearness counts nothing: exp(-5) = 0.7 % of it."""
_BLOCK = 512
"""Rows that are worked on in one go: bounds memory, not the result."""

Matrix: TypeAlias = Floats | sp.csr_array
"""(I, I): dense, or sparse where the catalogue is large."""


def grams(data: Interactions, spans: Iterable[float]) -> dict[float, Floats]:
    """(I, I) float32 for each span: sum over users of weight_a * weight_b * (FLOOR + (1 - FLOOR) * exp(-gap / span)).

    The part with the gap ends at _REACH spans, so its cost goes by the length of histories and not by their square, and
    pairs are walked through once for all spans.
    """
    size, root = len(data.item_ids), np.sqrt(data.weights)
    made = {span: np.zeros((size, size), np.float32) for span in spans}
    for lag, before, after in _lagged(data, int(_REACH * max(made))):
        cells = data.items[before] * size + data.items[after]
        pairs = root[before] * root[after]
        for span, total in made.items():
            if lag <= _REACH * span:
                np.add.at(total.reshape(-1), cells, pairs * np.float32((1 - FLOOR) * np.exp(-lag / span)))
    for total in made.values():
        np.add(total, total.T, out=total)
    for rows, together in _together(data, root):
        for total in made.values():
            total[rows] += np.float32(FLOOR) * together
    for total in made.values():
        total[np.diag_indices(size)] = data.counts()  # an item stands no distance from itself
    return made


def _together(data: Interactions, root: Floats) -> Iterator[tuple[slice, Floats]]:
    """(rows, those rows of the plain Gram matrix)."""
    seen = sp.csr_array((root, data.items, data.offsets), (data.users, len(data.item_ids)))
    had = sp.csr_array(seen.T)
    for start in range(0, len(data.item_ids), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, (had[rows] @ seen).toarray()


def ease(gram_matrix: Floats, ridge: float, dropout: float = 0.0) -> Floats:
    """(I, I) float32 with a zero diagonal. `ridge` is in interactions; the Gram matrix is left as it is. `dropout` is
    the share of interactions whose loss the operator is to bear, in expectation (Steck 2020, "Autoencoders that don't
    overfit towards the identity").
    """
    size = len(gram_matrix)
    kind = np.float64 if size <= 3000 else np.float32  # double where it costs little
    regular: npt.NDArray[Any] = gram_matrix.astype(kind)
    np.fill_diagonal(regular, _regular(regular.diagonal(), ridge, dropout))
    # The matrix is its own transpose, and in LAPACK's order of columns that one need not be copied.
    factor, failed = scipy.linalg.lapack.get_lapack_funcs("potrf", (regular,))(
        regular.T, lower=True, overwrite_a=True, clean=False
    )
    if failed:
        raise np.linalg.LinAlgError("the Gram matrix is not positive definite; raise the ridge")
    lower, _ = scipy.linalg.lapack.get_lapack_funcs("potri", (factor,))(factor, lower=True, overwrite_c=True)
    inverse = lower.T  # rows again, and the upper triangle that counts
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        inverse[end:, start:end] = inverse[start:end, end:].T
        corner = np.triu(inverse[start:end, start:end])
        inverse[start:end, start:end] = corner + np.triu(corner, 1).T
    inverse /= -inverse.diagonal()
    np.fill_diagonal(inverse, 0.0)
    return inverse.astype(np.float32, copy=False)


def _regular(diagonal: npt.NDArray[Any], ridge: float, dropout: float) -> npt.NDArray[Any]:
    return diagonal / (1.0 - dropout) + ridge


def near_pairs(data: Interactions, span: float, window: int) -> sp.csr_array:
    """(I, I) sparse Gram matrix of pairs at most `window` apart, without the floor: memory goes by pairs seen."""
    size = len(data.item_ids)
    total = sp.diags_array(data.counts().astype(np.float32)).tocsr()
    for lag, before, after in _lagged(data, window):
        pair = np.sqrt(data.weights[before] * data.weights[after]) * np.float32(np.exp(-lag / span))
        one_way = sp.csr_array((pair, (data.items[before], data.items[after])), (size, size))
        total = total + one_way + one_way.T
    return sp.csr_array(total)


def local_ease(pairs: sp.csr_array, ridge: float, support: int, dropout: float = 0.0) -> sp.csr_array:
    """EASE where column j may only use the `support` items that go most with j: one small solve a column."""
    size = pairs.shape[0]
    diagonal = pairs.diagonal()
    columns, rows, values = [], [], []
    for j in range(size):
        start, end = pairs.indptr[j], pairs.indptr[j + 1]
        near, strength = pairs.indices[start:end], pairs.data[start:end] / np.sqrt(diagonal[pairs.indices[start:end]])
        near, strength = near[near != j], strength[near != j]
        if not len(near):
            continue
        if len(near) > support:
            near = near[np.argpartition(-strength, support - 1)[:support]]
        near = np.sort(near)
        inner = pairs[near][:, near].toarray()
        np.fill_diagonal(inner, _regular(inner.diagonal(), ridge, dropout))
        target = pairs[near][:, [j]].toarray()[:, 0]
        columns.append(np.full(len(near), j))
        rows.append(near)
        values.append(scipy.linalg.solve(inner, target, assume_a="pos", check_finite=False))
    if not columns:
        return sp.csr_array((size, size), dtype=np.float32)
    placed = (np.concatenate(rows), np.concatenate(columns))
    return sp.csr_array((np.concatenate(values).astype(np.float32), placed), (size, size))


def follows(data: Interactions) -> sp.csr_array:
    """(I, I) sparse: weight 1/lag for items up to 10 later, each row over the root of its sum."""
    size = len(data.item_ids)
    total = sp.csr_array((size, size), dtype=np.float32)
    for lag, before, after in _lagged(data, _LAGS):
        pair = np.sqrt(data.weights[before] * data.weights[after]) / np.float32(lag)
        total = total + sp.csr_array((pair, (data.items[before], data.items[after])), (size, size))
    scale = 1.0 / np.sqrt(np.maximum(np.asarray(total.sum(axis=1)).ravel(), 1e-9))
    return sp.csr_array(sp.diags_array(scale.astype(np.float32)) @ total)


def strongest(operator: Matrix, n: int) -> sp.csr_array:
    """The n largest weights by size of each row."""
    if isinstance(operator, np.ndarray):
        blocks = [_strongest(operator[s : s + _BLOCK], n) for s in range(0, len(operator), _BLOCK)]
        return sp.csr_array(sp.vstack(blocks))
    order = np.lexsort((-np.abs(operator.data), np.repeat(np.arange(operator.shape[0]), np.diff(operator.indptr))))
    place = np.arange(len(order)) - np.repeat(operator.indptr[:-1], np.diff(operator.indptr))
    keep = np.sort(order[place < n])
    indptr = np.searchsorted(keep, operator.indptr)
    return sp.csr_array((operator.data[keep], operator.indices[keep], indptr), operator.shape)


def _strongest(block: Floats, n: int) -> sp.csr_array:
    n = min(n, block.shape[1])
    at = np.sort(np.argpartition(-np.abs(block), n - 1, axis=1)[:, :n], axis=1)
    values = np.take_along_axis(block, at, axis=1)
    sparse = sp.csr_array((values.ravel(), at.ravel(), np.arange(len(block) + 1) * n), block.shape)
    sparse.eliminate_zeros()
    return sparse


def _lagged(data: Interactions, window: int) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """(lag, places, places that many later of the same user)."""
    before, ages = np.arange(len(data)), data.ages
    for lag in range(1, window + 1):
        before = before[ages[before] >= lag]
        if not len(before):
            return
        yield lag, before, before + lag
