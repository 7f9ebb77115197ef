"""What has no order of its own is in one order, whatever file it comes from and whatever it is called."""

from __future__ import annotations

import itertools

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config.serving import Serving
from recsys.data.interactions import Interactions
from recsys.datatypes import Interaction, Item, item_keys
from recsys.encoders.catalogue import encode_all
from recsys.evaluation.splits import Holdout, by_time, leave_last_out, rolling, upcoming
from recsys.jobs.evaluate import Evaluation
from recsys.jobs.live_events import NewestEvents
from recsys.reading.dataset_folder import read_folder, weighted
from recsys.state.histories import StoredEvent, StoredHistory, write_event
from recsys.state.tie_breaking import decided_by_ties, in_catalogue_order, tie, ties
from recsys.versions.store import VersionStore
from tests.support.any_text import any_text
from tests.support.people import build, people
from tests.support.world import catalogue

IDS = [f"i{n}" for n in range(8)]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cat"]),
        st.sampled_from(IDS),
        st.integers(0, 3).map(float),
        st.sampled_from(["like", "dislike", "view", "purchase"]),
    ),
    min_size=1,
    max_size=40,
)
"""Few moments and few ids, so that most events tie with another, and many about one item."""


def told(rows: list[tuple[str, str, float, str]]) -> list[Interaction]:
    return [Interaction(f"e{n}", user, item, kind, when) for n, (user, item, when, kind) in enumerate(rows)]


def of(rows: list[tuple[str, str, float, str]]) -> Interactions:
    return weighted(told(rows), Serving().event_types, IDS)


def columns(held: Holdout) -> list[list]:
    parts = (held.train, held.histories)
    return [held.targets.tolist(), held.now.tolist(), [part.sha256() for part in parts]]


@given(ROWS, st.data())
def test_shuffled_sorted_and_doubled_rows_are_one_data_set(rows, data):
    """One hash, and whatever is held out of it is the same."""
    first = of(rows)
    for other in (data.draw(st.permutations(rows)), sorted(rows), sorted(rows, reverse=True), rows * 2):
        again = of(list(other))
        assert again.sha256() == first.sha256()
        assert again.newest(5).sha256() == first.newest(5).sha256()
        for split in (leave_last_out, rolling, by_time, upcoming):
            assert columns(split(again)) == columns(split(first))


@given(ROWS, st.data())
def test_the_newest_events_of_the_platform_are_those_of_any_walk_through_its_users(rows, data):
    """Redis walks through users in an order of its own, and pages end anywhere."""
    by_user = [[e for e in told(rows) if e.user_id == user] for user in ("ann", "bob", "cat")]
    hashes = set()
    for _ in range(2):
        newest = NewestEvents(Serving().event_types, IDS, 4)
        for history in data.draw(st.permutations(by_user)):
            newest.add([data.draw(st.permutations(history))])
        hashes.add(newest.interactions().sha256())
    assert len(hashes) == 1


def test_dislikes_of_one_moment_are_in_the_catalogues_order():
    """Whichever event of a history comes first."""
    rows = [("ann", "i0", 0.0, "like"), ("ann", "i1", 1.0, "dislike"), ("ann", "i2", 1.0, "dislike")]
    for history in itertools.permutations(told(rows)):
        newest = NewestEvents(Serving().event_types, IDS, 4)
        newest.add([history])
        disliked = newest.interactions().disliked
        assert disliked is not None
        assert disliked.items.tolist() == [1, 2]


@given(st.permutations(range(8)), st.permutations(range(8)))
def test_a_history_goes_by_neither_event_ids_nor_arrival(numbers, arrival):
    """Events of one moment about different items: whatever ids the sender numbered them by, one order."""
    fields = {
        f"e{numbers[n]}".encode(): write_event(StoredEvent(IDS[n], 5.0, "like", None, None, "c")) for n in arrival
    }
    events = StoredHistory("u", 1, fields, cut=False).events()
    assert [e.item_id for e in events] == sorted(IDS, key=lambda item: tie("u", item))
    trained = Interactions.of(["u"] * 8, IDS, [5.0] * 8)
    assert [trained.item_ids[i] for i in trained.of_user(0)] == [e.item_id for e in events]


@given(st.lists(st.tuples(any_text(), any_text()), min_size=1))
def test_many_ties_at_once_are_the_ties_one_by_one(pairs):
    """In training as in serving."""
    users, items = zip(*pairs, strict=True)
    assert ties(item_keys(users), item_keys(items)).tolist() == [tie(*pair) for pair in pairs]


def test_no_item_is_the_last_of_everybodys():
    """4,000 users with the same ten items at one moment: each is the last of about a tenth, whatever its id."""
    users = [f"u{n}" for n in range(4000)]
    rows = list(itertools.product(users, [*IDS[:5], "9", "10", "100", "A", "z"]))
    data = Interactions.of([u for u, _ in rows], [i for _, i in rows], [7.0] * len(rows))
    share = np.bincount(leave_last_out(data).targets, minlength=10) / len(users)
    assert share.min() > 0.08
    assert share.max() < 0.12
    assert data.tied_last == 1.0


def test_of_one_moment_the_word_against_an_item_counts():
    """As popularity counts it."""
    rows = [("u", "x", 5.0), ("u", "x", 5.0), ("u", "y", 5.0)]
    for order in itertools.permutations(zip(rows, (1.0, -1.0, 1.0), strict=True)):
        data = Interactions.of(*zip(*(row for row, _ in order), strict=True), weights=[weight for _, weight in order])
        assert [data.item_ids[i] for i in data.items] == ["y"]


@pytest.mark.parametrize(
    ("times", "share"), [([1, 2, 3, 4], 0.0), ([1, 1, 3, 3], 1.0), ([1, 2, 3, 3], 0.5), ([1, 1, 1, 2], 0.5)]
)
def test_the_share_of_users_whose_last_two_events_tie(times, share):
    """Of two users with two events each; one with a single event is no tie."""
    data = Interactions.of(["a", "a", "b", "b", "c"], list("xyxyx"), [*times, 9])
    assert data.tied_last == share
    assert data.where(data.owners == 9).tied_last == 0.0


@given(st.permutations(range(8)))
def test_a_catalogue_has_one_order(numbers):
    """By the hashes of ids; of several with one id the last stays."""
    items = [Item(IDS[n], f"title {n}") for n in numbers]
    ordered = in_catalogue_order([Item(IDS[3], "old"), *items])
    assert ordered == in_catalogue_order(items[::-1])
    assert [item.item_id for item in ordered] not in (IDS, IDS[::-1])
    assert in_catalogue_order(ordered) is ordered
    assert {item.title for item in ordered} == {f"title {n}" for n in range(8)}


def test_shuffled_and_doubled_files_are_judged_alike(tmp_path):
    """By times of days, so that nearly everybody's last events tie: one hash, one model, one table of numbers."""
    rng = np.random.default_rng(5)
    items = [orjson.dumps({"item_id": i.item_id, "title": i.title, "text": i.text}) for i in catalogue()]
    known = people(25)
    events = [
        f"{known.user_ids[u]},{known.item_ids[i]},{1_600_041_600 + 86_400 * (t // 4)}"
        for u, i, t in zip(known.owners, known.items, known.times, strict=True)
    ]
    reports = []
    for name, copies in (("as-it-is", 1), ("shuffled-and-doubled", 2)):
        folder = tmp_path / name
        folder.mkdir()
        order = rng.permutation(len(events) * copies) % len(events) if copies > 1 else range(len(events))
        rows = ["user_id,item_id,timestamp", *(events[n] for n in order)]
        (folder / "events.csv").write_text("\n".join(rows))
        (folder / "items.jsonl").write_bytes(b"\n".join((items * copies)[:: 3 - 2 * copies]))
        read = read_folder(folder, {}, lambda *_: None)
        made = build(VersionStore(tmp_path / f"versions-{name}"))
        texts = encode_all(made.encoder, read.items)
        report = Evaluation("leave-last-out", read.items, texts, read.data, made, Serving()).run()
        reports.append(orjson.loads(orjson.dumps(report, option=orjson.OPT_SERIALIZE_NUMPY)))
    timed = {"train_s", "seconds", "walk_us"}

    def untimed(value):
        if isinstance(value, dict):
            return {key: untimed(inner) for key, inner in value.items() if key not in timed}
        return value

    assert untimed(reports[0]) == untimed(reports[1])
    assert reports[0]["tied_last"] > 0.5
    assert "one time" in (decided_by_ties(reports[0]["tied_last"]) or "")
    assert decided_by_ties(0.0) is None
