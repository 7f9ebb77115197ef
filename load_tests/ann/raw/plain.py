"""What drivers have in common whose answers are the numbers of vectors, and that one object serves to all threads."""

from __future__ import annotations

from typing import Self

import psutil

from load_tests.ann.contender import Ints


class PlainDriver:
    """Its library works within this process, and nothing is to be closed."""

    def rows(self, answer: Ints) -> Ints:
        return answer

    def other(self) -> Self:
        return self

    def servers(self) -> list[psutil.Process]:
        return []

    def close(self) -> None: ...
