"""A replica of the encoder pool: texts to vectors by each version's encoder, in batches of what arrives together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from recsys.config.tuning import EncoderTuning
from recsys.data.wording import shown
from recsys.datatypes import Floats
from recsys.encoders.base import Encoder
from recsys.encoders.loading import load_encoder
from recsys.errors import BadInput, RecsysError, VersionError
from recsys.serving.background import Background
from recsys.serving.bulk_threads import BulkThreads
from recsys.serving.load import LoadMeter
from recsys.serving.measures import BEAT_S, Pulse
from recsys.telemetry import SILENT, Telemetry
from recsys.transport.coalescing import Coalescer, Flight
from recsys.versions.store import VersionStore

_LOADED = 2
"""Encoders in memory at a time: the served version's and the next one's."""
_TOGETHER = 1000
"""Texts of one call in the queue at a time, so that calls of any size leave room for others."""
_BULK_THREADS = 2
"""Batches of bulk calls that are encoded at a time."""

log = logging.getLogger(__name__)

Outcomes = Sequence[Floats | Exception]
"""A vector for each text, or why there is none."""
Run = Callable[[Encoder, Sequence[str]], Awaitable[Outcomes]]
"""Has `_each` done by a thread."""


class EncoderReplica:
    def __init__(self, store: VersionStore, models: Path, telemetry: Telemetry = SILENT) -> None:
        """`models`: the folder that exported models are in."""
        self._store = store
        self._models = models
        self._telemetry = telemetry
        self._encoders: LRUCache[str, Encoder] = LRUCache(_LOADED)
        self._fingerprints: LRUCache[str, str] = LRUCache(64)
        self._cache: LRUCache[tuple[str, str], Floats] = LRUCache(EncoderTuning().cache_texts)
        self._loading = asyncio.Lock()
        self._bulk_threads = BulkThreads(_BULK_THREADS)
        self._texts = self._queue(lambda encoder, texts: asyncio.to_thread(_each, encoder, texts), 1)
        self._bulk = self._queue(
            lambda encoder, texts: self._bulk_threads.run(self._bulk.oldest_s, _each, encoder, texts), _BULK_THREADS
        )
        self.meter = LoadMeter(lambda: max(self._texts.oldest_s, self._bulk.oldest_s))
        self._pulse = Pulse(self.meter, telemetry)
        self._background = Background(telemetry)

    async def start(self) -> None:
        """Load the served version's encoder, so that the first request does not wait for its weights.

        When it does not open, load that of the version served before; shards and composers go back to it, too. Raises
        VersionError when none opens.
        """
        reasons = []
        for version in self._store.served():
            try:
                encoder = await self._encoder(version)
            except (RecsysError, OSError) as error:
                log.error("the encoder of version %s cannot be loaded: %s", version, error)  # noqa: TRY400
                reasons.append(str(error))
                continue
            await asyncio.to_thread(encoder.encode, ["the first text takes longest"])
            break
        else:
            if reasons:
                raise VersionError(f"no promoted version's encoder can be loaded: {'; '.join(reasons)}")
        self.meter.begin()
        self._background.start("beat", self._beat, BEAT_S)

    async def stop(self) -> None:
        await self._background.stop()
        self._bulk_threads.stop()

    def healthy(self) -> bool:
        return self._background.healthy()

    def tune(self, tuning: EncoderTuning) -> None:
        self._texts.max_batch = self._bulk.max_batch = tuning.max_batch
        self._cache = LRUCache(tuning.cache_texts)

    async def encode(self, version: str, texts: Sequence[str]) -> Floats:
        """(len(texts), d) float32 unit vectors by the encoder of the version.

        Raises BadInput for a text that the encoder cannot read; calls that travelled with it get their vectors.
        """
        vectors = {t: v for t in dict.fromkeys(texts) if (v := self._cache.get((version, t))) is not None}
        missing = [t for t in dict.fromkeys(texts) if t not in vectors]
        self._telemetry.add("recsys_texts_total", len(missing), result="encoded")
        self._telemetry.add("recsys_texts_total", len(texts) - len(missing), result="cached")
        # A thousand items have a queue of their own, and searches go beside them. Texts of one length come together,
        # for a batch is padded to its longest.
        queue = self._texts
        if len(missing) > self._texts.max_batch:
            queue = self._bulk
            missing.sort(key=len, reverse=True)
        for start in range(0, len(missing), _TOGETHER):
            part = missing[start : start + _TOGETHER]
            encoded = await asyncio.gather(*(queue.submit((version, text)) for text in part))
            for text, vector in zip(part, encoded, strict=True):
                vectors[text] = vector
                if self._cache.maxsize:
                    self._cache[version, text] = vector
        return np.stack([vectors[t] for t in texts])

    async def _encode(self, batch: list[tuple[str, str]], run: Run) -> list[Floats | Exception]:
        outcomes: dict[tuple[str, str], Floats | Exception] = {}
        for version in {version for version, _ in batch}:
            texts = [text for of, text in batch if of == version]
            encoder = await self._encoder(version)
            vectors = await run(encoder, texts)
            outcomes |= {(version, text): vector for text, vector in zip(texts, vectors, strict=True)}
        return [outcomes[request] for request in batch]

    def _queue(self, run: Run, flights: int) -> Coalescer[tuple[str, str], Floats]:
        return Coalescer(
            lambda batch: self._encode(batch, run),
            max_batch=EncoderTuning().max_batch,
            max_in_flight=flights,
            landed=self._landed,
        )

    def _landed(self, flight: Flight) -> None:
        self._pulse.landed("encode", flight, self._texts.max_batch, works=True)

    def _beat(self) -> None:
        self._pulse.beat(list(self._fingerprints))
        self._telemetry.set("recsys_queue_requests", len(self._texts) + len(self._bulk), queue="encode")

    async def _encoder(self, version: str) -> Encoder:
        """The version's encoder. Versions with the same encoder share one object."""
        if (encoder := self._loaded(version)) is not None:
            return encoder
        async with self._loading:
            if (encoder := self._loaded(version)) is not None:
                return encoder
            manifest = await asyncio.to_thread(self._store.manifest, version)
            fingerprint = self._fingerprints[version] = manifest.fingerprint
            if (encoder := self._encoders.get(fingerprint)) is None:
                encoder = await asyncio.to_thread(load_encoder, manifest.encoder, self._models, expected=fingerprint)
                self._encoders[fingerprint] = encoder
            return encoder

    def _loaded(self, version: str) -> Encoder | None:
        return self._encoders.get(self._fingerprints.get(version, ""))


def _each(encoder: Encoder, texts: Sequence[str]) -> Outcomes:
    """A vector for each text. When the batch fails, each text is encoded by itself: one bad text fails no other."""
    try:
        return list(encoder.encode(texts))
    except Exception:
        outcomes = [_alone(encoder, text) for text in texts]
        if all(isinstance(outcome, Exception) for outcome in outcomes) and len(texts) > 1:
            raise  # the encoder fails, and not one of the texts
        return outcomes


def _alone(encoder: Encoder, text: str) -> Floats | Exception:
    try:
        return np.asarray(encoder.encode([text])[0], np.float32)
    except Exception as error:  # noqa: BLE001 - an encoder may raise anything for a text that it cannot read
        return BadInput(f"text: the encoder cannot read it ({type(error).__name__}): {shown(text)}", field="text")
