"""What a version learned of its items, as a shard holds it: context vectors, places for new items, neighbour rows, the
network that reads the last likes, and the keywords that are compared with theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.datatypes import Floats, Keys, Rows
from recsys.model.attention import Attention
from recsys.model.keywords import HALF_LIFE, Traits

FADING = (None, 0.6, 0.0)
"""How the last likes fade, like by like, in each signal of neighbour rows: near (None: by the version's half-life),
next, and near to the very last like alone."""

_NOTHING = np.zeros(0, np.int64)
_CELLS = 1 << 22
"""Requests x items up to which sums of neighbour rows are laid out densely: 16 MB."""


@dataclass(frozen=True, slots=True)
class Likes:
    """Those of the last likes that the version knows: (l,) each, the request, the row in `Links.sources`, how many came
    after it, and what it weighs; `size` requests of `items` items.
    """

    owners: Rows
    at: Rows
    places: Rows
    weights: Floats
    size: int
    items: int

    def faded(self, factor: float) -> sp.csr_array:
        """(size, items) float32: each weighs `factor` of the one after it."""
        faded = (self.weights * np.float32(factor) ** self.places).astype(np.float32)
        use = faded > 1e-3  # less than a thousandth changes no order
        return sp.csr_array((faded[use], (self.owners[use], self.at[use])), (self.size, self.items))


@dataclass(frozen=True, slots=True)
class Links:
    """Neighbour rows: what goes with each item of the version (`near`) and what comes after it (`follows`).

    `sources` is (S,) uint64, sorted keys of all the version's items, whichever shard owns them; `near` and `follows`
    are (S, n) sparse float32, whose columns are this shard's items in the order of the snapshot, its *slots*.
    """

    sources: Keys
    near: sp.csr_array
    follows: sp.csr_array

    def likes(self, trail: Keys, trail_offsets: Rows, weights: Floats) -> Likes:
        """`trail` and `weights` are (t,), newest first, request b's at `trail_offsets[b]:trail_offsets[b + 1]`."""
        size = len(trail_offsets) - 1
        owners = np.repeat(np.arange(size), np.diff(trail_offsets))
        places = np.arange(len(trail)) - trail_offsets[owners]
        at = np.minimum(np.searchsorted(self.sources, trail), max(len(self.sources) - 1, 0))
        learned = self.sources[at] == trail if len(self.sources) else np.zeros(len(trail), bool)
        return Likes(owners[learned], at[learned], places[learned], weights[learned], size, len(self.sources))

    def scores(self, likes: Likes, half_life: float, requests: Rows, slots: Rows) -> Floats:
        """(n, 3) float32 for n pairs of request and slot: sums of the rows of the request's last likes. A slot of -1
        (an item that came later) scores 0.
        """
        out = np.zeros((len(requests), len(FADING)), np.float32)
        for column, fading in enumerate(FADING):
            faded = likes.faded(0.5 ** (1.0 / half_life) if fading is None else fading)
            out[:, column] = _cells(faded @ (self.follows if column == 1 else self.near), requests, slots)
        out[slots < 0] = 0.0
        return out


def _cells(sums: sp.csr_array, requests: Rows, slots: Rows) -> Floats:
    safe = np.maximum(slots, 0)
    if not sums.shape[1]:
        return np.zeros(len(requests), np.float32)
    if sums.shape[0] * sums.shape[1] <= _CELLS:
        return np.asarray(sums.toarray()[requests, safe], np.float32)
    sums.sort_indices()  # then each cell is found by halving
    return np.asarray(sums[requests, safe], np.float32).ravel()


@dataclass(frozen=True, slots=True)
class Learned:
    """`contexts` is (n, r) float32 by slot. `item_map` and `context_map` are (d + 1, r) float32: [text vector, 1] @ map
    places an item that nobody has touched yet.
    """

    contexts: Floats
    item_map: Floats
    context_map: Floats
    half_life: float
    """Likes; of `near`."""
    links: Links
    attention: Attention | None
    attended: Rows
    """(n,) by slot, rows of the network's items; -1: it does not know the item. Empty without a network."""
    traits: Traits | None = None
    """None: the version does not look at keywords."""

    @property
    def dimension(self) -> int:
        return self.item_map.shape[1]

    def place(self, texts: Floats) -> tuple[Floats, Floats]:
        """(n, d) text vectors -> (n, r) item and (n, r) context factors."""
        wide = np.concatenate([texts, np.ones((len(texts), 1), np.float32)], axis=1)
        return wide @ self.item_map, wide @ self.context_map

    def expected(self, trail: Keys, trail_offsets: Rows, offsets: Rows, slots: Rows) -> Floats:
        """(n,) `Attention.scores` of candidates by slot; 0 without a network, and for items that came later (-1)."""
        if self.attention is None:
            return np.zeros(len(slots), np.float32)
        rows = np.full(len(slots), -1)
        rows[slots >= 0] = self.attended[slots[slots >= 0]]
        return self.attention.scores(trail, trail_offsets, offsets, rows)

    def alike(self, likes: Likes, requests: Rows, slots: Rows) -> Floats:
        """(n,) `Traits.scores` of candidates by slot; 0 where keywords are not looked at."""
        if self.traits is None:
            return np.zeros(len(slots), np.float32)
        return self.traits.scores(likes.faded(0.5 ** (1.0 / HALF_LIFE)), requests, slots)

    def save(self, folder: Path) -> None:
        """`contexts.npy`, which replicas on a machine share, and `learned.npz`."""
        np.save(folder / "contexts.npy", self.contexts, allow_pickle=False)
        links = self.links
        parts: dict[str, Any] = {
            "item_map": self.item_map,
            "context_map": self.context_map,
            "half_life": np.array(self.half_life),
            "sources": links.sources,
        }
        tables = {"near": links.near, "follows": links.follows}
        if self.traits is not None:
            tables["traits"] = self.traits.table
            parts |= {"own": self.traits.own, "keywords": np.array(self.traits.table.shape[1])}
        for name, table in tables.items():
            parts |= {f"{name}_data": table.data, f"{name}_indices": table.indices, f"{name}_indptr": table.indptr}
        if self.attention is not None:
            parts |= {**self.attention.arrays(), "attended": self.attended}
        np.savez(folder / "learned.npz", allow_pickle=False, **parts)

    @classmethod
    def load(cls, folder: Path) -> Learned | None:
        """None: the version learned nothing."""
        if not (folder / "learned.npz").exists():
            return None
        contexts = np.load(folder / "contexts.npy", mmap_mode="r", allow_pickle=False)
        with np.load(folder / "learned.npz", allow_pickle=False) as stored:
            sources = stored["sources"]

            def table(name: str, columns: int) -> sp.csr_array:
                parts = (stored[f"{name}_data"], stored[f"{name}_indices"], stored[f"{name}_indptr"])
                return sp.csr_array(parts, (len(sources), columns))

            links = Links(sources, table("near", len(contexts)), table("follows", len(contexts)))
            maps = stored["item_map"], stored["context_map"], float(stored["half_life"])
            attention = Attention.read(stored)
            attended = _NOTHING if attention is None else stored["attended"]
            traits = Traits(table("traits", int(stored["keywords"])), stored["own"]) if "own" in stored else None
        return cls(np.asarray(contexts), *maps, links, attention, attended, traits)
