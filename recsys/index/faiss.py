"""Whatever faiss can make of a factory string, as `faiss:IVF4096,Flat` or `faiss:OPQ48_192,IVF1024,PQ48,RFlat`.

https://github.com/facebookresearch/faiss/wiki/The-index-factory says what may stand there. `ef_search` of the shards is
the effort of a search: lists looked at (nprobe) of an IVF, candidates kept (efSearch, search_L) of an HNSW or NSG. With
refinement (RFlat and its like) four times as many neighbours are taken from the coarse index as are wanted.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.errors import VersionError
from recsys.index.effort import EffortSpec
from recsys.index.graph_index import GraphIndex, load_nodes
from recsys.index.sided import Bools, SidedGraph, read, read_parts
from recsys.index.unreached import ReachedGraph

_DEFAULT = "HNSW32"
_POINTS = 39
"""Vectors a centroid that training is to have, at the least: faiss' own rule, under which it complains."""
_REFINED = 4
_NEAR = 100
"""Most neighbours for which the lists that `ef_search` names are enough. A search under a filter asks for thousands."""
_FULL = 4
"""A search for more looks at so many times the lists that would hold them, beside those that `ef_search` names: 2,000
neighbours lie in more lists than 10 do."""
_FEWEST_LISTS = 8
_FEWEST_NSG = 1000
"""Under some hundred vectors faiss makes no NSG."""
_FACTORY = re.compile(r"[A-Za-z0-9_,()x.\[\]-]{1,200}")


class Spec(EffortSpec):
    """A factory string behind the colon of `engine`; none: HNSW32."""

    engine: str = "faiss"
    ef_construction: int = Field(400, ge=8, le=2000)
    """Candidates kept while an HNSW is built; a factory without one does not look at it."""
    ef_search_limit: int = Field(512, ge=1, le=100_000)
    """How far a build may raise the shards' `ef_search` when recall is too low."""

    holds_vectors: ClassVar[bool] = True
    efforts: ClassVar[tuple[int, ...]] = (4, 8, 16, 32, 64, 128, 256, 512)

    @classmethod
    def trials(cls, items: int, dimension: int) -> list[dict[str, Any]]:
        """Inverted lists over vectors, bytes, product codes and bits; the shard scores what they propose."""
        lists = _lists(items)
        return [{"engine": f"faiss:IVF{lists},{code}"} for code in _codes(dimension)] if lists else []

    @field_validator("engine")
    @classmethod
    def judge_engine(cls, engine: str) -> str:
        if engine != "faiss" and not _FACTORY.fullmatch(engine.removeprefix("faiss:")):
            raise ValueError("behind faiss: stands a factory string, such as faiss:IVF1024,Flat or faiss:HNSW32,SQ8")
        return engine

    @property
    def grows(self) -> bool:
        return "NSG" not in self.factory

    @property
    def removes(self) -> bool:
        return False

    @property
    def factory(self) -> str:
        return self.engine.partition(":")[2] or _DEFAULT


class FaissBody:
    """A trained index. Removal is left to the graph around it."""

    def __init__(self, index: Any, *, grows: bool) -> None:
        self._grows = grows
        self._index = index
        self._threads = 1
        self._ivf: Any = None
        with suppress(RuntimeError):  # it has no lists
            self._ivf = _faiss().extract_index_ivf(index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    def add(self, vectors: Floats, threads: int) -> bool:
        if not self._grows:
            return False
        _faiss().omp_set_num_threads(threads)  # holds for calls of this thread
        self._index.add(vectors)
        return True

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        _faiss().omp_set_num_threads(self._threads)
        codes = np.ascontiguousarray(queries, np.float32)
        if self._ivf is None or k <= _NEAR:
            scores, nodes = self._index.search(codes, k)
        else:
            lists = self._ivf.nprobe + math.ceil(_FULL * k * self._ivf.nlist / max(len(self), 1))
            scores, nodes = self._index.search(codes, k, params=_looking_at(self._index, min(lists, self._ivf.nlist)))
        return nodes, scores

    def vectors(self, start: int, stop: int) -> Floats:
        part: Floats = self._index.reconstruct_n(start, stop - start)
        return part

    def at(self, nodes: Rows) -> Floats:
        _faiss().omp_set_num_threads(self._threads)
        part: Floats = self._index.reconstruct_batch(nodes)
        return part

    def rest(self, queries: Floats, k: int, hidden: Bools) -> tuple[Rows, Floats]:
        return read(self, queries, k, hidden)

    def tune(self, tuning: ShardTuning) -> None:
        self._threads = tuning.threads
        space = _faiss().ParameterSpace()
        for name, value in (("nprobe", tuning.ef_search), ("efSearch", tuning.ef_search), ("k_factor_rf", _REFINED)):
            with suppress(RuntimeError):  # this index has no such parameter
                space.set_index_parameter(self._index, name, value)
        if hasattr(self._index, "nsg"):
            self._index.nsg.search_L = tuning.ef_search

    def dump(self) -> npt.NDArray[np.uint8]:
        data: npt.NDArray[np.uint8] = _faiss().serialize_index(self._index)
        return data


def _lists(items: int) -> int:
    """Lists of an IVF: four times the root, in powers of two, and as few as training has vectors for; 0: too few."""
    most = min(4 * math.sqrt(items), items / _POINTS)
    return 1 << int(math.log2(most)) if most >= _FEWEST_LISTS else 0


def _codes(dimension: int) -> list[str]:
    """Of a vector of d components: 4 d bytes, d bytes, d / 4 bytes, the same made for scans in registers, d bits."""
    codes = ["Flat", "SQ8"]
    if dimension % 4 == 0:
        codes += [f"PQ{dimension // 4}", f"PQ{dimension // 2}x4fs"]
    return [*codes, "RaBitQ"]


def _looking_at(index: Any, lists: int) -> Any:
    """Parameters of one search of an index with lists, whatever is built around them."""
    faiss = _faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=_looking_at(index.index, lists))
    if isinstance(index, faiss.IndexRefine):
        inner = _looking_at(index.base_index, lists)
        return faiss.IndexRefineSearchParameters(k_factor=_REFINED, base_index_params=inner)
    return faiss.SearchParametersIVF(nprobe=lists)


def _faiss() -> Any:
    import faiss  # noqa: PLC0415 - see `base.Engine`; it takes 0.15 s

    return faiss


def _empty(factory: str, dimension: int) -> Any:
    """An untrained index. VersionError when faiss cannot make it."""
    faiss = _faiss()
    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = str(error).rpartition("Error: ")[2] or "it is unknown"
        raise VersionError(f"index.engine: faiss makes no {factory} of {dimension} dimensions: {reason}") from None


def _least(index: Any, factory: str) -> int:
    """Vectors that training takes."""
    if "NSG" in factory:
        return _FEWEST_NSG
    if index.is_trained:
        return 0
    lists = 0
    with suppress(RuntimeError):  # it has none
        lists = int(_faiss().extract_index_ivf(index).nlist)
    bits = [int(wide or 8) for wide in re.findall(r"PQ\d+(?:x(\d+))?", factory.replace("O", ""))]
    return _POINTS * max([lists, *(2**each for each in bits)])


def _build(spec: Spec, vectors: Floats, threads: int) -> FaissBody | None:
    index, faiss = _empty(spec.factory, vectors.shape[1]), _faiss()
    if len(vectors) < max(_least(index, spec.factory), 1):
        return None
    with suppress(RuntimeError):  # it has no links
        faiss.ParameterSpace().set_index_parameter(index, "efConstruction", spec.ef_construction)
    faiss.omp_set_num_threads(threads)
    index.train(vectors)
    index.add(vectors)
    with suppress(RuntimeError):
        faiss.extract_index_ivf(index).make_direct_map()  # 8 bytes a vector, for `vectors`
    return FaissBody(index, grows=spec.grows)


def _whole(index: Any) -> Any:
    """The index as it was saved. faiss 1.15 leaves a fast-scan index that it has read without the pointer to its codes'
    quantizer, and the process dies when it then reads a vector.
    """
    faiss = _faiss()
    with suppress(RuntimeError):  # it has no lists
        lists = faiss.downcast_index(faiss.extract_index_ivf(index))
        if hasattr(lists, "fine_quantizer") and lists.fine_quantizer is None:
            lists.fine_quantizer = lists.pq if hasattr(lists, "pq") else lists.aq
    return index


def create(spec: Spec, dimension: int) -> GraphIndex:
    _empty(spec.factory, dimension)
    return GraphIndex(ReachedGraph(SidedGraph(dimension, partial(_build, spec))))


def load(path: Path, spec: Spec, dimension: int) -> GraphIndex:
    """Raises VersionError when the file is not one of this engine, is cut short, was changed, or does not fit."""
    nodes, grow, body = load_nodes(path), partial(_build, spec), None
    try:
        parts = read_parts(path)
        if len(parts.body):
            body = FaissBody(_whole(_faiss().deserialize_index(parts.body)), grows=spec.grows)
    except RuntimeError as error:
        raise VersionError(f"{path} cannot be read by faiss: {error}; build again, or `recsys rollback`") from None
    if body is not None and body.dimension != dimension:
        raise VersionError(f"{path} has vectors of dimension {body.dimension}, and {dimension} is needed; build again")
    return GraphIndex(ReachedGraph(SidedGraph(dimension, grow, body, parts)), nodes)
