"""faiss, as the graph over int8 codes uses it."""

from __future__ import annotations

from functools import cache
from typing import Any

_MARKED = 1 << 27
"""Nodes up to which a walk marks those that it has seen in an array of as many bytes. faiss does so up to 500,000, and
keeps them in a hash set in larger graphs, which takes longer than to clear a megabyte for each batch."""


@cache
def library() -> Any:
    """The module."""
    import faiss  # noqa: PLC0415 - see `base.Engine`; it takes 0.15 s

    faiss.cvar.visited_table_hashset_threshold = _MARKED
    return faiss
