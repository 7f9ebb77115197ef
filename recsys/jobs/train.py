"""Training: a version with a model learned from events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from recsys.config.scenarios import EventType
from recsys.config.serving import Serving
from recsys.config.whole import Config
from recsys.data.interactions import Interactions
from recsys.datatypes import Interaction, Item
from recsys.encoders.catalogue import Progress, encode_all
from recsys.errors import BadInput, TooFewEvents, VersionError
from recsys.evaluation.splits import Split, upcoming
from recsys.jobs.item_files import read_catalogue
from recsys.jobs.live_events import live_lessons
from recsys.jobs.patient_redis import patient_redis
from recsys.model.card import ModelCard
from recsys.model.taste import Taste
from recsys.ranking.known_features import NOTHING, Known
from recsys.reading.dataset_folder import divided, weighted
from recsys.reading.dialect import ReadOptions
from recsys.reading.judgement import FileTallies
from recsys.reading.readers import Batch, read_events
from recsys.shard.snapshot import write_indexes
from recsys.training.trainer import Trainer
from recsys.versions.build import Build, Indexer, by_text
from recsys.versions.contents import file_content, served_items
from recsys.versions.manifest import Manifest
from recsys.versions.prerequisites import check_room, check_tools
from recsys.versions.store import VersionStore

_ROWS = 5000
"""Rows of a batch."""
_NOTHING = "there is no event with a weight to learn from; see event_types in the config file"


@dataclass(frozen=True, slots=True)
class Lessons:
    """The sources of a training."""

    events: Sequence[Path] = ()
    """Event files. Empty: all histories of the platform."""
    items: Sequence[Path] = ()
    """Item files. Empty: the items of the served version."""
    options: ReadOptions = field(default_factory=ReadOptions)
    """Options for reading the files; see `dataset_folder.divided`."""
    event_type: str | None = None
    """Type of events whose file has none."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The data of a training, read and checked."""

    items: Sequence[Item]
    data: Interactions
    """Likes of the items."""
    base: str | None
    """The served version that the items are from. None: they are from files."""
    known: Known = NOTHING
    """What the platform knows beside events. Nothing: the events are from files."""


@dataclass(frozen=True, slots=True)
class Taught:
    """A published version, and the card of the model in it."""

    manifest: Manifest
    card: ModelCard


def ready(
    lessons: Lessons, config: Config, say: Progress, tallies: FileTallies, *, redis_url: str | None = None
) -> Ready:
    """Read the data, and check it before the minutes of encoding and training.

    `redis_url`: the Redis with the platform's histories; required when no event files are given. Raises BadInput for
    files that cannot be read, and when too many rows are refused or name unknown items (see `tallies`); TooFewEvents
    when no user has two likes; VersionError when items of the served version are needed and none is served.
    """
    check_tools(config.platform, training=True)
    of_items, of_events = _options(lessons, config)
    events = EventFiles.open(lessons, of_events, config.serving)
    store = VersionStore.of(config.platform)
    base = None if lessons.items else _base(store)
    from_files = base is None
    read = read_catalogue(lessons.items, config, of_items, say, tallies.items) if from_files else served_items(store)
    items = list(read)  # training goes over them many times
    ids = [item.item_id for item in items]
    known = NOTHING
    if redis_url is None:
        data = events.read(ids, say, tallies)
    else:
        data, known = asyncio.run(_histories(redis_url, config, ids, say))
    _refuse_too_few(data)
    check_room(config.platform, store.root, len(items), training=True)
    return Ready(items, data, base, known)


def train(
    ready: Ready,
    config: Config,
    say: Progress,
    indexer: Indexer = write_indexes,
    *,
    seed: int = 7,
    split: Split = upcoming,
    trees: bool = True,
) -> Taught:
    """Train, and publish a version with the model, which is not promoted.

    `indexer`: see `Build.indexer`. `split` separates the validation set. `trees`: whether a tree ranker may be trained.
    Raises VersionError when the items are those of the served version and another one was promoted meanwhile.
    """
    build, items, data = Build.of(config, say, indexer), ready.items, ready.data
    texts = encode_all(build.encoder, items, say)
    trained = Trainer(build, config.serving, seed, split, trees, ready.known).train(items, texts, data, say)
    with build.store.drafts.alone():
        if ready.base is not None and build.store.current() != ready.base:
            raise VersionError(f"{ready.base}, whose items were trained on, is served no more; train again")
        content = file_content(build.store, items, config.platform, build.encoder.fingerprint)
        content = replace(content, encoded=by_text(items, texts), histories=data)
        return Taught(build.publish(content, say, trained), trained.card)


def _base(store: VersionStore) -> str:
    """Return the served version. Raises VersionError when there is none."""
    current = store.current()
    if current is None:
        raise VersionError("no version is promoted, so there are no items to learn for; name item files with --items")
    return current


def _options(lessons: Lessons, config: Config) -> tuple[ReadOptions, ReadOptions]:
    """Return the options for item files and those for event files."""
    if not lessons.items:
        return ReadOptions(), lessons.options
    return divided(lessons.options, config.platform.attributes)


@dataclass(frozen=True, slots=True)
class EventFiles:
    """Event files whose columns are checked and whose rows are not yet read."""

    batches: Iterator[Batch[Interaction]]
    types: Mapping[str, EventType]

    @classmethod
    def open(cls, lessons: Lessons, options: ReadOptions, serving: Serving) -> EventFiles:
        batches = read_events(
            lessons.events, serving.event_types, serving.limits, options, _ROWS, default_type=lessons.event_type
        )
        return cls(batches, serving.event_types)

    def read(self, catalogue: Sequence[str], say: Progress, tallies: FileTallies) -> Interactions:
        """Return the likes of the catalogue's items. Raises BadInput when there is none, or too many events name other
        items.
        """
        rows: list[Interaction] = []
        item_ids = set(catalogue)
        for batch in self.batches:
            tallies.events(batch)
            rows += batch.records
            named = [record.item_id for record in batch.records]
            tallies.joined.add(named, [item_id for item_id in dict.fromkeys(named) if item_id not in item_ids])
            say("read events", batch.bytes_read, batch.bytes_total)
        if tallies.joined.too_few:
            raise tallies.joined.wrong(catalogue)
        data = weighted(rows, self.types, catalogue)
        if not len(data):
            taste = Taste(self.types, 1.0)
            liked = next((row for row in rows if taste.weight(row) > 0), None)
            if liked is not None:
                raise BadInput(
                    f"none of the {len(rows)} events that can be read and count as likes names an item of the "
                    f"catalogue, such as {liked.item_id!r}: are the item_id columns of one kind "
                    "(--map events.item_id=…)?"
                )
            raise BadInput(_NOTHING)
        return data


async def _histories(redis_url: str, config: Config, catalogue: list[str], say: Progress) -> tuple[Interactions, Known]:
    """Return the likes of the platform's users, and what is known beside them. Raises BadInput when there is no like
    of an item of the catalogue.
    """
    async with patient_redis(redis_url, config.platform, "start the same training again") as redis:
        data, known = await live_lessons(redis, config, catalogue, say)
    if not len(data):
        raise BadInput(
            "no event in the platform's histories is a like of an item of the catalogue that is learned for. Of items "
            "that came over HTTP a version is made by: recsys build --from-live --promote. What is a like is said by "
            "event_types in the config file"
        )
    return data, known


def _refuse_too_few(data: Interactions) -> None:
    """Raise TooFewEvents when no user has two likes, so that no two items occur together."""
    if data.lengths.max() < 2:
        raise TooFewEvents(
            f"nothing was trained: none of the {data.users} users has liked two items, so nothing goes with anything"
        )
