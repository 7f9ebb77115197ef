"""The learned part of a shard's items: context vectors, maps for new items, neighbour rows, the attention network, and
keywords.
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
from recsys.model.neighbour_rows import Likes, Links

_NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Learned:
    """The learned part of n items. `contexts`: (n, r) float32 by slot. `item_map`, `context_map`: (d + 1, r) float32.

    [text vector, 1] @ map gives the vector of an item without interactions.
    """

    contexts: Floats
    item_map: Floats
    context_map: Floats
    half_life: float
    """Half-life, in likes, of the weights of `near`."""
    links: Links
    attention: Attention | None
    attended: Rows
    """(n,) int64 by slot: rows of the network's items; -1: the network lacks the item. Empty without a network."""
    traits: Traits | None = None
    """None: the version does not use keywords."""

    @property
    def dimension(self) -> int:
        return self.item_map.shape[1]

    def place(self, texts: Floats) -> tuple[Floats, Floats]:
        """Return (n, r) item factors and (n, r) context factors for (n, d) text vectors."""
        wide = np.concatenate([texts, np.ones((len(texts), 1), np.float32)], axis=1)
        return wide @ self.item_map, wide @ self.context_map

    def expected(self, trail: Keys, trail_offsets: Rows, offsets: Rows, slots: Rows) -> Floats:
        """Return (n,) `Attention.scores` of candidates by slot; 0 without a network, and for items added later (-1)."""
        if self.attention is None:
            return np.zeros(len(slots), np.float32)
        rows = np.full(len(slots), -1)
        rows[slots >= 0] = self.attended[slots[slots >= 0]]
        return self.attention.scores(trail, trail_offsets, offsets, rows)

    def alike(self, likes: Likes, requests: Rows, slots: Rows) -> Floats:
        """Return (n,) `Traits.scores` of candidates by slot; 0 if the version does not use keywords."""
        if self.traits is None:
            return np.zeros(len(slots), np.float32)
        return self.traits.scores(likes.faded(0.5 ** (1.0 / HALF_LIFE)), requests, slots)

    def save(self, folder: Path) -> None:
        """Write `contexts.npy`, which the replicas of a machine map into memory, and `learned.npz`."""
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
        """Read what `save` wrote. None: the version has no model."""
        if not (folder / "learned.npz").exists():
            return None
        contexts = np.load(folder / "contexts.npy", mmap_mode="r", allow_pickle=False)
        with np.load(folder / "learned.npz", allow_pickle=False) as stored:
            sources = stored["sources"]

            def table(name: str, columns: int) -> sp.csr_array:
                data, at, ends = (stored[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
                if max(len(data), columns) <= np.iinfo(np.int32).max:  # training may have made them twice as wide
                    at, ends = at.astype(np.int32, copy=False), ends.astype(np.int32, copy=False)
                return sp.csr_array((data, at, ends), (len(sources), columns))

            links = Links(sources, table("near", len(contexts)), table("follows", len(contexts)))
            maps = stored["item_map"], stored["context_map"], float(stored["half_life"])
            attention = Attention.read(stored)
            attended = _NOTHING if attention is None else stored["attended"]
            traits = Traits(table("traits", int(stored["keywords"])), stored["own"]) if "own" in stored else None
        return cls(np.asarray(contexts), *maps, links, attention, attended, traits)
