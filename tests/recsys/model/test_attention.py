"""The network that reads the last likes: what is served against PyTorch's own, and what it learns that sums cannot."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.data.interactions import Interactions
from recsys.datatypes import item_keys
from recsys.evaluation.offline import Offline
from recsys.model.attention import Attention
from recsys.model.learned import Learned
from recsys.model.neighbour_rows import Links
from recsys.model.profiles import TRAIL
from recsys.ranking.signals import SIGNALS
from recsys.training.factors import Factors
from recsys.versions.model_files import read_model
from recsys.versions.opening import open_shard
from tests.support.people import people, publish

SIZE = 8
NAMES = [f"i{n}" for n in range(30)]
KEYS = item_keys(NAMES)


@pytest.fixture(scope="module")
def torch() -> Any:
    """Imported when a test of this file runs: it takes seconds, and every process of tests reads the file."""
    return import_module("torch")


@pytest.fixture(scope="module")
def learning(torch: Any) -> Any:
    """The module, which imports torch."""
    return import_module("recsys.training.attention")


@pytest.fixture(scope="module")
def network(torch, learning) -> Any:
    torch.manual_seed(0)
    made = learning.Network(torch.randn(len(NAMES) + 1, SIZE))
    with torch.no_grad():
        for part in made.parameters():
            part.add_(0.3 * torch.randn(part.shape))
    return made


@pytest.fixture(scope="module")
def attention(network, learning) -> Attention:
    return learning.folded(network, KEYS)


def ring(users: int = 400, size: int = 24, steps: int = 10) -> Interactions:
    """Everyone starts somewhere on a ring and goes on up or down, one by one."""
    rng = np.random.default_rng(5)
    start, way = rng.integers(0, size, users), rng.choice([-1, 1], users)
    places = (start[:, None] + way[:, None] * np.arange(steps)) % size
    names = np.repeat([f"u{u}" for u in range(users)], steps).tolist()
    items = [f"i{p}" for p in places.ravel()]
    return Interactions.of(names, items, np.tile(np.arange(steps), users).tolist(), catalogue=NAMES[:size])


def factors(items: int) -> Factors:
    made = np.random.default_rng(6).standard_normal((items, 32)).astype(np.float32)
    return Factors(made, made)


def trails(*likes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Keys and offsets of lists of items, newest first; -1 is an item that nobody knows."""
    names = [NAMES[i] if i >= 0 else "unknown" for trail in likes for i in trail]
    return item_keys(names), np.cumsum([0, *map(len, likes)])


def test_items_are_normalised_once_as_in_a_batch(attention):
    """To the last bit: what the block reads of a like does not depend on how many there are."""
    likes = np.random.default_rng(1).integers(0, len(NAMES), (5, 7))
    vectors = attention.items[likes] * np.float32(np.sqrt(SIZE))
    centred = vectors - vectors.mean(axis=-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    np.testing.assert_array_equal(attention.normal[likes], normal)


def test_what_is_served_is_what_was_trained(torch, network, attention):
    """One like, some, as many as it reads, and more, of which the oldest do not count."""
    likes = [[3], [5, 1, 9], list(range(TRAIL)), list(range(25))]
    asking, expected, average = attention.expected(*trails(*likes))
    assert asking.tolist() == [0, 1, 2, 3]
    table = network.items[1:].detach().numpy()
    for made, mean, trail in zip(expected, average, likes, strict=True):
        oldest_first = [i + 1 for i in trail[:TRAIL][::-1]]
        window = torch.tensor([[0] * (TRAIL - len(oldest_first)) + oldest_first])
        right = network(window)[0, -1].detach().numpy()
        np.testing.assert_allclose(made, right, rtol=1e-3, atol=1e-4)
        assert mean == pytest.approx(float((table @ right).mean()), abs=1e-3)


def test_likes_that_it_does_not_know_are_as_if_they_were_not_there(attention):
    asking, expected, _ = attention.expected(*trails([-1, 4, -1, 2], [-1, -1], [], [4, 2]))
    assert asking.tolist() == [0, 3]
    np.testing.assert_allclose(expected[0], expected[1], rtol=1e-5)


def test_an_unknown_candidate_scores_as_the_average_item_does(attention):
    """0, and 0 for all where no like is known; the others' scores are around it."""
    rows = np.array([*range(30), -1, *range(30)])
    scores = attention.scores(*trails([4, 2], [-1]), np.array([0, 31, 61]), rows)
    assert scores[30] == 0.0
    assert not scores[31:].any()
    assert abs(scores[:30].mean()) < 1e-4 < scores[:30].std()


def test_it_learns_the_way_somebody_goes(learning):
    """Sums of neighbours of 5 and 6 are the same whichever came first; where one goes next is not."""
    data = ring()
    made = learning.train_attention(data, factors(24), 7, lambda *_: None)
    _, expected, average = made.expected(*trails([6, 5, 4], [4, 5, 6]))
    by_name = made.items[made.find(item_keys(NAMES[:24]))]
    up, down = expected @ by_name.T - average[:, None]
    assert up[7] > up[3] + 0.2
    assert down[3] > down[7] + 0.2
    assert 0.5 < np.abs(up).max() < 2.0  # scaled, so that other signals stand beside it


def test_training_imports_no_compiler(learning, monkeypatch):
    """Torch's own takes three seconds to import, and has nothing to compile here."""
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # importing it would raise
    assert learning.train_attention(ring(20), factors(24), 7, lambda *_: None) is not None


def test_the_same_seed_teaches_the_same_and_leaves_others_chance_alone(torch, learning):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, again = (learning.train_attention(ring(60), factors(24), 7, lambda *_: None) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, part in first.arrays().items():
        np.testing.assert_array_equal(part, again.arrays()[name])


def test_nothing_to_foresee_is_no_network(learning):
    data = Interactions.of(["a", "b"], ["i0", "i1"], [1, 2], catalogue=NAMES[:24])
    assert learning.train_attention(data, factors(24), 7, lambda *_: None) is None


def test_items_that_nobody_touched_are_not_known(learning):
    data = Interactions.of(["a", "a", "a"], ["i0", "i1", "i5"], [1, 2, 3], catalogue=NAMES[:24])
    made = learning.train_attention(data, factors(24), 7, lambda *_: None)
    assert (made.find(KEYS) >= 0).nonzero()[0].tolist() == [0, 1, 5]


@pytest.mark.parametrize(("weight", "ranker", "attends"), [(0.0, None, False), (0.0, "trees", True), (1.0, None, True)])
def test_a_network_is_trained_for_those_who_look_at_it(lesson, attention, weight, ranker, attends):
    """The blend that gives it a weight, and trees, which learned from its scores whatever the blend makes of them."""
    weights = lesson.model.weights | {"attention": weight}
    chosen = replace(lesson.model, attention=attention, weights=weights, ranker=ranker)
    assert (lesson.trainer.refit(chosen, lesson.texts, people(40)).attention is not None) == attends


def test_a_version_carries_it_to_every_shard_and_to_the_versions_after_it(learning, lesson):
    """Of two shards, of a catalogue that lost an item, and of a version that was read back; an item that came later and
    one that the network never saw score 0.
    """
    made, test, model = lesson.build, lesson.held, lesson.model
    network = learning.train_attention(test.train, Factors(model.contexts, model.items), 7, lambda *_: None)
    model = replace(model, attention=network, weights={**model.weights, "attention": 1.0})
    first = publish(made, model)
    read = read_model(made.store, first)
    assert read.digest() == model.digest() != replace(model, attention=None).digest()
    second = publish(made, read)
    trail = item_keys(["sea-4", "sea-3"]), np.array([0, 2])
    _, expected, average = network.expected(*trail)
    for version in (first.version, second.version):
        for number in range(2):
            shard = open_shard(made.store, version, number)
            names = [shard.items.ids[int(r)] for r in shard.items.live_rows()]
            slots = shard.items.slots.view[shard.items.live_rows()]
            scores = shard.items.learned.expected(*trail, np.array([0, len(slots)]), slots)
            rows = network.find(item_keys(names))
            right = np.where(rows < 0, 0.0, network.items[rows] @ expected[0] - average[0])
            np.testing.assert_allclose(scores, right, atol=1e-4)
            late = shard.items.learned.expected(*trail, np.array([0, 1]), np.array([-1]))
            assert late.tolist() == [0.0]
    served = Offline(made.store, first.version, test.train, Serving(), ShardTuning())
    _, gathered = next(served.gathered(test, 10))
    assert gathered.signals[:, list(SIGNALS).index("attention")].any()


def test_a_shard_without_items_of_the_version_scores_late_ones_0(attention):
    none, nothing = np.zeros((0, SIZE), np.float32), sp.csr_array((0, 0), dtype=np.float32)
    links = Links(np.zeros(0, np.uint64), nothing, nothing)
    learned = Learned(none, none, none, 4.0, links, attention, np.zeros(0, np.int64))
    assert learned.expected(*trails([3, 1]), np.array([0, 2]), np.array([-1, -1])).tolist() == [0.0, 0.0]
