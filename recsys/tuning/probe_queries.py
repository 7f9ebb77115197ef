"""Queries like those that a version will be asked, by kind: what its recall is measured with.

texts    what is searched for: between the texts of random items
tastes   what recommendations start from: those of random users where their histories are at hand; else walks along the
         neighbour rows of the model, which find within 0.01 as much as real histories on three shops; of a version that
         learned nothing, means of random items
items    what is asked of an item's page: the contexts of random items

Random items are drawn from the distinct texts: of a thousand copies one is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config.serving import Serving
from recsys.data.interactions import Interactions, faded, taste_rows
from recsys.datatypes import Floats, Rows
from recsys.model.trained import Layout
from recsys.shard.probes import sample_tastes
from recsys.shard.vector_names import distinct
from recsys.tuning.outcome import TastesOf

QUERIES = 250
"""Of each kind: at a recall of 0.95 the standard error is about 0.005."""
_WALK = 5
"""Likes of a made-up history, at the most."""


@dataclass(frozen=True, slots=True)
class ProbeQueries:
    """`kinds`: (m, width) float32 each. Empty for a version without items."""

    kinds: dict[str, Floats]
    tastes_of: TastesOf = "items"

    def balanced(self, text: int, balance: float) -> ProbeQueries:
        """For items whose learned part, which begins at column `text`, is divided by `balance`."""
        factors = {kind: vectors.copy() for kind, vectors in self.kinds.items()}
        for vectors in factors.values():
            vectors[:, text:] *= np.float32(balance)
        return ProbeQueries(factors, self.tastes_of)


def probe_queries(
    texts: Floats,
    layout: Layout | None,
    item_ids: Sequence[str],
    histories: Interactions | None,
    n: int = QUERIES,
    seed: int = 7,
) -> ProbeQueries:
    """`texts` is (I, d), the unit vectors of the items; `layout` is over the same items; None: nothing was learned."""
    if not len(texts):
        return ProbeQueries({})
    rng = np.random.default_rng(seed)
    own = rng.permutation(distinct(texts))
    searched = _unit(sample_tastes(texts, n, seed, own))
    sampled = None if histories is None or not len(histories) else _sampled(histories, n, rng)
    if layout is None:
        tastes = _unit(sample_tastes(texts, n, seed + 1)) if sampled is None else _text_part(sampled, texts, item_ids)
        return ProbeQueries(
            {"texts": searched, "tastes": tastes, "items": np.array(texts[own[:n]])},
            "items" if sampled is None else "users",
        )
    space = layout.trained.space
    contexts = np.concatenate([texts, layout.contexts], axis=1)
    tastes_of: TastesOf = "users"
    if sampled is not None:
        weight = np.float32(space.text_weight)
        rows = taste_rows(sampled, space.half_life, space.long_weight)
        learned = rows @ _in_order(layout.contexts, item_ids, sampled.item_ids)
        tastes = np.concatenate([weight * _text_part(sampled, texts, item_ids), learned], axis=1)
    elif len(walks := _walks(layout, n, rng)):
        added = space.added(contexts)
        tastes, tastes_of = np.stack([space.query(added[walk].sum(axis=0)) for walk in walks]), "walks"
    else:
        tastes, tastes_of = np.stack([space.query(t) for t in sample_tastes(space.added(contexts), n, seed)]), "items"
    kinds = {
        "texts": np.stack([space.text_query(text) for text in searched]),
        "tastes": tastes.astype(np.float32),
        "items": np.stack([space.context_query(context) for context in contexts[own[:n]]]),
    }
    return ProbeQueries(kinds, tastes_of)


def _sampled(histories: Interactions, n: int, rng: np.random.Generator) -> Interactions:
    return histories.select(rng.permutation(np.flatnonzero(histories.lengths))[:n])


def _text_part(histories: Interactions, texts: Floats, item_ids: Sequence[str]) -> Floats:
    """(users, d) unit vectors: the faded sums of the texts they liked."""
    half_life = float(Serving.model_fields["taste_half_life"].default)
    return _unit(faded(histories, half_life) @ _in_order(texts, item_ids, histories.item_ids))


def _in_order(vectors: Floats, item_ids: Sequence[str], wanted: Sequence[str]) -> Floats:
    """The items' vectors in the order of other ids; zeros for an item that is not there."""
    place = {item: i for i, item in enumerate(item_ids)}
    at = np.fromiter((place.get(item, -1) for item in wanted), np.int64, len(wanted))
    ordered = vectors[at]
    ordered[at < 0] = 0.0
    return ordered


def _walks(layout: Layout, n: int, rng: np.random.Generator) -> list[Rows]:
    """Made-up histories: from a random item that the model knows to what goes with it, one to five of the catalogue."""
    model = layout.trained
    here = np.full(len(model.item_ids), -1)
    here[layout.at[layout.at >= 0]] = np.flatnonzero(layout.at >= 0)
    starts = np.flatnonzero((here >= 0) & model.known)
    walks = []
    for start in rng.choice(starts, n) if len(starts) else ():
        walk = [int(start)]
        for _ in range(int(rng.integers(_WALK))):
            row = slice(*model.near.indptr[walk[-1] : walk[-1] + 2].tolist())
            beside, weights = (
                model.near.indices[row],
                np.maximum(model.near.data[row], 0) * (here[model.near.indices[row]] >= 0),
            )
            if not weights.sum():
                break
            walk.append(int(rng.choice(beside, p=weights / weights.sum(dtype=np.float64))))
        walks.append(here[walk])
    return walks


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
