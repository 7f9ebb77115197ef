"""Python's interpreter in a process that answers requests: whose turn it is, and when garbage is looked for."""

from __future__ import annotations

import gc
import sys

_TURN_S = 0.001
"""Seconds that a thread may hold the interpreter while others wait. Python's own 5 ms are what every request waits for,
and at each of its steps anew, while a thread beside it computes: in a shard between two inserts of the log, in a
composer while answers are put into files or many items are read."""
_YOUNG = 20_000
"""Objects that may be made and kept before the collector looks at the young ones. A hundred requests that are under way
are some thousands: with Python's own 700 it looks at each of them again and again."""


def settle() -> None:
    """For a process that has loaded what it serves with, and answers requests in its event loop from now on.

    Threads take turns soon, and the collector need not look again and again at what is loaded by now.
    """
    sys.setswitchinterval(_TURN_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
