"""Sending of items or events from files to the running platform, with the counts of the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from msgspec import Struct, structs

from deployments.cli.bulk_calls import CONCURRENT, BulkCalls, bulks
from deployments.cli.client import Client
from deployments.cli.left_out import LeftOut
from deployments.cli.progress import BYTES
from recsys.data.plausible_times import unit_by_look
from recsys.encoders.catalogue import Progress
from recsys.errors import RuntimeFailure
from recsys.reading.judgement import Joined, ahead
from recsys.reading.readers import Batch
from recsys.reading.refusals import BadRow

_ASKED = 50
"""Item ids of the first events that are looked up on the platform before any event is sent."""
_WINDOW = 1_000_000
"""Events that are grouped by user before they are sent: about 250 MB. Twenty events of one user together take
the platform a third of the work that they take one by one."""
_NOBODY = "recsys-import"
"""An unknown user, whose recommendations show what the catalogue's ids look like."""


class Sending:
    """Sends the records of files. `what`: `items` or `events`. `joined` counts events of unknown items, None: items."""

    def __init__(self, what: str, left_out: LeftOut, joined: Joined | None = None) -> None:
        self.what = what
        self.left_out = left_out
        self.joined = joined
        self._tally = left_out[what]
        self._window = _WINDOW if joined is not None else 1
        self._sent = 0
        self.somebody: str | None = None
        """A user of whom an event was taken; None: none was."""
        self._totals = {} if joined is None else {"duplicates": 0, "too_old": 0}

    def send(self, batches: Iterable[Batch[Any]], client: Client, report: Progress) -> None:
        """Post every batch. After a failure the same files may be sent again: a record counts once.

        Raises BadInput when too many rows are refused or too many events name items that the platform lacks, before
        anything is sent if the first rows show it; RuntimeFailure when the platform does not answer.
        """
        with ThreadPoolExecutor(CONCURRENT) as pool:
            calls = BulkCalls(lambda records: self._post(records, client), pool)
            window: list[Any] = []
            checked = False
            for batch in ahead(batches, self._tally):
                if batch.records and self.joined is not None and not checked:
                    self._refuse_strangers(batch.records, client)
                    checked = True
                window += batch.records
                report(f"{BYTES} {self.what}", batch.bytes_read, batch.bytes_total)
                if len(window) >= self._window:
                    self._send(window, calls, report)
                    window = []
            self._send(window, calls, report)
            for records, answer in calls.finish():
                self._count(records, answer)
                report(f"send {self.what}", self._sent, self._tally.taken)
        self._refuse_unjoined(client)

    def look(self, batches: Iterable[Batch[Any]], client: Client, report: Progress) -> None:
        """Read every batch and send nothing. If the platform runs, look up the items of the first events there."""
        first: Sequence[Any] = ()
        for batch in ahead(batches, self._tally):
            first = first or batch.records
            report(f"{BYTES} {self.what}", batch.bytes_read, batch.bytes_total)
        if self.joined is not None:
            self._refuse_strangers(first, client)

    def as_json(self) -> dict[str, Any]:
        """Return the counts for `--json`."""
        joined = {} if self.joined is None else self.joined.as_json()
        return {"sent": self._sent, **self._totals, **joined, **self.left_out.as_json()}

    def planned(self) -> str:
        """Return the line after `look`."""
        return (
            f"would send {self._tally.taken} {self.what}, {self._tally.refused.count} bad rows left out. "
            "Nothing was changed."
        )

    def summary(self) -> str:
        """Return the line after `send`."""
        sent = {"sent": self._sent, "bad rows": self._tally.refused.count}
        counts = sent | {name.replace("_", " "): count for name, count in self._totals.items()}
        return ", ".join(f"{count} {name}" for name, count in counts.items())

    def _send(self, window: list[Any], calls: BulkCalls, report: Progress) -> None:
        owner = attrgetter("item_id" if self.joined is None else "user_id")
        for bulk in bulks(window, owner, grouped=self.joined is not None):
            for records, answer in calls.start(bulk, {owner(record) for record in bulk}):
                self._count(records, answer)
                report(f"send {self.what}", self._sent, self._tally.taken)

    def _post(self, records: Sequence[Any], client: Client) -> dict[str, Any]:
        time = "created_at" if self.joined is None else "timestamp"
        body: dict[str, Any] = {self.what: [_sent(record, time) for record in records]}
        if self.joined is not None:
            body["profiles"] = "later"  # most of these users will not come before the last of the file is read
        return client.call("POST", f"/v1/{self.what}", body)

    def _count(self, records: Sequence[Any], answer: Mapping[str, Any]) -> None:
        self._sent += len(records) - answer["refused_count"]
        for one in answer.get("refused", ()):
            self._tally.turn_down(BadRow("the platform", self._sent, one["message"], one["field"]))
        for _ in range(answer["refused_count"] - len(answer.get("refused", ()))):
            self._tally.turn_down(BadRow("the platform", self._sent, "refused as those before"))
        for name in self._totals:
            self._totals[name] += answer.get(name, 0)
        if self.joined is not None:
            self.somebody = records[-1].user_id if answer.get("accepted") else self.somebody
            self.joined.add([record.item_id for record in records], answer.get("unknown_items", ()))

    def _refuse_strangers(self, records: Sequence[Any], client: Client) -> None:
        """Raise BadInput when the platform has none of the first events' items."""
        first = list(dict.fromkeys(record.item_id for record in records))[:_ASKED]
        try:
            unknown = client.call("POST", "/v1/rank", {"user_id": _NOBODY, "items": first}).get("unknown_items", ())
        except RuntimeFailure:  # it does not run, or the key may not read: the answers to the events will show it
            return
        if len(unknown) == len(first):
            strangers = Joined(self.joined.allowed if self.joined else None)
            strangers.add(first, unknown)
            if strangers.too_few:
                raise strangers.wrong(_some_ids(client))

    def _refuse_unjoined(self, client: Client) -> None:
        if self.joined is not None and self.joined.too_few:
            raise self.joined.wrong(_some_ids(client))


def _sent(record: Any, time: str) -> Any:
    """A record as a body has it. Seconds of 1970 that look like a year or a day are written out: what they mean is
    known here.
    """
    seconds = getattr(record, time)
    written_out = seconds is not None and 0 < seconds < 1e8 and unit_by_look(seconds) is not None
    if isinstance(record, Struct):
        return record if not written_out else {**structs.asdict(record), time: _rfc(seconds)}
    return vars(record) if not written_out else {**vars(record), time: _rfc(seconds)}


def _rfc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _some_ids(client: Client) -> list[str]:
    """Return some ids of the platform's catalogue. Empty: the platform does not answer."""
    try:
        return [item["item_id"] for item in client.recommendations(_NOBODY, 3)["items"]]
    except RuntimeFailure:
        return []
