"""Sequences of which no element is in memory before somebody asks for it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

import numpy as np

from recsys.datatypes import Rows

T = TypeVar("T")


class MadeOnDemand(Sequence[T]):
    @abstractmethod
    def made(self, places: Rows) -> list[T]:
        """The elements at (n,) places, all of which are there."""

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return self.made(np.arange(*place.indices(len(self))))
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return self.made(np.array([place % len(self)]))[0]
