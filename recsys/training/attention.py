"""Teaching the network that reads the last likes: every like is to be foreseen from the twenty before it.

PyTorch, which the encoders need anyway, for gradients and Adam; what is served is numpy, see `model/attention.py`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

from recsys.data.interactions import Interactions
from recsys.datatypes import item_keys
from recsys.encoders.catalogue import Progress
from recsys.model.attention import Attention
from recsys.model.profiles import TRAIL
from recsys.training.factors import Factors

_HEADS = 2
_KNOWN = 30_000
"""Items known at most, the most liked: what bounds the time of a step, and 15 MB a shard."""
_EPOCHS = 4
"""So few that dropout only slows it: on validation 0.1 and 0.2 of it are worse than none."""
_READ = 4_000_000
"""Likes read at most, all epochs together."""
_BATCH = 64
"""Windows a step."""
_NEGATIVES = 512
_RATE = 8e-3
"""Adam's largest step, reached after a sixth of all steps (Smith and Topin 2018, "Super-Convergence")."""
_START = 0.02
"""Standard deviation of a number of an item's vector at the start."""
_SAMPLE = 1000


class Network(nn.Module):
    """`items` is (V + 1, d); row 0 stands for no item."""

    def __init__(self, items: Tensor) -> None:
        super().__init__()
        size = items.shape[1]
        self.items = nn.Parameter(items)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)
        self.wide, self.narrow = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.norm_likes, self.norm_state, self.norm = nn.LayerNorm(size), nn.LayerNorm(size), nn.LayerNorm(size)
        # One head begins with the last few likes, the other with twice as many.
        self.place = nn.Parameter(-torch.arange(TRAIL) * 0.5 ** torch.arange(1, _HEADS + 1)[:, None])
        self.lags = (torch.arange(TRAIL)[:, None] - torch.arange(TRAIL)).clamp(min=0)
        self.later = torch.ones(TRAIL, TRAIL, dtype=torch.bool).triu(1)
        self.itself = torch.eye(TRAIL, dtype=torch.bool)

    def forward(self, likes: Tensor) -> Tensor:
        """(b, TRAIL) items, oldest first -> (b, TRAIL, d) what is expected after each."""
        size = self.items.shape[1]
        x = F.embedding(likes, self.items) * size**0.5
        query, key, value = (
            part.unflatten(2, (_HEADS, size // _HEADS)).transpose(1, 2)
            for part in self.query_key_value(self.norm_likes(x)).chunk(3, dim=2)
        )
        unseen = self.later | ((likes == 0)[:, None, :] & ~self.itself)  # who sees nothing at all would be NaN
        bias = self.place[:, self.lags].masked_fill(unseen[:, None], -torch.inf)
        told = F.scaled_dot_product_attention(query, key, value, bias).transpose(1, 2).flatten(2)
        x = x + self.output(told)
        x = x + self.narrow(F.relu(self.wide(self.norm_state(x))))
        return self.norm(x)


def train_attention(data: Interactions, factors: Factors, seed: int, say: Progress) -> Attention | None:
    """None: nobody has two likes. Vectors of items start as their `factors`: an epoch from there does what three do
    from chance.
    """
    counts = data.counts()
    known = np.sort(np.argsort(-counts, kind="stable")[: min(_KNOWN, int((counts > 0).sum()))])
    code = np.zeros(len(counts), np.int64)
    code[known] = np.arange(1, len(known) + 1)
    kept = data.where(code[data.items] > 0)
    windows = torch.from_numpy(_windows(kept, code[kept.items]))
    if not len(windows):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start = factors.items[known] * _START / max(float(factors.items[known].std()), 1e-9)
        network = Network(torch.from_numpy(np.concatenate([np.zeros_like(start[:1]), start])))
        _fit(network, windows, torch.from_numpy(counts[known].astype(np.float32)), say)
    return _scaled(folded(network, item_keys(data.item_ids[i] for i in known.tolist())), kept, seed)


def _windows(data: Interactions, codes: np.ndarray) -> np.ndarray:
    """(w, TRAIL + 1) codes, oldest first, 0 where a history begins later: every like but a user's first is the one to
    be foreseen in one window, and there at some place.
    """
    pieces = np.where(data.lengths > 1, -(-(data.lengths - 1) // TRAIL), 0)
    users = np.repeat(np.arange(data.users), pieces)
    piece = np.arange(len(users)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    at = (data.offsets[1:][users] - piece * TRAIL)[:, None] - np.arange(TRAIL + 1, 0, -1)
    return np.where(at >= data.offsets[:-1][users][:, None], codes[np.maximum(at, 0)], 0)


def _fit(network: Network, windows: Tensor, counts: Tensor, say: Progress) -> None:
    steps = -(-len(windows) // _BATCH)
    total = max(min(steps * _EPOCHS, _READ // (_BATCH * TRAIL)), 1)
    adam = torch.optim.Adam(network.parameters(), _RATE, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, _RATE, total_steps=total + 1, pct_start=1 / 6)
    drawn = counts.sqrt() / counts.sqrt().sum()
    order: tuple[Tensor, ...] = ()
    for step in range(total):
        if step % steps == 0:
            order = torch.split(torch.randperm(len(windows)), _BATCH)
        if step % 50 == 0:
            say("attention", step, total)
        adam.zero_grad()
        _loss(network, windows[order[step % steps]], drawn).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        rate.step()
    say("attention", total, total)


def _loss(network: Network, windows: Tensor, drawn: Tensor) -> Tensor:
    """Softmax over the item that came and items drawn at random, whose scores are less the log of how often they are
    drawn (Bengio and Senécal 2008): as if over all items.
    """
    likes, after = windows[:, :-1], windows[:, 1:]
    asked = ((likes > 0) & (after > 0)).flatten().nonzero().flatten()
    came = after.flatten()[asked]
    expected = network(likes).flatten(0, 1).index_select(0, asked)
    others = torch.multinomial(drawn, _NEGATIVES, replacement=True)
    right = (expected * F.embedding(came, network.items)).sum(1)
    wrong = torch.addmm(-(drawn[others] * _NEGATIVES).log(), expected, F.embedding(others + 1, network.items).T)
    wrong.masked_fill_(others + 1 == came[:, None], -torch.inf)
    return F.softplus(wrong.logsumexp(1) - right).mean()


@torch.no_grad()
def folded(network: Network, keys: np.ndarray) -> Attention:
    """Queries and keys as one matrix a head, values and outputs as another, with the scales of the norms before them.
    What a key's bias adds is the same for all likes and changes nothing.
    """
    size = network.items.shape[1]
    scale, offset = network.norm_likes.weight, network.norm_likes.bias
    query, key, value = network.query_key_value.weight.chunk(3)
    query_bias, _, value_bias = network.query_key_value.bias.chunk(3)
    query_bias = query @ offset + query_bias
    value_bias = value @ offset + value_bias
    query, key, value = (part * scale for part in (query, key, value))
    heads = [slice(h * size // _HEADS, (h + 1) * size // _HEADS) for h in range(_HEADS)]
    root = (size // _HEADS) ** 0.5
    order = np.argsort(keys)
    items = network.items[1:][torch.from_numpy(order)]
    made = {
        "items": items,
        "mean": items.mean(0),
        "ask": torch.cat([query[h].T @ key[h] for h in heads], 1) / root,
        "ask_bias": torch.cat([query_bias[h] @ key[h] for h in heads]) / root,
        "place": network.place,
        "tell": torch.cat([value[h].T @ network.output.weight[:, h].T for h in heads]),
        "tell_bias": network.output.weight @ value_bias + network.output.bias,
        "wide": (network.wide.weight * network.norm_state.weight).T,
        "wide_bias": network.wide.weight @ network.norm_state.bias + network.wide.bias,
        "narrow": network.narrow.weight.T,
        "narrow_bias": network.narrow.bias,
        "gain": network.norm.weight,
        "shift": network.norm.bias,
    }
    return Attention(keys[order], **{name: np.ascontiguousarray(part.numpy()) for name, part in made.items()})


def _scaled(attention: Attention, data: Interactions, seed: int) -> Attention:
    """Brings all but one in a thousand of users' best scores within 1."""
    users = np.flatnonzero(data.lengths)
    users = np.random.default_rng(seed).choice(users, min(_SAMPLE, len(users)), replace=False)
    last = data.where(data.ages < TRAIL).select(users)
    newest_first = np.lexsort((last.ages, last.owners))
    trail = item_keys(data.item_ids[i] for i in last.items[newest_first].tolist())
    _, expected, average = attention.expected(trail, last.offsets)
    best = (expected @ attention.items.T).max(axis=1) - average
    size = np.float32(max(float(np.quantile(best, 0.999)), 1e-6))
    return replace(attention, gain=attention.gain / size, shift=attention.shift / size)
