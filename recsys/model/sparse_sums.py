"""Sums of sparse rows: what the last likes of a batch's requests say of their candidates, and of keywords.

`summing.c` gives the same as scipy to the last bit, in a fraction of the time (docs/benchmarks.md). It is compiled when
the project is installed. Where it was not, scipy multiplies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from recsys.compiled import compiled
from recsys.datatypes import Floats, Rows

LEAST = 1e-3
"""A smaller weight does not change the order, and counts as none."""
_CELLS = 1 << 22
"""Requests times items up to which scipy's sums are made dense: 16 MB."""


class _Summing(Protocol):
    """`summing.c`. ValueError where arrays do not fit each other."""

    def cells(
        self, ends: Rows, columns: Rows, values: Floats, offsets: Rows, likes: Rows, weights: Floats, bounds: Rows,
        slots: Rows, out: Floats, width: int, column: int, /,
    ) -> None: ...  # fmt: skip

    def rows(
        self, ends: Rows, columns: Rows, values: Floats, offsets: Rows, likes: Rows, weights: Floats, out: Floats, /
    ) -> None: ...


SUMMING: _Summing | None = compiled("recsys.model.summing")
"""None: scipy multiplies."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Weights of l rows of a sparse table for each of B requests.

    Request b has `rows[offsets[b]:offsets[b + 1]]`, in ascending order. `rows`: (l,) int64. `weights`: (l,) float32.
    `offsets`: (B + 1,) int64. `single`: whether no request has a row twice.
    """

    offsets: Rows
    rows: Rows
    weights: Floats
    single: bool

    def cells(self, table: sp.csr_array, bounds: Rows, slots: Rows, out: Floats, column: int) -> None:
        """Write the weighed sums into a column of `out`, (n, columns) float32, for n cells.

        Request b asks for the columns `slots[bounds[b]:bounds[b + 1]]` of the table; a slot of -1 gets 0.
        """
        if SUMMING is not None and self._suits(table):
            SUMMING.cells(*_arrays(table), *self._arrays, bounds, slots, out, out.shape[1], column)
            return
        requests = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        out[:, column] = _cells(self._matrix(table.shape[0]) @ table, requests, slots)
        out[slots < 0, column] = 0.0

    def sums(self, table: sp.csr_array) -> Floats:
        """Return (B, columns) float32: for each request the weighed sum of the rows of the table."""
        if SUMMING is None or not self._suits(table):
            return np.asarray((self._matrix(table.shape[0]) @ table).toarray(), np.float32)
        out = np.empty((len(self.offsets) - 1, table.shape[1]), np.float32)
        SUMMING.rows(*_arrays(table), *self._arrays, out)
        return out

    def part(self, first: int, last: int) -> Weighed:
        """Return the requests from `first` to before `last`."""
        own = slice(self.offsets[first], self.offsets[last])
        return Weighed(
            self.offsets[first : last + 1] - self.offsets[first], self.rows[own], self.weights[own], self.single
        )

    @property
    def _arrays(self) -> tuple[Rows, Rows, Floats]:
        return self.offsets, self.rows, self.weights

    def _suits(self, table: sp.csr_array) -> bool:
        """Whether scipy would take the rows one by one as they are here. It adds equal ones up first."""
        return self.single and table.shape[1] > 0 and table.indices.dtype == np.int32 == table.indptr.dtype

    def _matrix(self, rows: int) -> sp.csr_array:
        requests = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        use = self.weights > LEAST
        return sp.csr_array((self.weights[use], (requests[use], self.rows[use])), (len(self.offsets) - 1, rows))


def _arrays(table: sp.csr_array) -> tuple[Any, Any, Any]:
    return table.indptr, table.indices, table.data


def _cells(sums: sp.csr_array, requests: Rows, slots: Rows) -> Floats:
    safe = np.maximum(slots, 0)
    if not sums.shape[1]:
        return np.zeros(len(requests), np.float32)
    if sums.shape[0] * sums.shape[1] <= _CELLS:
        return np.asarray(sums.toarray()[requests, safe], np.float32)
    sums.sort_indices()  # so that each cell is found by binary search
    return np.asarray(sums[requests, safe], np.float32).ravel()
