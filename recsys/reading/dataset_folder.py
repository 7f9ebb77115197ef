"""Items and interactions from files, for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from recsys.config.platform import AttributeType
from recsys.config.scenarios import EventType
from recsys.config.serving import Limits
from recsys.data.interactions import Interactions
from recsys.data.packed_items import PackedItems
from recsys.data.records import EventIn, ItemIn, item_of
from recsys.datatypes import Interaction, Item
from recsys.errors import BadInput
from recsys.model.taste import Taste
from recsys.reading.dialect import Condition, ReadOptions
from recsys.reading.judgement import FileTallies
from recsys.reading.readers import Batch, read_events, read_items

_SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
"""Preferred endings where a folder has one table in several files, best first."""
ANY = "event"
"""Type of events whose file has no type."""

Say = Callable[[str, int, int], None]
"""Progress: the step, what is done and what there is."""
V = TypeVar("V")


class _AnyType(frozenset[str]):
    """Contains every event type."""

    def __contains__(self, _: object) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Dataset:
    """Items, and the interactions of users with them."""

    items: list[Item]
    data: Interactions
    summary: list[str]
    """Lines on how the files were read; see `FileReading.summary`."""


def in_folder(folder: Path, name: str) -> Path:
    """Return the file of that name with any ending. Of several, the ending that _SUFFIXES has first is taken.

    Raises BadInput when there is none.
    """
    places = {suffix: place for place, suffix in enumerate(_SUFFIXES)}
    paths = [path for path in folder.glob(f"{name}.*") if path.is_file()]
    if not paths:
        raise BadInput(
            f"{folder} holds no {name} file; it needs {name}.csv, or {name}.jsonl, {name}.parquet and the like"
        )
    return min(paths, key=lambda path: (places.get(path.name.removeprefix(name), len(places)), path.name))


def read_folder(
    folder: Path,
    declared: Mapping[str, AttributeType],
    say: Say,
    options: ReadOptions | None = None,
    tallies: FileTallies | None = None,
) -> Dataset:
    """Read `items.csv` (item_id, title, text) and `events.csv` (user_id, item_id, timestamp), or other endings.

    `options`: options for both files, see `divided`. Every event has weight 1, whatever its type and value: evaluation
    predicts the next event. `tallies` count what is left out. Raises BadInput when a column is missing, when too many
    rows are refused, and when too many events name an item that the item file lacks.
    """
    tallies = tallies or FileTallies()
    of_items, of_events = divided(options or ReadOptions(), declared)
    paths = [in_folder(folder, "items")]
    # Check the columns of both files before either is read.
    summary = read_items(paths, declared, Limits(), of_items).summary()
    events = read_events([in_folder(folder, "events")], _AnyType(), Limits(), of_events, batch=5000, default_type=ANY)
    items = list(items_of(paths, declared, say, of_items, tallies.items))
    summary += events.summary()
    catalogue = {item.item_id for item in items}
    users, ids, times = [], [], []
    for batch in events:
        tallies.events(batch)
        named = [record.item_id for record in batch.records]
        tallies.joined.add(named, [item_id for item_id in dict.fromkeys(named) if item_id not in catalogue])
        for record in batch.records:
            users.append(record.user_id)
            ids.append(record.item_id)
            times.append(record.timestamp)
        say("read events", batch.bytes_read, batch.bytes_total)
    if tallies.joined.too_few or tallies.joined.share == 1.0:
        raise tallies.joined.wrong(item.item_id for item in items)
    return Dataset(items, Interactions.of(users, ids, times, catalogue=[item.item_id for item in items]), summary)


def items_of(
    paths: Iterable[Path],
    declared: Mapping[str, AttributeType],
    say: Say,
    options: ReadOptions,
    tally: Callable[[Batch[Any]], None],
    limits: Limits | None = None,
) -> PackedItems:
    """Return the items of the files in catalogue order. Of several items with one id the last wins.

    `tally` is called with each batch, and may raise BadInput.
    """
    items = PackedItems()
    for batch in read_items(paths, declared, limits or Limits(), options):
        tally(batch)
        items.extend(map(item_of, batch.records))
        say("read items", batch.bytes_read, batch.bytes_total)
    return items.ordered()


def divided(options: ReadOptions, declared: Mapping[str, AttributeType]) -> tuple[ReadOptions, ReadOptions]:
    """Return the options for the item file and those for the event file.

    An entry of `mapping` holds for both files if both have the field, and for one as `items.field` or `events.field`. A
    condition of `where` holds for events, or for items as `items.column`. Raises BadInput for a field that neither has.
    """
    own = {"items": [*ItemIn.model_fields, *declared], "events": [*EventIn.model_fields]}
    for name, column in options.mapping.items():
        file, _, field = name.partition(".")
        if field not in own.get(file, ()) and not any(name in fields for fields in own.values()):
            names = ", ".join(dict.fromkeys([*own["events"], *own["items"]]))
            raise BadInput(f"--map {name}={column}: no such field; the fields are {names}", field=name)
    columns = {
        file: (_own(options.mapping, file, fields), _own(options.also, file, fields)) for file, fields in own.items()
    }
    named = [replace(one, column=one.column.removeprefix("items.")) for one in options.where if _of_items(one)]
    others = [replace(one, column=one.column.removeprefix("events.")) for one in options.where if not _of_items(one)]
    return (
        replace(options, mapping=columns["items"][0], also=columns["items"][1], where=named),
        replace(options, mapping=columns["events"][0], also=columns["events"][1], where=others, text_from=()),
    )


def _own(values: Mapping[str, V], file: str, fields: Collection[str]) -> dict[str, V]:
    """Return the values of the fields of one sort of files, by the fields' own names."""
    return {name: value for name, value in values.items() if name in fields} | {
        name.removeprefix(f"{file}."): value for name, value in values.items() if name.startswith(f"{file}.")
    }


def _of_items(condition: Condition) -> bool:
    return condition.column.startswith("items.")


def weighted(events: Iterable[Interaction], types: Mapping[str, EventType], catalogue: Iterable[str]) -> Interactions:
    """Return interactions with the weights of the events' types, as in a profile: a later dislike cancels a like.

    `catalogue`: the item ids; events of other items are left out.
    """
    taste = Taste(types, 1.0)
    rows = [(e.user_id, e.item_id, e.timestamp, taste.weight(e)) for e in events if taste.speaks(e)]
    users, items, times, weights = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Interactions.of(users, items, times, weights, list(catalogue))
