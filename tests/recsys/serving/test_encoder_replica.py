from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys.config import EncoderSpec, EncoderTuning, Platform, ShardTuning
from recsys.datatypes import Floats
from recsys.encoders.base import HashingEncoder
from recsys.errors import BadInput, VersionError
from recsys.serving.encoder_replica import EncoderReplica
from recsys.versions.build import Build, Content
from recsys.versions.store import VersionStore
from tests.support.world import ATTRIBUTES, DIMENSION, catalogue, eventually

SPEC = EncoderSpec(kind="hashing", dimension=DIMENSION)


class Slow(HashingEncoder):
    """Takes its time for a batch, and remembers it."""

    batches: list[Sequence[str]]

    def encode(self, texts: Sequence[str]) -> Floats:
        time.sleep(0.01)
        self.batches.append(texts)
        return super().encode(texts)


@pytest.fixture
async def replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EncoderReplica]:
    Slow.batches = []
    monkeypatch.setattr("recsys.serving.encoder_replica.load_encoder", lambda spec, *_, **__: Slow(spec))
    store = VersionStore(tmp_path)
    platform = Platform(shards=1, encoder=SPEC, attributes=ATTRIBUTES)
    build = Build(platform, store, HashingEncoder(SPEC), 1, ShardTuning())
    store.promote(build.publish(Content(catalogue())).version)
    made = EncoderReplica(store, tmp_path / "models")
    made.tune(EncoderTuning(max_batch=4))
    await made.start()
    Slow.batches.clear()
    yield made
    await made.stop()


def version(replica: EncoderReplica) -> str:
    served = replica._store.current()
    assert served is not None
    return served


async def test_a_search_does_not_wait_behind_a_thousand_items(replica: EncoderReplica) -> None:
    """They take turns: at most one batch of the many comes before it, beside the one that is under way."""
    many = asyncio.create_task(replica.encode(version(replica), [f"item {n}" for n in range(100)]))
    assert await eventually(lambda: Slow.batches)
    before = len(Slow.batches)
    await replica.encode(version(replica), ["what is searched for"])
    place = next(n for n, batch in enumerate(Slow.batches) if "what is searched for" in batch)
    assert place - before <= 2
    assert len(await many) == 100
    assert len(Slow.batches) == 26


async def test_texts_that_arrive_together_are_encoded_together_and_once(replica: EncoderReplica) -> None:
    texts = ["rocket", "bread", "rocket", "sail"]
    found = await asyncio.gather(*(replica.encode(version(replica), [text]) for text in texts))
    assert sorted(text for batch in Slow.batches for text in batch) in (
        ["bread", "rocket", "sail"],
        ["bread", "rocket", "rocket", "sail"],  # both were on their way before either was known
    )
    assert len(Slow.batches) <= 2
    for text, [vector] in zip(texts, found, strict=True):
        np.testing.assert_array_equal(vector, HashingEncoder(SPEC).encode([text])[0])
    await replica.encode(version(replica), texts)
    assert len(Slow.batches) <= 2


async def test_no_cache_is_a_setting(replica: EncoderReplica) -> None:
    replica.tune(EncoderTuning(cache_texts=0))
    for _ in range(2):
        await replica.encode(version(replica), ["rocket"])
    assert Slow.batches == [["rocket"], ["rocket"]]


async def test_what_leaves_the_cache_meanwhile_is_still_answered(replica: EncoderReplica) -> None:
    """A text that was known when the call came, and is forgotten while others of the call are encoded."""
    replica.tune(EncoderTuning(cache_texts=1))
    await replica.encode(version(replica), ["rocket"])
    found = await replica.encode(version(replica), ["rocket", "one", "two"])
    assert np.array_equal(found, HashingEncoder(SPEC).encode(["rocket", "one", "two"]))
    call = asyncio.create_task(replica.encode(version(replica), ["two", "three"]))
    await asyncio.sleep(0)
    replica.tune(EncoderTuning())
    assert len(await call) == 2


async def test_a_call_may_bring_more_texts_than_the_queue_holds(replica: EncoderReplica) -> None:
    """As many as the highest `limits.bulk`, in their order."""
    replica.tune(EncoderTuning(max_batch=1000, cache_texts=0))
    replica._bulk.max_waiting = 1500
    texts = [f"text {n}" for n in range(4000)]
    assert np.array_equal(await replica.encode(version(replica), texts), HashingEncoder(SPEC).encode(texts))


class Picky(HashingEncoder):
    """Fails a whole batch for one text, as tokenizers do."""

    def encode(self, texts: Sequence[str]) -> Floats:
        for text in texts:
            text.encode()
        return super().encode(texts)


async def test_a_text_that_cannot_be_encoded_fails_its_own_caller_only(
    replica: EncoderReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.serving.encoder_replica.load_encoder", lambda spec, *_, **__: Picky(spec))
    replica._encoders.clear()
    served = version(replica)
    texts = ["rocket", "half an emoji \ud83d", "sail", "fern"]
    calls = (replica.encode(served, [text]) for text in texts)
    first, bad, *others = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(bad, BadInput)
    assert bad.field == "text"
    str(bad).encode()
    for text, found in zip(["rocket", "sail", "fern"], [first, *others], strict=True):
        np.testing.assert_array_equal(found[0], HashingEncoder(SPEC).encode([text])[0])


async def test_an_encoder_that_fails_altogether_says_why(
    replica: EncoderReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(HashingEncoder):
        def encode(self, texts: Sequence[str]) -> Floats:
            raise RuntimeError("out of memory")

    monkeypatch.setattr("recsys.serving.encoder_replica.load_encoder", lambda spec, *_, **__: Broken(spec))
    replica._encoders.clear()
    with pytest.raises(RuntimeError, match="out of memory"):
        await replica.encode(version(replica), ["rocket", "sail"])


async def test_an_encoder_starts_where_the_promoted_version_cannot_be_read(replica, tmp_path):
    """It loads that of the version before; without any that opens it says why."""
    store = VersionStore(tmp_path)
    before = version(replica)
    platform = Platform(shards=1, encoder=SPEC, attributes=ATTRIBUTES)
    bad = Build(platform, store, HashingEncoder(SPEC), 1, ShardTuning()).publish(Content(catalogue())).version
    store.promote(bad)
    (store.folder(bad) / "manifest.json").write_text("{}")
    late = EncoderReplica(store, tmp_path / "models")
    await late.start()
    assert list(late._fingerprints) == [before]
    await late.stop()
    (store.folder(before) / "manifest.json").write_text("{}")
    with pytest.raises(VersionError, match="manifest"):
        await EncoderReplica(store, tmp_path / "models").start()
