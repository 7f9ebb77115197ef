"""Items and interactions out of files, for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recsys.config import AttributeType, EventType, Limits
from recsys.data.interactions import Interactions
from recsys.data.readers import read_events, read_items
from recsys.data.records import EventIn, ItemIn
from recsys.data.refusals import BadRow
from recsys.datatypes import Interaction, Item
from recsys.errors import BadInput
from recsys.model.profiles import Taste
from recsys.state.tie_breaking import in_catalogue_order

_SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
ANY = "event"
"""Type of events whose file names none."""

Say = Callable[[str, int, int], None]


class _AnyType(frozenset[str]):
    """Every type is known."""

    def __contains__(self, _: object) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Read:
    """Rows that were read, and those that were not."""

    items: list[Item]
    data: Interactions
    bad_rows: list[BadRow]


def in_folder(folder: Path, name: str) -> Path:
    """`name` with one of the suffixes that can be read. Raises BadInput when there is none."""
    for suffix in _SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.exists():
            return path
    raise BadInput(f"{folder} holds no {name} file; it needs {name}.csv (or one of {', '.join(_SUFFIXES[1:])})")


def read_folder(
    folder: Path, declared: Mapping[str, AttributeType], say: Say, mapping: Mapping[str, str] | None = None
) -> Read:
    """`items.csv` (item_id, title, text) and `events.csv` (user_id, item_id, timestamp), or both as JSONL or Parquet.

    `mapping` is {our name: the column} of both. Every event counts 1, whatever its type and value: what is judged is
    whether the next one is foreseen. Raises BadInput when a file does not fit, or no event names an item.
    """
    of_items, of_events = divided(mapping or {}, declared)
    paths = [in_folder(folder, "items")]
    # Both look at their files' columns before either reads.
    read_items(paths, declared, Limits(), of_items)
    events = read_events([in_folder(folder, "events")], _AnyType(), Limits(), of_events, batch=5000, default_type=ANY)
    items, bad = items_of(paths, declared, say, of_items)
    users, ids, times = [], [], []
    for batch in events:
        bad += batch.bad_rows
        for record in batch.records:
            users.append(record.user_id)
            ids.append(record.item_id)
            times.append(float(record.timestamp or 0.0))
        say("events", batch.bytes_read, batch.bytes_total)
    data = Interactions.of(users, ids, times, catalogue=[item.item_id for item in items])
    if not len(data):
        why = f"{len(bad)} bad rows, the first: {bad[0]}" if bad else "are the item_id columns of one kind?"
        raise BadInput(f"{folder}: no event names an item of the catalogue; {why}")
    return Read(items, data, bad)


def items_of(
    paths: Iterable[Path], declared: Mapping[str, AttributeType], say: Say, mapping: Mapping[str, str] | None = None
) -> tuple[list[Item], list[BadRow]]:
    """Items of the files in the order of a catalogue; the last of several with one id wins."""
    items: list[Item] = []
    bad: list[BadRow] = []
    for batch in read_items(paths, declared, Limits(), mapping):
        bad += batch.bad_rows
        for record in batch.records:
            attributes = {key: value for key, value in record.attributes.items() if value is not None}
            items.append(Item(record.item_id, record.title, record.text, attributes, record.created_at))
        say("items", batch.bytes_read, batch.bytes_total)
    return in_catalogue_order(items), bad


def divided(mapping: Mapping[str, str], declared: Mapping[str, AttributeType]) -> tuple[dict[str, str], dict[str, str]]:
    """What {our name: the column} says of items, and what of events: of both where both have the name, or of one alone
    as `items.name` or `events.name`. BadInput for a name that neither has.
    """
    fields = {"items": [*ItemIn.model_fields, *declared], "events": [*EventIn.model_fields]}
    asked = {file: {f"{file}.{name}": name for name in known} for file, known in fields.items()}
    for name, column in mapping.items():
        if not any(name in fields[file] or name in asked[file] for file in fields):
            known = ", ".join(dict.fromkeys([*fields["events"], *fields["items"]]))
            raise BadInput(f"--map {name}={column}: no such field; the fields are {known}", field=name)
    made = [
        {name: mapping[name] for name in mapping if name in fields[file]}
        | {asked[file][name]: mapping[name] for name in mapping if name in asked[file]}
        for file in fields
    ]
    return made[0], made[1]


def weighted(events: Iterable[Interaction], types: Mapping[str, EventType], catalogue: Iterable[str]) -> Interactions:
    """Events at the weights of their types, as profiles fold them: a later dislike takes back what was liked before."""
    taste = Taste(types, 1.0)
    rows = [(e.user_id, e.item_id, e.timestamp, taste.weight(e)) for e in events if taste.speaks(e)]
    users, items, times, weights = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Interactions.of(users, items, times, weights, list(catalogue))
