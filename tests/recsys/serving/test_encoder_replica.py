from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys.config.encoder import EncoderSpec
from recsys.config.platform import Platform
from recsys.config.tuning import EncoderTuning, ShardTuning
from recsys.datatypes import Floats
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import BadInput, VersionError
from recsys.serving.encoder_replica import EncoderReplica
from recsys.versions.build import Build, Content
from recsys.versions.store import VersionStore
from tests.support.world import ATTRIBUTES, DIMENSION, catalogue

SPEC = EncoderSpec(kind="hashing", dimension=DIMENSION)
Start = Callable[[type[HashingEncoder]], Awaitable[EncoderReplica]]


class Slow(HashingEncoder):
    """Takes its time for a batch, and remembers it."""

    batches: list[Sequence[str]]

    def encode(self, texts: Sequence[str]) -> Floats:
        time.sleep(0.01)
        self.batches.append(texts)
        return super().encode(texts)


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    """With one version, which is promoted."""
    store = VersionStore(tmp_path)
    store.promote(publish(store))
    return store


def publish(store: VersionStore) -> str:
    platform = Platform(shards=1, encoder=SPEC, attributes=ATTRIBUTES)
    return Build(platform, store, HashingEncoder(SPEC), 1, ShardTuning()).publish(Content(catalogue())).version


@pytest.fixture
def served(store: VersionStore) -> str:
    """The version that is served."""
    current = store.current()
    assert current is not None
    return current


@pytest.fixture
async def start(store: VersionStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts a replica with an encoder of this class."""
    running: list[EncoderReplica] = []

    async def with_encoder(encoder: type[HashingEncoder]) -> EncoderReplica:
        monkeypatch.setattr("recsys.serving.encoder_replica.load_encoder", lambda spec, *_, **__: encoder(spec))
        replica = EncoderReplica(VersionStore(store.root), store.root / "models")
        running.append(replica)
        replica.tune(EncoderTuning(max_batch=4))
        await replica.start()
        return replica

    yield with_encoder
    for replica in running:
        await replica.stop()


@pytest.fixture
async def replica(start: Start) -> EncoderReplica:
    Slow.batches = []
    started = await start(Slow)
    Slow.batches.clear()
    return started


class Stuck(HashingEncoder):
    """Holds all that is an item until it is let go."""

    go = threading.Event()

    def encode(self, texts: Sequence[str]) -> Floats:
        if any(text.startswith("item") for text in texts):
            assert self.go.wait(60)
        return super().encode(texts)


async def test_a_search_is_encoded_while_batches_of_many_items_are_under_way(start: Start, served: str) -> None:
    """As many as there are threads for. None of them has to end first."""
    Stuck.go.clear()
    replica = await start(Stuck)
    many = asyncio.create_task(replica.encode(served, [f"item {n}" for n in range(100)]))
    try:
        await asyncio.sleep(0)
        found = await replica.encode(served, ["what is searched for"])
        assert not many.done()
    finally:
        Stuck.go.set()
    assert np.array_equal(found, HashingEncoder(SPEC).encode(["what is searched for"]))
    assert np.array_equal(await many, HashingEncoder(SPEC).encode([f"item {n}" for n in range(100)]))


async def test_texts_of_one_length_are_encoded_together(replica: EncoderReplica, served: str) -> None:
    """Where there are many: a batch is padded to its longest text."""
    texts = ["x" * (1 + n % 10) + f"-{n:02}" for n in range(40)]
    found = await replica.encode(served, texts)
    assert np.array_equal(found, HashingEncoder(SPEC).encode(texts))
    lengths = [[len(text) for text in batch] for batch in Slow.batches]
    assert sum(map(len, lengths)) == 40
    assert all(max(batch) - min(batch) <= 1 for batch in lengths)


async def test_texts_that_arrive_together_are_encoded_together_and_once(replica: EncoderReplica, served: str) -> None:
    texts = ["rocket", "bread", "rocket", "sail"]
    found = await asyncio.gather(*(replica.encode(served, [text]) for text in texts))
    assert sorted(text for batch in Slow.batches for text in batch) in (
        ["bread", "rocket", "sail"],
        ["bread", "rocket", "rocket", "sail"],  # both were on their way before either was known
    )
    assert len(Slow.batches) <= 2
    for text, [vector] in zip(texts, found, strict=True):
        np.testing.assert_array_equal(vector, HashingEncoder(SPEC).encode([text])[0])
    await replica.encode(served, texts)
    assert len(Slow.batches) <= 2


async def test_no_cache_is_a_setting(replica: EncoderReplica, served: str) -> None:
    replica.tune(EncoderTuning(cache_texts=0))
    for _ in range(2):
        await replica.encode(served, ["rocket"])
    assert Slow.batches == [["rocket"], ["rocket"]]


async def test_what_leaves_the_cache_meanwhile_is_still_answered(replica: EncoderReplica, served: str) -> None:
    """A text that was known when the call came, and is forgotten while others of the call are encoded."""
    replica.tune(EncoderTuning(cache_texts=1))
    await replica.encode(served, ["rocket"])
    found = await replica.encode(served, ["rocket", "one", "two"])
    assert np.array_equal(found, HashingEncoder(SPEC).encode(["rocket", "one", "two"]))
    call = asyncio.create_task(replica.encode(served, ["two", "three"]))
    await asyncio.sleep(0)
    replica.tune(EncoderTuning())
    assert len(await call) == 2


async def test_a_call_may_bring_more_texts_than_the_queue_holds(replica: EncoderReplica, served: str) -> None:
    """As many as the highest `limits.bulk`, in their order."""
    replica.tune(EncoderTuning(max_batch=1000, cache_texts=0))
    texts = [f"text {n}" for n in range(11_000)]  # it holds 10,000
    assert np.array_equal(await replica.encode(served, texts), HashingEncoder(SPEC).encode(texts))


class Picky(HashingEncoder):
    """Fails a whole batch for one text, as tokenizers do."""

    def encode(self, texts: Sequence[str]) -> Floats:
        for text in texts:
            text.encode()
        return super().encode(texts)


async def test_a_text_that_cannot_be_encoded_fails_its_own_caller_only(start: Start, served: str) -> None:
    replica = await start(Picky)
    texts = ["rocket", "half an emoji \ud83d", "sail", "fern"]
    calls = (replica.encode(served, [text]) for text in texts)
    first, bad, *others = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(bad, BadInput)
    assert bad.field == "text"
    str(bad).encode()
    for text, found in zip(["rocket", "sail", "fern"], [first, *others], strict=True):
        np.testing.assert_array_equal(found[0], HashingEncoder(SPEC).encode([text])[0])


async def test_an_encoder_that_fails_altogether_says_why(start: Start, served: str) -> None:
    class Broken(HashingEncoder):
        """Its first text, which warms it up, is its last."""

        texts = 0

        def encode(self, texts: Sequence[str]) -> Floats:
            self.texts += len(texts)
            if self.texts > 1:
                raise RuntimeError("out of memory")
            return super().encode(texts)

    replica = await start(Broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        await replica.encode(served, ["rocket", "sail"])


async def test_an_encoder_starts_where_the_promoted_version_cannot_be_read(start, store, served):
    """It loads that of the version before; without any that opens it says why."""
    bad = publish(store)
    store.promote(bad)
    (store.folder(bad) / "manifest.json").write_text("{}")
    late = await start(HashingEncoder)
    assert (await late.encode(served, ["rocket"])).shape == (1, DIMENSION)
    (store.folder(served) / "manifest.json").write_text("{}")
    with pytest.raises(VersionError, match="manifest"):
        await start(HashingEncoder)
