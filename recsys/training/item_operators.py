"""Item-to-item operators: matrices B with score(next item) = history @ B, computed in closed form.

`ease`         Steck 2019 (arXiv:1905.03375): the best linear autoencoder with a zero diagonal. Its Gram matrix weights
               two items of a user by their distance in the history, exp(-gap / span). On MovieLens 100K's validation
               this raises NDCG@10 from 0.126 to 0.135, more than transitions add.
`local_ease`   The same with only the strongest neighbours in each column, for catalogues whose (I, I) matrix does not
               fit in memory.
`follows`      How often an item came soon after another, weighted 1/lag, over the root of the row's sum.
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
"""Share of a pair's weight that does not depend on the gap. On validation 0.05 to 0.2 are equal within noise."""
_LAGS = 10
"""Largest lag of `follows`."""
_REACH = 5
"""Spans beyond which the gap adds nothing to a pair's weight: exp(-5) is 0.7 %."""
_BLOCK = 512
"""Rows computed at a time. It bounds memory and does not change the result."""

Matrix: TypeAlias = Floats | sp.csr_array
"""(I, I): dense, or sparse where the catalogue is large."""


def grams(data: Interactions, spans: Iterable[float]) -> dict[float, Floats]:
    """Return for each span the (I, I) float32 sum over users of
    sqrt(weight_a * weight_b) * (FLOOR + (1 - FLOOR) * exp(-gap / span)).

    The second term ends at _REACH spans, so its cost is linear in the length of histories and not quadratic. The pairs
    are computed once for all spans.
    """
    size, root = len(data.item_ids), np.sqrt(data.weights)
    matrices = {span: np.zeros((size, size), np.float32) for span in spans}
    for lag, before, after in _lagged(data, int(_REACH * max(matrices))):
        cells = data.items[before] * size + data.items[after]
        pairs = root[before] * root[after]
        for span, total in matrices.items():
            if lag <= _REACH * span:
                np.add.at(total.reshape(-1), cells, pairs * np.float32((1 - FLOOR) * np.exp(-lag / span)))
    for total in matrices.values():
        np.add(total, total.T, out=total)
    for rows, together in _together(data, root):
        for total in matrices.values():
            total[rows] += np.float32(FLOOR) * together
    for total in matrices.values():
        total[np.diag_indices(size)] = data.counts()  # an item has distance 0 from itself
    return matrices


def _together(data: Interactions, root: Floats) -> Iterator[tuple[slice, Floats]]:
    """Yield slices of rows, and these rows of the plain Gram matrix."""
    seen = sp.csr_array((root, data.items, data.offsets), (data.users, len(data.item_ids)))
    had = sp.csr_array(seen.T)
    for start in range(0, len(data.item_ids), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, (had[rows] @ seen).toarray()


def ease(gram_matrix: Floats, ridge: float, dropout: float = 0.0) -> Floats:
    """Return the (I, I) float32 operator with a zero diagonal. The (I, I) Gram matrix is not changed.

    `ridge`: in interactions. `dropout`: the share of interactions that are dropped in expectation (Steck 2020,
    "Autoencoders that don't overfit towards the identity"). Raises LinAlgError when the ridge is too small.
    """
    size = len(gram_matrix)
    kind = np.float64 if size <= 3000 else np.float32  # double precision where it is cheap
    regular: npt.NDArray[Any] = gram_matrix.astype(kind)
    np.fill_diagonal(regular, _regular(regular.diagonal(), ridge, dropout))
    # The matrix is symmetric, and its transpose is in LAPACK's column order and need not be copied.
    factor, failed = scipy.linalg.lapack.get_lapack_funcs("potrf", (regular,))(
        regular.T, lower=True, overwrite_a=True, clean=False
    )
    if failed:
        raise np.linalg.LinAlgError("the Gram matrix is not positive definite; raise the ridge")
    lower, _ = scipy.linalg.lapack.get_lapack_funcs("potri", (factor,))(factor, lower=True, overwrite_c=True)
    inverse = lower.T  # in row order; only the upper triangle is valid
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
    """Return the (I, I) sparse Gram matrix of pairs at most `window` apart, without FLOOR."""
    size = len(data.item_ids)
    total = sp.diags_array(data.counts().astype(np.float32)).tocsr()
    for lag, before, after in _lagged(data, window):
        pair = np.sqrt(data.weights[before] * data.weights[after]) * np.float32(np.exp(-lag / span))
        one_way = sp.csr_array((pair, (data.items[before], data.items[after])), (size, size))
        total = total + one_way + one_way.T
    return sp.csr_array(total)


def local_ease(pairs: sp.csr_array, ridge: float, support: int, dropout: float = 0.0) -> sp.csr_array:
    """Return EASE in which column j uses only the `support` items most related to j: a small solve for each column."""
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
    """Return (I, I) sparse float32: weight 1/lag for items up to _LAGS later, each row over the root of its sum."""
    size = len(data.item_ids)
    total = sp.csr_array((size, size), dtype=np.float32)
    for lag, before, after in _lagged(data, _LAGS):
        pair = np.sqrt(data.weights[before] * data.weights[after]) / np.float32(lag)
        total = total + sp.csr_array((pair, (data.items[before], data.items[after])), (size, size))
    scale = 1.0 / np.sqrt(np.maximum(np.asarray(total.sum(axis=1)).ravel(), 1e-9))
    return sp.csr_array(sp.diags_array(scale.astype(np.float32)) @ total)


def strongest(operator: Matrix, n: int) -> sp.csr_array:
    """Return the n weights of largest absolute value in each row."""
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
    """Yield each lag with the positions of interactions, and the positions `lag` later of the same users."""
    before, ages = np.arange(len(data)), data.ages
    for lag in range(1, window + 1):
        before = before[ages[before] >= lag]
        if not len(before):
            return
        yield lag, before, before + lag
