"""What was read of files and what was left out of it, and when that is too much to go on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from recsys.errors import BadInput
from recsys.reading.readers import Batch
from recsys.reading.refusals import BadRow, Refusals

BAD_SHARE = 0.05
"""Share of the rows that may be refused where nobody says another: above it a column is wrong, not a row."""
UNKNOWN_SHARE = 0.5
"""Share of the events that may name items which the catalogue lacks where nobody says another. Events of items that are
not sold any more are common; ids of another kind join nothing.
"""
_EARLY = 1.5
"""How far over the allowed share the refused rows must be before the files are read to their end: how many rows there
are is estimated by bytes.
"""
_SURE = 1000
"""Rows under which nothing is judged before the end."""
_IDS = 3
"""Ids that are shown of each side."""
_COUNTED = 100_000
"""Distinct unknown ids that are remembered."""

B = TypeVar("B", bound=Batch[Any])


class Tally:
    """Called with each batch as it is read: counts rows.

    Raises BadInput when so many were refused that what is left is not what was meant, and at the end when there was
    none. `allowed`: share of the rows that may be refused; None: `BAD_SHARE`, and `clean` wants none at all.
    `tell` is called with each line of what the files are taken for.
    """

    def __init__(self, allowed: float | None = None, tell: Callable[[str], None] = lambda _: None) -> None:
        self.allowed = allowed
        self._tell = tell
        self.taken = 0
        """Rows that went in."""
        self.skipped = 0
        """Rows that `--where` left out."""
        self.refused = Refusals()
        self.dropped = Refusals()
        """Optional values that were left out of rows that went in."""

    def __call__(self, batch: Batch[Any]) -> None:
        for line in batch.said:
            self._tell(line)
        self.taken += len(batch.records)
        self.skipped += batch.skipped
        self.refused.extend(batch.bad_rows)
        self.dropped.extend(batch.dropped)
        ended = not batch.records and not batch.bad_rows and batch.bytes_read >= batch.bytes_total
        if ended:
            self._refuse_nothing()
            self._judge(self.rows)
        elif self.rows >= _SURE and batch.bytes_read:
            self._judge(_EARLY * self.rows * batch.bytes_total / batch.bytes_read)

    def turn_down(self, row: BadRow) -> None:
        """Count a row that was taken here and refused later, by the platform."""
        self.taken -= 1
        self.refused.add(row)

    @property
    def rows(self) -> int:
        """Rows that were read, but for those that `--where` left out."""
        return self.taken + self.refused.count

    @property
    def share(self) -> float:
        """Of the rows that were refused."""
        return self.refused.count / self.rows if self.rows else 0.0

    @property
    def enough(self) -> float:
        """The least share to allow that takes what was refused as right, rounded up to a hundredth."""
        return _rounded_up(self.share)

    @property
    def clean(self) -> bool:
        """Whether no more was refused than somebody allowed in so many words."""
        return self.refused.count == 0 if self.allowed is None else self.share <= self.allowed

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "taken": self.taken,
            "skipped": self.skipped,
            "bad_rows": self.refused.count,
            "bad_share": round(self.share, 6),
            "refused": self.refused.as_json(),
            "dropped": self.dropped.as_json(),
        }

    def _refuse_nothing(self) -> None:
        if not self.rows:
            why = f"--where left out all {self.skipped}" if self.skipped else "a header at most"
            raise BadInput(f"the files hold no rows: {why}")

    def _judge(self, rows: float) -> None:
        allowed = BAD_SHARE if self.allowed is None else self.allowed
        if self.refused.count <= allowed * rows:
            return
        worst = next(iter(self.refused))
        raise BadInput(
            f"{self.refused.count} of {self.rows} rows were refused, {self.share:.1%}, where {allowed:.1%} may be, so "
            f"nothing goes on; {worst.count} of them like {worst.examples[0]}. Mend that, or say --allow-bad "
            f"{self.enough:g} to go on without them"
        )


def ahead(batches: Iterable[B], tally: Tally) -> Iterator[B]:
    """The batches, each handed on when the one behind it is counted too: a file of one batch is judged before anything
    is done with it.
    """
    before: B | None = None
    for batch in batches:
        tally(batch)
        if before is not None:
            yield before
        before = batch
    if before is not None:
        yield before


class Joined:
    """Counts events whose items the catalogue lacks. `allowed`: share of the events; None: `UNKNOWN_SHARE`."""

    def __init__(self, allowed: float | None = None) -> None:
        self.allowed = UNKNOWN_SHARE if allowed is None else allowed
        self.events = 0
        self.unknown = 0
        """Events of them."""
        self.ids: dict[str, None] = {}
        """Distinct ids that the catalogue lacks, in the order in which they came; the first 100,000."""

    def add(self, item_ids: Collection[str], unknown: Collection[str]) -> None:
        """Item ids of events, one an event, and those of them that the catalogue lacks."""
        self.events += len(item_ids)
        if unknown:
            lacking = set(unknown)
            self.unknown += sum(item_id in lacking for item_id in item_ids)
            if len(self.ids) < _COUNTED:
                self.ids.update(dict.fromkeys(unknown))

    @property
    def share(self) -> float:
        return self.unknown / self.events if self.events else 0.0

    @property
    def too_few(self) -> bool:
        """Whether fewer events join the catalogue than may."""
        return self.share > self.allowed

    def wrong(self, catalogue: Iterable[str]) -> BadInput:
        """The error that says so. `catalogue`: some of its ids."""
        here, there = _shown(self.ids), _shown(catalogue)
        both = f"they look like {here}" + (f", and the catalogue's like {there}" if there else "")
        return BadInput(
            f"{self.unknown} of {self.events} events ({self.share:.0%}) name items that the catalogue lacks, where "
            f"{self.allowed:.0%} may: {both}. Name the column of the right ids with --map item_id=COLUMN, bring the "
            f"items first, or say --allow-unknown {_rounded_up(self.share):g}",
            field="item_id",
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "unknown_events": self.unknown,
            "unknown_items": len(self.ids),
            "unknown_examples": list(self.ids)[:_IDS],
        }

    def __str__(self) -> str:
        return (
            f"{self.unknown} of {self.events} events name {len(self.ids)} items that the catalogue lacks, such as "
            f"{_shown(self.ids)}"
        )


@dataclass(frozen=True, slots=True)
class FileTallies:
    """Of a work that reads both kinds of files."""

    items: Tally = field(default_factory=Tally)
    events: Tally = field(default_factory=Tally)
    joined: Joined = field(default_factory=Joined)


def _shown(ids: Iterable[str]) -> str:
    return ", ".join(repr(item_id) for item_id, _ in zip(ids, range(_IDS), strict=False))


def _rounded_up(share: float) -> float:
    """To a hundredth, so that it is not under the share itself."""
    return min(1.0, -(-share * 100 // 1) / 100)
