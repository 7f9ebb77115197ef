"""The data of a comparison: items, users and their right answers; the same for every contender, from one seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

TASTE_HALF_LIFE = 10.0
"""Likes after which a like counts half; configs/benchmark.yaml says the same."""
LIKES = 20
"""Of each user, …"""
LIKES_AT_HOME = 16
"""… of which this many lie in one cluster."""
M, EF_CONSTRUCTION = 16, 200


@dataclass(frozen=True)
class Workload:
    items: int = 40_000
    dimension: int = 384
    shards: int = 1
    """One does for so small a catalogue."""
    users: int = 1000
    candidates: int = 50
    """A shard, or the one index, returns so many; the best 10 are answered."""
    ef: int = 128
    """HNSW: candidates kept while searching, in every contender."""
    clusters: int = 200
    seed: int = 7

    @property
    def key(self) -> str:
        """Names the files made of this workload: not what splits or queries them."""
        built = {k: v for k, v in asdict(self).items() if k not in ("shards", "users", "candidates", "ef")}
        return hashlib.sha256(json.dumps([built, M, EF_CONSTRUCTION]).encode()).hexdigest()[:10]

    @cached_property
    def own(self) -> npt.NDArray[np.int64]:
        """(items,) cluster of each item."""
        return np.random.default_rng(self.seed).integers(self.clusters, size=self.items)

    @cached_property
    def vectors(self) -> Floats:
        """(items, dimension) unit vectors: clusters that overlap, spread along 48 directions as texts' are."""
        vectors = np.empty((self.items, self.dimension), np.float32)
        for part, some in self.parts():
            vectors[part] = some
        return vectors

    def parts(self) -> Iterator[tuple[slice, Floats]]:
        """The same, 50,000 at a time: ten million need not be in memory."""
        rng, d = np.random.default_rng(self.seed + 1), self.dimension
        inner = min(48, d)
        centres = _unit(rng.standard_normal((self.clusters, d), np.float32))
        basis = rng.standard_normal((inner, d), np.float32) / np.float32(np.sqrt(d * inner))
        for start in range(0, self.items, 50_000):
            part = slice(start, min(start + 50_000, self.items))
            noise = rng.standard_normal((part.stop - start, inner), np.float32) @ basis
            yield part, _unit(centres[self.own[part]] + noise)

    @cached_property
    def likes(self) -> npt.NDArray[np.int64]:
        """(users, LIKES) items, the one liked last at the end."""
        return self.drawn_likes()

    def drawn_likes(self, again: int = 0) -> npt.NDArray[np.int64]:
        """The same, drawn anew. `again`: 1 and more are others that the same tastes may like."""
        rng = np.random.default_rng(self.seed + 2)
        homes = rng.integers(self.clusters, size=self.users)
        rng = np.random.default_rng((self.seed + 2, again)) if again else rng
        ends = np.cumsum(np.bincount(self.own, minlength=self.clusters))
        by_cluster = np.split(np.argsort(self.own, kind="stable"), ends[:-1])
        liked = []
        for home in homes:
            near = rng.choice(by_cluster[home], min(LIKES_AT_HOME, len(by_cluster[home])), replace=False)
            rest = rng.choice(self.items, LIKES - len(near), replace=False)
            liked.append(rng.permutation(np.concatenate([near, rest])))
        return np.stack(liked)

    @cached_property
    def tastes(self) -> Floats:
        """(users, dimension) unit vectors: each user's likes, fading."""
        return tastes_of(self.vectors[self.likes])

    def exact(self, users: int, k: int = 10) -> list[list[str]]:
        """The right answer for the first users, best first."""
        best = []
        for taste in self.tastes[:users]:
            scores = self.vectors @ taste
            top = np.argpartition(-scores, k)[:k]
            best.append([item_id(i) for i in top[np.argsort(-scores[top])].tolist()])
        return best

    def events(self, at_once: int = 1000) -> Iterator[list[dict[str, Any]]]:
        """Bodies of POST /v1/events that give the platform the same tastes. Repeating them changes nothing."""
        records = [
            {
                "event_id": f"bench-{user}-{n}",
                "user_id": user_id(user),
                "item_id": item_id(item),
                "type": "like",
                "timestamp": 1_700_000_000 + n,
            }
            for user, liked in enumerate(self.likes.tolist())
            for n, item in enumerate(liked)
        ]
        for start in range(0, len(records), at_once):
            yield records[start : start + at_once]


def tastes_of(liked: Floats) -> Floats:
    """(users, dimension) unit vectors from the (users, LIKES, dimension) vectors of their likes."""
    fading = 0.5 ** (np.arange(LIKES - 1, -1, -1) / TASTE_HALF_LIFE)
    return _unit(np.einsum("l,uld->ud", fading, liked).astype(np.float32))


def item_id(number: int) -> str:
    return f"item-{number}"


def title(number: int) -> str:
    return f"Item number {number}"


def user_id(number: int) -> str:
    """From 1, as MovieLens counts."""
    return str(number + 1)


def profile_key(user: str) -> str:
    """Where the hand-written contenders keep a user's vector: 4 bytes a dimension."""
    return f"bench:profile:{user}"


def build_index(vectors: Floats, labels: npt.NDArray[np.int64], path: Path, threads: int) -> None:
    """One hnswlib index on disk."""
    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), ef_construction=EF_CONSTRUCTION, M=M, random_seed=7)
    index.add_items(vectors, labels, num_threads=threads)
    index.save_index(str(path))


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
