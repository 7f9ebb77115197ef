"""Counts of the rows read from files and of those refused, and the share of refused rows that stops a job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from recsys.errors import BadInput
from recsys.reading.readers import Batch
from recsys.reading.refusals import BadRow, Refusals

BAD_SHARE = 0.05
"""Default share of rows that may be refused. More means that a column is wrong, and not a row."""
UNKNOWN_SHARE = 0.5
"""Default share of events whose item the catalogue may lack. Events of discontinued items are common. If no id is
found, the ids are of another kind."""
_EARLY = 1.5
"""Factor on the allowed share before the files are read to their end: the number of rows is estimated from bytes."""
_SURE = 1000
"""Least rows for a judgement before the end."""
_IDS = 3
"""Ids that a message shows of each side."""
_COUNTED = 100_000
"""Distinct unknown ids that are remembered."""

B = TypeVar("B", bound=Batch[Any])


class Tally:
    """Counts rows. It is called with each batch as it is read.

    Raises BadInput when too many rows are refused, and at the end when there were no rows. `allowed`: share of rows
    that may be refused; None: BAD_SHARE, and `clean` requires that none is. `tell` is called with each line of the
    files' summary.
    """

    def __init__(self, allowed: float | None = None, tell: Callable[[str], None] = lambda _: None) -> None:
        self.allowed = allowed
        self._tell = tell
        self.taken = 0
        """Rows that were accepted."""
        self.skipped = 0
        """Rows that `--where` left out."""
        self.refused = Refusals()
        self.dropped = Refusals()
        """Optional values that were left out of accepted rows."""

    def __call__(self, batch: Batch[Any]) -> None:
        for line in batch.summary:
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
        """Count an accepted row as refused, because the platform refused it."""
        self.taken -= 1
        self.refused.add(row)

    @property
    def rows(self) -> int:
        """Rows that were read, without those that `--where` left out."""
        return self.taken + self.refused.count

    @property
    def share(self) -> float:
        """Share of rows that were refused."""
        return self.refused.count / self.rows if self.rows else 0.0

    @property
    def enough(self) -> float:
        """The least `--allow-bad` that accepts the refused rows: their share, rounded up to a hundredth."""
        return _rounded_up(self.share)

    @property
    def clean(self) -> bool:
        """Whether no more rows were refused than a user allowed explicitly."""
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
    """Yield each batch once the next one is counted. So a file of one batch is judged before its rows are used."""
    before: B | None = None
    for batch in batches:
        tally(batch)
        if before is not None:
            yield before
        before = batch
    if before is not None:
        yield before


class Joined:
    """Counts events whose item the catalogue lacks. `allowed`: their share that is accepted; None: UNKNOWN_SHARE."""

    def __init__(self, allowed: float | None = None) -> None:
        self.allowed = UNKNOWN_SHARE if allowed is None else allowed
        self.events = 0
        self.unknown = 0
        """Events whose item the catalogue lacks."""
        self.ids: dict[str, None] = {}
        """Distinct ids that the catalogue lacks, in the order of the file; the first _COUNTED."""

    def add(self, item_ids: Collection[str], unknown: Collection[str]) -> None:
        """Count events. `item_ids`: one for each event; `unknown`: those that the catalogue lacks."""
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
        """Whether more events than allowed have an unknown item."""
        return self.share > self.allowed

    def wrong(self, catalogue: Iterable[str]) -> BadInput:
        """Return the error for too many unknown items. `catalogue`: some of its ids, for comparison."""
        unknown, existing = _shown(self.ids), _shown(catalogue)
        both = f"they look like {unknown}" + (f", and the catalogue's like {existing}" if existing else "")
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
    """The tallies of a job that reads items and events."""

    items: Tally = field(default_factory=Tally)
    events: Tally = field(default_factory=Tally)
    joined: Joined = field(default_factory=Joined)


def _shown(ids: Iterable[str]) -> str:
    return ", ".join(repr(item_id) for item_id, _ in zip(ids, range(_IDS), strict=False))


def _rounded_up(share: float) -> float:
    """Round up to a hundredth, so that the result is not under the share."""
    return min(1.0, -(-share * 100 // 1) / 100)
