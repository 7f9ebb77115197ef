"""What the engines of vector stores bring: where a store is, what its client does, and how its errors are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import Field

from recsys.config import environment
from recsys.datatypes import Floats, Rows
from recsys.errors import Unavailable
from recsys.index.effort import SealedSpec

PATIENCE_S = 10.0
"""Seconds that a client waits for its store, and a search while nobody's request waits: in a build, or at loading."""
_LOOKS_S = (0.02, 0.5)
"""Seconds between the first two looks at what a store finds of a new collection, and the most between two."""


class StoreSpec(SealedSpec):
    """What the engines of stores have in common. Where a store is and what opens it stands in neither the config file
    nor a version's manifest: both only say where to read it.
    """

    url_variable: str = Field("", pattern=r"^[A-Z][A-Z0-9_]{0,63}$")
    """The environment variable that holds the store's URL with its credentials."""
    url_file: Path | None = None
    """A file that holds the URL instead, relative to $RECSYS_HOME; None: the variable does."""
    prefix: str = Field("recsys", pattern=r"^[a-z][a-z0-9_]{0,31}$")
    """What the names of the collections begin with. A time and a random part follow."""
    timeout_s: float = Field(0.25, gt=0, le=30)
    """Seconds that a search waits for the store. After that the shard scores exactly, and its answers say so."""
    ef_search_limit: int = Field(512, ge=1, le=1000)
    """How far a build may raise the shards' `ef_search` when recall is too low."""

    repeatable: ClassVar[bool] = False

    @property
    def server(self) -> bool:
        return True

    def url(self) -> str:
        """Raises Unavailable when neither the variable nor the file says it."""
        if self.url_file is None:
            url = environment.secret(self.url_variable)
            where = f"${self.url_variable} is not set"
        else:
            try:
                url, where = (environment.home() / self.url_file).read_text().strip(), f"{self.url_file} is empty"
            except OSError as error:
                raise Unavailable(f"index.url_file: {self.url_file} cannot be read: {error.strerror}") from None
        if not url:
            raise Unavailable(f"index.engine {self.engine}: {where}; it holds the URL of the store")
        return url


class Store(Protocol):
    """What an engine brings: a store's client, for many threads at a time. Every method raises Unavailable, in one line
    without credentials, when the store does not do what it is asked for.
    """

    widest: int
    """Most neighbours of one search."""

    def create(self, collection: str, vectors: Floats, threads: int) -> None:
        """Make a collection of (n, d) vectors, whose ids are 0 to n - 1. It is searchable when this returns."""

    def search(self, collection: str, queries: Floats, k: int, ef_search: int) -> tuple[Rows, Floats]:
        """(m, d) -> (m, k) ids and inner products, best first, padded with NO_ROW and -inf."""

    def drop(self, collection: str) -> None:
        """Delete it. It may be gone already."""

    def close(self) -> None:
        """End its connections."""


Connect = Callable[[], Store]
"""Raises Unavailable as the methods of a `Store` do."""


def wait_until_found(engine: str, count: int, searchable: Callable[[], int], within_s: float) -> None:
    """Wait until a store finds as many vectors as it was sent: some are consistent only in the end.

    `searchable` asks the store for their number. The first looks follow soon, later ones less and less often. Raises
    Unavailable after `within_s` seconds.
    """
    deadline, pause_s = time.monotonic() + within_s, _LOOKS_S[0]
    while searchable() < count:
        if time.monotonic() > deadline:
            raise Unavailable(f"the store of {engine}: {count} vectors were sent, and it knows fewer")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LOOKS_S[1])


@contextmanager
def one_line(engine: str, url: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise Unavailable for a client's errors: their first line, without what the URL holds before its host."""
    try:
        yield
    except errors as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        for secret in _secrets(url):
            reason = reason.replace(secret, "…")
        raise Unavailable(f"the store of {engine}: {reason}") from None


def _secrets(url: str) -> list[str]:
    """The URL, and what stands in it before the host: user, password, key."""
    credentials = url.rpartition("@")[0].rpartition("//")[2]
    return [part for part in (url, credentials, *credentials.split(":", 1)[1:]) if part]
