"""Items or events from files to the running platform, and what came of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Any

from deployments.cli.client import Client
from deployments.cli.flights import FLIGHTS, Flights, bulks
from deployments.cli.left_out import LeftOut
from deployments.cli.progress import BYTES
from recsys.encoders.catalogue import Progress
from recsys.errors import RuntimeFailure
from recsys.reading.judgement import Joined, ahead
from recsys.reading.readers import Batch
from recsys.reading.refusals import BadRow

_ASKED = 50
"""Ids of the first events that the platform is asked for before any is sent."""
_WINDOW = 400_000
"""Events that are put together by their users before they are sent: some 240 MB. Eight events of one user cost the
platform half of what they cost one by one."""
_NOBODY = "recsys-import"
"""User whose recommendations show what the catalogue's ids look like. Nothing is known of him."""


class Sending:
    """`what` is items or events, `joined` counts events of unknown items; None: they are items."""

    def __init__(self, what: str, left_out: LeftOut, joined: Joined | None = None) -> None:
        self.what = what
        self.left_out = left_out
        self.joined = joined
        self._tally = left_out[what]
        self._window = _WINDOW if joined is not None else 1
        self._sent = 0
        self._totals = {} if joined is None else {"duplicates": 0, "too_old": 0}

    def send(self, batches: Iterable[Batch[Any]], client: Client, report: Progress) -> None:
        """Post every batch. Whatever was sent when this fails may be sent again: it counts once.

        Raises BadInput, before anything is sent where that can be known, when too many rows are refused or too many
        events name items that the platform lacks; RuntimeFailure when it does not answer.
        """
        with ThreadPoolExecutor(FLIGHTS) as pool:
            flights = Flights(lambda records: self._post(records, client), pool)
            window: list[Any] = []
            asked = False
            for batch in ahead(batches, self._tally):
                if batch.records and self.joined is not None and not asked:
                    self._refuse_strangers(batch.records, client)
                    asked = True
                window += batch.records
                if len(window) >= self._window:
                    self._send(window, flights)
                    window = []
                report(f"{BYTES} {self.what}", batch.bytes_read, batch.bytes_total)
            self._send(window, flights)
            for records, answer in flights.land():
                self._count(records, answer)
        self._refuse_unjoined(client)

    def look(self, batches: Iterable[Batch[Any]], client: Client, report: Progress) -> None:
        """Read all of it and send nothing. Of events the platform, where it runs, is asked for the first items."""
        first: Sequence[Any] = ()
        for batch in ahead(batches, self._tally):
            first = first or batch.records
            report(f"{BYTES} {self.what}", batch.bytes_read, batch.bytes_total)
        if self.joined is not None:
            self._refuse_strangers(first, client)

    def as_json(self) -> dict[str, Any]:
        joined = {} if self.joined is None else self.joined.as_json()
        return {"sent": self._sent, **self._totals, **joined, **self.left_out.as_json()}

    def planned(self) -> str:
        """Of `look`."""
        return (
            f"would send {self._tally.taken} {self.what}, {self._tally.refused.count} bad rows left out. "
            "Nothing was changed."
        )

    def summary(self) -> str:
        """Of `send`."""
        sent = {"sent": self._sent, "bad rows": self._tally.refused.count}
        told = sent | {name.replace("_", " "): count for name, count in self._totals.items()}
        return ", ".join(f"{count} {name}" for name, count in told.items())

    def _send(self, window: list[Any], flights: Flights) -> None:
        owner = attrgetter("item_id" if self.joined is None else "user_id")
        for bulk in bulks(window, owner, grouped=self.joined is not None):
            for records, answer in flights.start(bulk, {owner(record) for record in bulk}):
                self._count(records, answer)

    def _post(self, records: Sequence[Any], client: Client) -> dict[str, Any]:
        body: dict[str, Any] = {self.what: [vars(record) for record in records]}
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
            self.joined.add([record.item_id for record in records], answer.get("unknown_items", ()))

    def _refuse_strangers(self, records: Sequence[Any], client: Client) -> None:
        """Raises BadInput where the platform has none of the first items."""
        asked = list(dict.fromkeys(record.item_id for record in records))[:_ASKED]
        try:
            unknown = client.call("POST", "/v1/rank", {"user_id": _NOBODY, "items": asked}).get("unknown_items", ())
        except RuntimeFailure:  # it does not run, or the key may write and not read: the answers to events will tell
            return
        if len(unknown) == len(asked):
            strangers = Joined(self.joined.allowed if self.joined else None)
            strangers.add(asked, unknown)
            if strangers.too_few:
                raise strangers.wrong(_some_ids(client))

    def _refuse_unjoined(self, client: Client) -> None:
        if self.joined is not None and self.joined.too_few:
            raise self.joined.wrong(_some_ids(client))


def _some_ids(client: Client) -> list[str]:
    """Of the platform's catalogue; empty where it does not tell."""
    try:
        return [item["item_id"] for item in client.recommendations(_NOBODY, 3)["items"]]
    except RuntimeFailure:
        return []
