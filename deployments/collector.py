"""Python's garbage collector in a process that has loaded what it serves with."""

from __future__ import annotations

import gc

_YOUNG = 20_000
"""Objects that may be made and kept before the collector looks at the young ones. A hundred requests that are under way
are some thousands: with Python's own 700 it looks at each of them again and again."""


def settle() -> None:
    """What is loaded by now stays: the collector need not look at it again after every few thousand requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
