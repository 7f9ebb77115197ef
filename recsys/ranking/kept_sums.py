"""What trees gave for who came before, kept for the next time.

Who comes again with the same profile is mostly proposed the same items, in the same order. What changes with time, of
trend and recency, seldom passes a threshold of a tree. A sum follows from the places of a row's values among the
thresholds alone, which are kept with it and compared (`scoring.c`). So it may be taken for whatever row lies at these
places: none is ever out of date, and who is taken for another only has their own computed anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import count

import numpy as np
import numpy.typing as npt

from recsys.ranking.quickscorer import Trees

RESCORED = 60
"""Best candidates of a request, by the blend, that trees rescore. Others do not reach a first page."""
MOST = 2_000
"""Users of whom sums are kept. One takes some 2 KB with 15 features."""


class KeptSums:
    """RESCORED sums of each who asks. Those of who came first leave first."""

    def __init__(self, trees: Trees, most: int = MOST) -> None:
        self.room = trees.room(most * RESCORED)
        """Those of the place p begin at `p * RESCORED`."""
        self._most = most
        self._places: dict[Hashable, int] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._places)

    def places_of(self, who: Sequence[Hashable]) -> npt.NDArray[np.int64]:
        """(B,) the places of B who ask."""
        places = [*map(self._places.get, who)]
        if None in places:  # who is told apart by an id() that is free again gets a place at which nothing fits
            places = [self._place(one) if place is None else place for one, place in zip(who, places, strict=True)]
        return np.array(places, np.int64)

    def _place(self, one: Hashable) -> int:
        places = self._places
        if one not in places:
            if len(places) >= self._most:
                del places[next(iter(places))]  # whose place is the next
            places[one] = next(self._numbers) % self._most
        return places[one]
