"""Vectors in the order of their clusters.

A walk reads vectors that are alike, and reads them faster where they lie side by side (Coleman et al. 2021,
arXiv:2104.03221).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Rows

_CLUSTER = 150
"""Mean vectors of a cluster: 56 KiB of bytes at 384 dimensions, about the size of a core's cache."""
_CLUSTERS = 1024
"""Most clusters. More of them gained nothing, and finding them takes time."""
_POINTS = 64
"""Most vectors a cluster that it is found by."""
_BLOCK = 1 << 14
"""Vectors that are copied at a time: 24 MiB at 384 dimensions."""


def in_clusters(vectors: npt.NDArray[np.float32], threads: int) -> Rows | None:
    """(n,) rows of (n, d) vectors, cluster by cluster and in their order in each; None: there are too few to part.

    `vectors` may be a view of a file, which is read in blocks. The same vectors have the same order.
    """
    own = clusters_of(lambda part: np.ascontiguousarray(vectors[part]), len(vectors), vectors.shape[1], threads)
    return None if own is None else np.argsort(own, kind="stable")


def clusters_of(
    read: Callable[[slice | Rows], npt.NDArray[np.float32]], n: int, dimension: int, threads: int
) -> npt.NDArray[np.int16] | None:
    """(n,) the cluster of each vector; None: there are too few to part. `read` gives the vectors of a slice, or of some
    places in ascending order.
    """
    clusters = min(n // _CLUSTER, _CLUSTERS)
    if clusters < 2:
        return None
    import faiss  # noqa: PLC0415 - see `base.Engine`; it takes 0.15 s

    faiss.omp_set_num_threads(threads)  # holds for calls of this thread
    kmeans = faiss.Kmeans(dimension, clusters, niter=5, max_points_per_centroid=_POINTS)
    kmeans.train(read(_sample(n, clusters * _POINTS)))
    own = [kmeans.assign(read(slice(start, start + _BLOCK)))[1] for start in range(0, n, _BLOCK)]
    return np.concatenate(own).astype(np.int16)


def _sample(n: int, most: int) -> slice | Rows:
    if n <= most:
        return slice(None)
    rows: Rows = np.random.default_rng(7).choice(n, most, replace=False)
    rows.sort()
    return rows
