"""Training of the attention network, which predicts every like from the twenty likes before it.

PyTorch, which the encoders need anyway, computes gradients and Adam. The served network is numpy, see
`model/attention.py`.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

from recsys.data.interactions import Interactions
from recsys.datatypes import item_keys
from recsys.encoders.catalogue import Progress
from recsys.model.attention import Attention
from recsys.model.profiles import TRAIL
from recsys.training.factors import Factors
from recsys.training.window_dislikes import WindowDislikes

Ints = npt.NDArray[np.int64]

_HEADS = 2
_VOCABULARY = 30_000
"""Items of the network, the most liked: they bound the time of a step, and take 15 MB in a shard."""
_EPOCHS = 4
"""With so few epochs dropout does not help: on validation 0.1 and 0.2 are worse than none."""
_READ = 4_000_000
"""Most likes that are read, all epochs together."""
_BATCH = 64
"""Windows of a step."""
_NEGATIVES = 512
"""Random items that a target is compared with in a step."""
_RATE = 8e-3
"""Adam's largest learning rate, reached after a sixth of all steps (Smith and Topin 2018, "Super-Convergence")."""
_START = 0.02
"""Standard deviation of the initial item vectors' components."""
_SAMPLE = 1000
"""Users whose scores determine the scale."""


class Network(nn.Module):
    """The network. `items` is (V + 1, d) float32; row 0 is padding."""

    def __init__(self, items: Tensor) -> None:
        super().__init__()
        size = items.shape[1]
        self.items = nn.Parameter(items)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)
        self.wide, self.narrow = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.norm_likes, self.norm_state, self.norm = nn.LayerNorm(size), nn.LayerNorm(size), nn.LayerNorm(size)
        # One head starts with attention to the last few likes, the other to twice as many.
        self.place = nn.Parameter(-torch.arange(TRAIL) * 0.5 ** torch.arange(1, _HEADS + 1)[:, None])
        self.lags = (torch.arange(TRAIL)[:, None] - torch.arange(TRAIL)).clamp(min=0)
        self.later = torch.ones(TRAIL, TRAIL, dtype=torch.bool).triu(1)
        self.itself = torch.eye(TRAIL, dtype=torch.bool)

    def forward(self, likes: Tensor) -> Tensor:
        """Return (b, TRAIL, d) the vector expected after each of the (b, TRAIL) items, oldest first."""
        size = self.items.shape[1]
        x = F.embedding(likes, self.items) * size**0.5
        query, key, value = (
            part.unflatten(2, (_HEADS, size // _HEADS)).transpose(1, 2)
            for part in self.query_key_value(self.norm_likes(x)).chunk(3, dim=2)
        )
        unseen = self.later | ((likes == 0)[:, None, :] & ~self.itself)  # a row that attends to nothing would be NaN
        bias = self.place[:, self.lags].masked_fill(unseen[:, None], -torch.inf)
        context = F.scaled_dot_product_attention(query, key, value, bias).transpose(1, 2).flatten(2)
        x = x + self.output(context)
        x = x + self.narrow(F.relu(self.wide(self.norm_state(x))))
        return self.norm(x)


class _Adam(torch.optim.Adam):
    """Adam without torch's compiler. It has nothing to compile here, and takes three seconds to import, which torch's
    wrappers around these methods do.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return inspect.unwrap(torch.optim.Adam.step)(self, closure)


def train_attention(data: Interactions, factors: Factors, seed: int, say: Progress) -> Attention | None:
    """Return the trained network, or None when nobody has two likes.

    The item vectors start as `factors`: an epoch from there achieves what three achieve from random vectors.
    """
    counts = data.counts()
    rows = np.sort(np.argsort(-counts, kind="stable")[: min(_VOCABULARY, int((counts > 0).sum()))])
    code = np.zeros(len(counts), np.int64)
    code[rows] = np.arange(1, len(rows) + 1)
    kept = data.where(code[data.items] > 0)
    windows = torch.from_numpy(windows_of(kept, code[kept.items]))
    if not len(windows):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start = factors.items[rows] * _START / max(float(factors.items[rows].std()), 1e-9)
        network = Network(torch.from_numpy(np.concatenate([np.zeros_like(start[:1]), start])))
        against = WindowDislikes.of(kept, code)
        _fit(network, windows, against, torch.from_numpy(counts[rows].astype(np.float32)), say)
    return _scaled(folded(network, item_keys(data.item_ids[i] for i in rows.tolist())), kept, seed)


def windows_of(data: Interactions, codes: np.ndarray) -> np.ndarray:
    """Return (w, TRAIL + 1) int64 codes, oldest first, 0 before the beginning of a history.

    Every like but a user's first is the target of exactly one position in one window.
    """
    pieces = np.where(data.lengths > 1, -(-(data.lengths - 1) // TRAIL), 0)
    users = np.repeat(np.arange(data.users), pieces)
    piece = np.arange(len(users)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    at = (data.offsets[1:][users] - piece * TRAIL)[:, None] - np.arange(TRAIL + 1, 0, -1)
    return np.where(at >= data.offsets[:-1][users][:, None], codes[np.maximum(at, 0)], 0)


def _fit(network: Network, windows: Tensor, against: WindowDislikes, counts: Tensor, say: Progress) -> None:
    steps = -(-len(windows) // _BATCH)
    total = max(min(steps * _EPOCHS, _READ // (_BATCH * TRAIL)), 1)
    adam = _Adam(network.parameters(), _RATE, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, _RATE, total_steps=total + 1, pct_start=1 / 6)
    drawn = counts.sqrt() / counts.sqrt().sum()
    order: tuple[Tensor, ...] = ()
    for step in range(total):
        if step % steps == 0:
            order = torch.split(torch.randperm(len(windows)), _BATCH)
        if step % 50 == 0:
            say("attention", step, total)
        adam.zero_grad()
        batch = order[step % steps]
        _loss(network, windows[batch], against.among(batch.numpy()), drawn).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        rate.step()
    say("attention", total, total)


def _loss(network: Network, windows: Tensor, against: tuple[Ints, Ints], drawn: Tensor) -> Tensor:
    """Return the mean sampled softmax loss. Each target is compared with random items, whose scores are reduced by the
    log of their expected draws, which estimates the softmax over all items (Bengio and Senécal 2008).

    `against`: see `WindowDislikes.among`. A disliked item is compared with the target at its position (Rendle et al.
    2009, "BPR"). All of them weigh as much as all targets at the most.
    """
    likes, after = windows[:, :-1], windows[:, 1:]
    positions = ((likes > 0) & (after > 0)).flatten().nonzero().flatten()
    targets = after.flatten()[positions]
    states = network(likes).flatten(0, 1)
    expected = states.index_select(0, positions)
    others = torch.multinomial(drawn, _NEGATIVES, replacement=True)
    right = (expected * F.embedding(targets, network.items)).sum(1)
    wrong = torch.addmm(-(drawn[others] * _NEGATIVES).log(), expected, F.embedding(others + 1, network.items).T)
    wrong.masked_fill_(others + 1 == targets[:, None], -torch.inf)
    loss = F.softplus(wrong.logsumexp(1) - right).mean()
    places, disliked = map(torch.from_numpy, against)
    if not len(places):
        return loss
    preferred = network.items[after.flatten()[places]] - network.items[disliked]
    margin = (states.index_select(0, places) * preferred).sum(1)
    return loss + F.softplus(-margin).sum() / max(len(places), len(targets))


@torch.no_grad()
def folded(network: Network, keys: np.ndarray) -> Attention:
    """Return the network for serving, with fewer matrices.

    Query and key of a head are multiplied to one matrix, value and output to another, and the scales of the preceding
    norms are multiplied in. The key's bias adds the same to all likes and is left out.
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
    weights = {
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
    return Attention(keys[order], **{name: np.ascontiguousarray(part.numpy()) for name, part in weights.items()})


def _scaled(attention: Attention, data: Interactions, seed: int) -> Attention:
    """Return the network with its output scaled so that 99.9 % of users' best scores are at most 1."""
    users = np.flatnonzero(data.lengths)
    users = np.random.default_rng(seed).choice(users, min(_SAMPLE, len(users)), replace=False)
    last = data.where(data.ages < TRAIL).select(users)
    newest_first = np.lexsort((last.ages, last.owners))
    trail = item_keys(data.item_ids[i] for i in last.items[newest_first].tolist())
    _, expected, average = attention.expected(trail, last.offsets)
    best = (expected @ attention.items.T).max(axis=1) - average
    size = np.float32(max(float(np.quantile(best, 0.999)), 1e-6))
    return replace(attention, gain=attention.gain / size, shift=attention.shift / size)
