"""Arrays that are kept for who comes again."""

from __future__ import annotations

import numpy as np

from recsys.shard.kept_arrays import LASTS_S, KeptArrays
from tests.support.clock import Clock


def test_what_is_kept_is_weighed_and_the_oldest_leave_first() -> None:
    kept, table = KeptArrays(10_000), np.zeros((20, 12), np.float32)
    causes = [(bytes([n]), bytes(8), bytes(100), bytes([n]), b"") for n in range(50)]
    for n, cause in enumerate(causes):
        kept.put(bytes([n]), table + n, cause)
        assert kept.bytes <= 10_000
    assert 3 <= len(kept) < 10
    assert kept.take(bytes([0]), causes[0]) is None
    assert kept.take(bytes([49]), causes[48]) is None
    found = kept.take(bytes([49]), causes[49])
    assert found is not None
    assert (found == 49).all()
    before = kept.bytes
    kept.put(bytes([49]), table, causes[49])
    assert kept.bytes == before


def test_nothing_is_kept_for_long(clock: Clock) -> None:
    """A shard does not hear of users who are erased."""
    kept, table = KeptArrays(1 << 20), np.zeros((20, 12), np.float32)
    cause = (b"a", b"b", b"c", b"d", b"")
    kept.put(b"first", table, cause)
    clock.forward(LASTS_S / 2)
    kept.put(b"second", table, cause)
    kept.expire()
    assert len(kept) == 2
    clock.forward(LASTS_S / 2 + 1)
    kept.expire()
    assert kept.take(b"first", cause) is None
    assert kept.take(b"second", cause) is table
    clock.forward(LASTS_S)
    kept.expire()
    assert (len(kept), kept.bytes) == (0, 0)


def test_how_old_an_array_is_counts_from_when_it_was_put_there(clock: Clock) -> None:
    kept, table = KeptArrays(1 << 20), np.zeros(3, np.float32)
    assert not kept.younger(b"one", 30.0)
    kept.put(b"one", table)
    clock.forward(29.0)
    assert kept.younger(b"one", 30.0)
    clock.forward(2.0)
    assert not kept.younger(b"one", 30.0)
    kept.put(b"one", table)
    assert kept.younger(b"one", 30.0)
