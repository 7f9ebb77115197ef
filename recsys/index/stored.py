"""Vector stores as engines: what is alike in all of them.

A build makes one collection for each shard of a version, and nothing ever changes it. All replicas of the shard search
it. What came or went since the build lies in the replicas (`sided.py`), so an item is found as soon as the log has it,
whatever the store makes of its own writes, and no two replicas write to it. The collection goes with its version.

A store can be away. Then a search finds nothing, `away` says why, and the shard scores its own vectors exactly.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
import weakref
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt
import orjson

from recsys.config.index import IndexSpec, engine_module
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.errors import Unavailable, VersionError
from recsys.index.base import NO_ROW
from recsys.index.graph_index import GraphIndex, load_nodes
from recsys.index.sided import Bools, SidedGraph, read_parts
from recsys.index.store_client import PATIENCE_S, Connect, Store, StoreSpec

PAUSE_S = 1.0
"""Seconds between two tries while a store is away. Searches between them do not wait for it."""
_THREADS = 4
"""Calls of one index that may wait for a store at a time. Those that hang hold a thread until their client gives up."""
_WIDER = 4
"""How many times as many neighbours are asked for when too many of the last were hidden."""
_LONGEST = 1 << 16
"""Bytes of the longest reference to a collection; what is longer is another engine's index."""

log = logging.getLogger(__name__)


class Collection:
    """A `sided.Body` in a store. It connects when it is first searched: a replica starts without its store, too."""

    def __init__(self, spec: StoreSpec, connect: Connect, name: str, count: int) -> None:
        self.name = name
        self.away = ""
        """Why the store did not answer the last time; empty: it did, or was not asked yet."""
        self.wait_s = PATIENCE_S
        """Seconds that a search waits."""
        self.limit_s = spec.timeout_s
        """The same once requests wait for it."""
        self._spec = spec
        self._connect = connect
        self._count = count
        self._ef_search = ShardTuning().ef_search
        self._connected: list[Store] = []
        """None or one."""
        self._connecting = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, spec.engine)
        self._next_try = 0.0
        weakref.finalize(self, _close, self._connected, self._threads)

    def __len__(self) -> int:
        return self._count

    def add(self, vectors: Floats, threads: int) -> bool:  # noqa: ARG002 - all replicas share it
        return False

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        """Raises Unavailable while the store is away: after `wait_s`, or without a wait until the next try is due."""
        if self.away and time.monotonic() < self._next_try:
            raise Unavailable(self.away)
        try:
            answer = self._threads.submit(self._ask, queries, k).result(self.wait_s)
        except LateError:
            self._miss(f"the store of {self._spec.engine} does not answer within {self.wait_s:g} s")
        except Unavailable as error:
            self._miss(str(error))
        if self.away:
            log.info("the store of %s answers again", self._spec.engine)
            self.away = ""
        return answer

    def _ask(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        with self._connecting:
            if not self._connected:
                self._connected.append(self._connect())
        store = self._connected[0]
        nodes, scores = store.search(self.name, queries, min(k, store.widest), self._ef_search)
        if (nodes[:, 0] < 0).any():  # some stores take a collection that is gone for an empty one
            raise Unavailable(f"the store of {self._spec.engine}: {self.name} is empty")
        return _padded(nodes, scores, k)

    def _miss(self, reason: str) -> NoReturn:
        if not self.away:
            log.warning("%s; until it answers, the shard scores its items one by one", reason)
        self._next_try = time.monotonic() + PAUSE_S
        self.away = reason
        raise Unavailable(reason)

    def rest(self, queries: Floats, k: int, hidden: Bools) -> tuple[Rows, Floats]:
        """See `sided.Body`. Vectors stay in the store: it is asked for more and more neighbours."""
        wide = k
        while True:
            wide = min(wide * _WIDER, self._count)
            nodes, scores = self.search(queries, wide)
            gone = (nodes < 0) | hidden[nodes]
            short = (~gone).sum(axis=1) < min(k, self._count - int(hidden.sum()))
            if not short.any() or wide == self._count or (nodes[:, -1] < 0).all():
                nodes, scores = np.where(gone, NO_ROW, nodes), np.where(gone, np.float32(-np.inf), scores)
                order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
                return np.take_along_axis(nodes, order, 1), np.take_along_axis(scores, order, 1)

    def tune(self, tuning: ShardTuning) -> None:
        self._ef_search = tuning.ef_search

    def dump(self) -> npt.NDArray[np.uint8]:
        """How to find it again."""
        spec = self._spec.model_dump(mode="json")
        return np.frombuffer(orjson.dumps({"collection": self.name, "count": self._count, "spec": spec}), np.uint8)


class StoreIndex(GraphIndex):
    """A `VectorIndex` of a collection, and of what came and went since."""

    waits: ClassVar[bool] = True

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        """Nothing at all while the store is away: of the rest of the items alone an answer would be wrong."""
        try:
            return super().search(queries, k)
        except Unavailable:
            shape = (len(queries), k)
            return np.full(shape, NO_ROW, np.int64), np.full(shape, -np.inf, np.float32)

    @property
    def away(self) -> str:
        collection = self._collection
        return "" if collection is None else collection.away

    def hurry(self) -> None:
        collection = self._collection
        if collection is not None:
            collection.wait_s = collection.limit_s

    @property
    def _collection(self) -> Collection | None:
        graph = self.graph
        assert isinstance(graph, SidedGraph)
        body = graph.body
        assert body is None or isinstance(body, Collection)
        return body


class StoreEngine:
    """`create` and `load` of an engine whose vectors lie in a store, see `recsys.index.base.Engine`. `connect` opens
    the store that a spec names.
    """

    def __init__(self, connect: Callable[[Any], Store]) -> None:
        self._connect = connect

    def create(self, spec: StoreSpec, dimension: int) -> StoreIndex:
        """An empty index, whose collection is made of the vectors that it is given first."""
        return StoreIndex(SidedGraph(dimension, partial(_build, spec, partial(self._connect, spec))))

    def load(self, path: Path, spec: StoreSpec, dimension: int) -> StoreIndex:
        """What `StoreIndex.save` wrote. The store is not asked. VersionError as for every engine."""
        nodes, parts, collection = load_nodes(path), read_parts(path), None
        if parts.side.shape[1] != dimension:
            raise VersionError(f"{path} has vectors of dimension {parts.side.shape[1]}, and {dimension} is needed")
        if len(parts.body):
            reference = orjson.loads(parts.body.tobytes())
            connect = partial(self._connect, spec)
            collection = Collection(spec, connect, reference["collection"], reference["count"])
        return StoreIndex(SidedGraph(dimension, _nothing, collection, parts), nodes)


def drop(path: Path) -> None:
    """Delete the collection that an index file refers to; the file of an engine without a store is passed over.

    Raises Unavailable when the store is away, and ValueError when the engine is not there any more.
    """
    reference = _reference(path)
    if reference is None:
        return
    spec: Any = IndexSpec.model_validate(reference["spec"])
    module: Any = engine_module(spec.engine)
    store: Store = module.connect(spec)
    try:
        store.drop(reference["collection"])
    finally:
        store.close()


def _build(spec: StoreSpec, open_store: Connect, vectors: Floats, threads: int) -> Collection:
    name = f"{spec.prefix}_{datetime.now(UTC):%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"
    store = open_store()
    try:
        store.create(name, vectors, threads)
    except BaseException:
        with suppress(Unavailable):
            store.drop(name)
        raise
    finally:
        store.close()
    return Collection(spec, open_store, name, len(vectors))


def _nothing(vectors: Floats, threads: int) -> None:
    """A replica makes no collection: what comes is scored beside the one of the build."""


def _padded(nodes: Rows, scores: Floats, k: int) -> tuple[Rows, Floats]:
    missing = ((0, 0), (0, k - nodes.shape[1]))
    return np.pad(nodes, missing, constant_values=NO_ROW), np.pad(scores, missing, constant_values=-np.inf)


def _reference(path: Path) -> dict[str, Any] | None:
    """What `Collection.dump` wrote into this file; None: it is another engine's, or there is no file."""
    try:
        with zipfile.ZipFile(path) as parts:
            if parts.getinfo("body.npy").file_size > _LONGEST:
                return None
        reference = orjson.loads(read_parts(path).body.tobytes())
    except (OSError, KeyError, ValueError, VersionError, zipfile.BadZipFile):
        return None
    return reference if isinstance(reference, dict) and "collection" in reference else None


def _close(connected: list[Store], threads: ThreadPoolExecutor) -> None:
    threads.shutdown(wait=False, cancel_futures=True)
    for store in connected:
        store.close()
