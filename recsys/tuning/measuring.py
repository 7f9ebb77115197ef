"""What a build may raise until its indexes find what exact search finds.

Cheapest for serving first: the balance of text and learned part costs nothing there (`balance.py`), `ef_search` costs
time of every search, and what else an engine may raise (`IndexSpec.stronger`) costs memory and a longer build too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats
from recsys.errors import Unavailable, VersionError
from recsys.shard.inspection import self_lookup
from recsys.shard.probes import sample, sample_queries
from recsys.shard.recall import CANDIDATES, Exact
from recsys.shard.shard import Shard
from recsys.tuning.balance import found_in
from recsys.tuning.probe_queries import QUERIES, ProbeQueries

RECALL_FLOOR = 0.95
"""Recall@10 that each kind of query must reach by itself, and the self-lookup of each shard."""
_LOOKED_UP = 200
"""Distinct vectors of each shard that are searched for."""
_SAMPLED = 5000
"""Texts that are tried before a training."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Recall of the served search at one `ef_search`."""

    ef_search: int
    recall: Mapping[str, float]
    self_lookup: float | None
    """The least of the shards; None: not looked at, for the recall is too low."""

    @property
    def shares(self) -> dict[str, float]:
        looked = {} if self.self_lookup is None else {"self-lookup": self.self_lookup}
        return {**{f"recall@10 of {kind}": share for kind, share in self.recall.items()}, **looked}

    @property
    def least(self) -> tuple[str, float]:
        """The worst of the shares, by name."""
        return min(self.shares.items(), key=lambda share: share[1])

    @property
    def holds(self) -> bool:
        return self.self_lookup is not None and self.least[1] >= RECALL_FLOOR

    def words(self, spec: IndexSpec, balance: float) -> str:
        balanced = "" if balance == 1.0 else f", balance {balance:g}"
        shares = ", ".join(f"{name} {share:.4f}" for name, share in self.shares.items())
        return f"{spec.words}, ef_search {self.ef_search}{balanced}: {shares}"


def measure(shards: Sequence[Shard], probes: ProbeQueries, spec: IndexSpec, tuning: ShardTuning) -> Measured:
    """At the smallest `ef_search` that holds the floor, else at the largest; the shards stay tuned to it."""
    exact = {kind: Exact.of(shards, queries) for kind, queries in probes.kinds.items()}
    for ef in spec.ef_searches(tuning.ef_search):
        for shard in shards:
            shard.tune(tuning.model_copy(update={"ef_search": ef}))
        recall = {kind: round(one.recall(), 4) for kind, one in exact.items()}
        looked_up = None
        if min(recall.values()) >= RECALL_FLOOR:
            looked_up = min(self_lookup(shard, _LOOKED_UP) for shard in shards)
        if away := next((shard.index.away for shard in shards if shard.index.away), ""):
            raise Unavailable(away)  # what was measured is the shards' own scoring
        measured = Measured(ef, recall, looked_up)
        if measured.holds:
            break
    return measured


def hopeless(name: str, share: float, spec: IndexSpec, ef_search: int) -> str:
    """What to say when all that may be raised is not enough."""
    most = f", the most that {spec.limits} allow" if spec.limits else ""
    return (
        f"{name} is {share:.4f}, under {RECALL_FLOOR}, with {spec.words} and ef_search {ef_search}{most}: only exact "
        "search finds enough of these items; set index.engine: flat, which has no other setting"
    )


def refuse_hopeless(texts: Floats, start: IndexSpec, ef_search: int) -> None:
    """VersionError when the most that may be raised does not find a sample of the texts, of a second's work: then it is
    not worth minutes of training. `texts` is (I, d), unit vectors.
    """
    some = sample(texts, _SAMPLED)
    if start.exact or not len(some):
        return
    queries, most = sample_queries(some, QUERIES), start.ef_searches(ef_search)[-1]
    for spec in (start, *start.stronger()):
        share = found_in(some, queries, spec, most)
        if share >= RECALL_FLOOR:
            return
    raise VersionError(hopeless(f"recall@10 of {len(some)} texts", share, spec, most))


def walk_us(shards: Sequence[Shard], probes: ProbeQueries) -> float:
    """CPU microseconds that a query spends in the graphs of the shards as they are tuned, over all kinds."""
    start, queries = time.process_time(), 0
    for vectors in probes.kinds.values():
        queries += len(vectors)
        for shard in shards:
            if len(shard.index):
                shard.index.search(vectors, CANDIDATES)
    return round((time.process_time() - start) * 1e6 / max(queries, 1), 1)
