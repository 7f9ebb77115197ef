"""A trained model, and its layout over a catalogue and its shards."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.config.platform import AttributeType
from recsys.datatypes import Floats, Item, Rows, item_keys
from recsys.model.attention import Attention
from recsys.model.card import ModelCard
from recsys.model.keywords import Traits, keyword_table
from recsys.model.learned import Learned
from recsys.model.neighbour_rows import Links
from recsys.model.space import Space

_ARRAYS = ("items", "contexts", "known", "item_map", "context_map")


@dataclass(frozen=True, slots=True)
class Trained:
    """A model of I items, to be built into a version. Its factors are not yet balanced (see `space.py`).

    `items` and `contexts`: (I, r) float32, row i is item `item_ids[i]`. `near` and `follows`: (I, I) sparse float32.
    The maps: (d + 1, r) float32, see `learned.py`. `known`: (I,) bool, the items with interactions.
    """

    item_ids: Sequence[str]
    items: Floats
    contexts: Floats
    known: np.ndarray
    near: sp.csr_array
    follows: sp.csr_array
    item_map: Floats
    context_map: Floats
    attention: Attention | None
    """None: the blend is better without it."""
    keywords: bool
    """Whether shards compare keywords, see `keywords.py`."""
    space: Space
    weights: Mapping[str, float]
    ranker: str | None
    """The tree ranker in LightGBM's text format. None: the blend was not worse on validation."""
    card: ModelCard

    def save(self, path: Path) -> None:
        """Write everything except what the manifest and `ranker.txt` hold."""
        np.savez(path, allow_pickle=False, item_ids=np.array(list(self.item_ids), np.str_), **self._arrays())

    def _arrays(self) -> dict[str, Any]:
        """Return the arrays of the model by name."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        for name in ("near", "follows"):
            table = getattr(self, name)
            arrays |= {f"{name}_data": table.data, f"{name}_indices": table.indices, f"{name}_indptr": table.indptr}
        return arrays if self.attention is None else arrays | self.attention.arrays()

    @classmethod
    def read(
        cls, path: Path, space: Space, weights: Mapping[str, float], ranker: str | None, card: ModelCard
    ) -> Trained:
        """Read what `save` wrote. The other arguments are those of the manifest and `ranker.txt`."""
        with np.load(path, allow_pickle=False) as stored:
            size = len(stored["item_ids"])
            tables = {
                name: sp.csr_array(
                    (stored[f"{name}_data"], stored[f"{name}_indices"], stored[f"{name}_indptr"]), (size, size)
                )
                for name in ("near", "follows")
            }
            arrays = {name: stored[name] for name in _ARRAYS}
            attention = Attention.read(stored)
            item_ids = stored["item_ids"].tolist()
        return cls(
            item_ids,
            **arrays,
            **tables,
            attention=attention,
            keywords=looks_at("affinity", weights, ranker),
            space=space,
            weights=weights,
            ranker=ranker,
            card=card,
        )

    def digest(self) -> bytes:
        """Return the SHA-256 of the model. Models with equal digests give equal versions."""
        settings = (self.space, sorted(self.weights.items()), self.ranker, self.keywords, self.card, *self.item_ids)
        digest = hashlib.sha256(repr(settings).encode())
        for name, array in self._arrays().items():
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.digest()

    def balanced(self, balance: float) -> Trained:
        return replace(self, space=self.space.model_copy(update={"balance": balance}))

    def layout(self, catalogue: Sequence[Item], texts: Floats, declared: Mapping[str, AttributeType]) -> Layout:
        """Return the layout for a catalogue, which may differ from the trained one.

        `texts`: its (n, d) float32 unit vectors; `declared`: its attributes.
        """
        item_ids = [item.item_id for item in catalogue]
        place = {item: i for i, item in enumerate(self.item_ids)}
        at = np.fromiter((place.get(item, -1) for item in item_ids), np.int64, len(item_ids))
        learned = at >= 0
        learned[learned] = self.known[at[learned]]
        maps = self.item_map, self.context_map
        placer = Learned(np.zeros((0, 0), np.float32), *maps, self.space.half_life, _NONE, None, np.zeros(0, np.int64))
        items, contexts = placer.place(texts)
        items[learned], contexts[learned] = self.items[at[learned]], self.contexts[at[learned]]
        items /= np.float32(self.space.balance or 1.0)
        contexts *= np.float32(self.space.balance or 1.0)
        keys = item_keys(item_ids)
        attended = np.zeros(0, np.int64) if self.attention is None else self.attention.find(keys)
        vectors = np.concatenate([texts, items], axis=1)
        by_key = np.argsort(keys)
        words = keyword_table([catalogue[i] for i in by_key.tolist()], declared.items()) if self.keywords else None
        return Layout(self, vectors, contexts, at, attended, by_key, keys[by_key], words)


def looks_at(signal: str, weights: Mapping[str, float], ranker: str | None) -> bool:
    """Return whether a model uses a signal: trees use all, the blend those with a weight."""
    return ranker is not None or weights.get(signal, 0.0) > 0


_NONE = Links(np.zeros(0, np.uint64), sp.csr_array((0, 0)), sp.csr_array((0, 0)))


@dataclass(frozen=True, slots=True)
class Layout:
    """A model with a catalogue of n items, balanced. `vectors`: (n, width) float32, row i is item i."""

    trained: Trained
    vectors: Floats
    contexts: Floats
    at: Rows
    """(n,) int64: the item's row in the model; -1: the model lacks it."""
    attended: Rows
    """(n,) int64: the item's row in the network, see `Learned`."""
    by_key: Rows
    keys: np.ndarray
    words: sp.csr_array | None
    """Keywords in the order of `keys`. None: the model does not use them."""

    def part(self, mine: Rows) -> Learned:
        """Return the learned part of a shard that owns these items."""
        t = self.trained
        links = Links(self.keys, self._columns(t.near, mine), self._columns(t.follows, mine))
        attended = self.attended if t.attention is None else self.attended[mine]
        balance = np.float32(t.space.balance or 1.0)
        maps = t.item_map / balance, t.context_map * balance
        traits = None if self.words is None else Traits(self.words, np.argsort(self.by_key)[mine])
        return Learned(self.contexts[mine], *maps, t.space.half_life, links, t.attention, attended, traits)

    def _columns(self, table: sp.csr_array, mine: Rows) -> sp.csr_array:
        """Return the rows of all items in the order of keys, with the columns of `mine`. Unknown items are empty."""
        size = table.shape[0]
        rows, columns = self.at[self.by_key], self.at[mine]
        pick_rows = _picker(rows, size)
        pick_columns = _picker(columns, size)
        return sp.csr_array(pick_rows @ table @ pick_columns.T).astype(np.float32)


def _picker(places: Rows, size: int) -> sp.csr_array:
    """Return (len(places), size) sparse: row i selects places[i], or nothing for -1."""
    at = np.flatnonzero(places >= 0)
    return sp.csr_array((np.ones(len(at), np.float32), (at, places[at])), (len(places), size))
