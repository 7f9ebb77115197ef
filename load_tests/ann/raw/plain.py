"""What drivers have in common that work within this process."""

from __future__ import annotations

from typing import Self

import psutil

from load_tests.ann.contender import Ints


class InProcess:
    """One object serves all threads, and nothing is to be closed."""

    def other(self) -> Self:
        return self

    def servers(self) -> list[psutil.Process]:
        return []

    def close(self) -> None: ...


class PlainDriver(InProcess):
    """Its answers are the numbers of vectors."""

    def rows(self, answer: Ints) -> Ints:
        return answer
