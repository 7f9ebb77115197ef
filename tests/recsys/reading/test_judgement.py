"""When too much of a file was refused to go on, and when events join nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import BadInput
from recsys.reading.judgement import Joined, Tally, ahead
from recsys.reading.readers import Batch
from recsys.reading.refusals import BadRow


def batch(good: int, bad: int, read: int = 10, total: int = 10) -> Batch:
    return Batch(
        ["record"] * good, [BadRow("f.csv", n, f"year: must be a number, not 'x{n}'") for n in range(bad)], read, total
    )  # type: ignore[list-item]


END = batch(0, 0)


def judged(*batches: Batch, allowed: float | None = None) -> Tally:
    tally = Tally(allowed)
    for one in (*batches, END):
        tally(one)
    return tally


@pytest.mark.parametrize(
    ("good", "bad", "allowed", "clean"),
    [
        (100, 0, None, True),
        (95, 5, None, False),
        (95, 5, 0.05, True),
        (1, 9, 0.9, True),
        (0, 3, 1.0, True),
        (9, 0, 0, True),
    ],
)
def test_what_is_allowed_goes_on(good, bad, allowed, clean):
    """By default one in twenty; without a word of it the exit code tells all the same."""
    tally = judged(batch(good, bad), allowed=allowed)
    assert (tally.rows, tally.taken, tally.refused.count, tally.clean) == (good + bad, good, bad, clean)


@pytest.mark.parametrize(("good", "bad", "allowed"), [(94, 6, None), (0, 1, None), (99, 1, 0.0), (1, 9, 0.8)])
def test_what_is_not_allowed_stops_and_says_how_to_insist(good, bad, allowed):
    """With the worst reason, an example of it, and the share that would do."""
    with pytest.raises(BadInput, match=rf"{bad} of {good + bad} rows were refused.*f.csv:0: year.*--allow-bad") as told:
        judged(batch(good, bad), allowed=allowed)
    share = float(str(told.value).split("--allow-bad ")[1].split()[0])
    assert judged(batch(good, bad), allowed=share).clean


def test_a_large_file_is_not_read_to_its_end():
    """When the rows so far are more than all of the file may lose, which 4,000 of about 100,000 are not."""
    tally, read = Tally(), 0
    for read in range(1, 5):
        tally(batch(0, 1000, read, 100))
    tally, read = Tally(), 0
    with pytest.raises(BadInput, match="rows were refused"):  # noqa: PT012 - at one of the batches
        for read in range(1, 30):
            tally(batch(400, 600, read, 30))
    assert read < 10


def test_a_file_of_one_batch_is_judged_before_anything_is_done_with_it():
    """Each batch is handed on when the next one is counted."""
    done = []
    with pytest.raises(BadInput):
        done += ahead([batch(1, 9), END], Tally())
    assert done == []
    assert [len(one.records) for one in ahead([batch(3, 0), batch(2, 0), END], Tally())] == [3, 2, 0]


def test_a_file_without_rows_is_refused():
    """A header alone, or a condition that nothing fulfils; whatever is allowed."""
    with pytest.raises(BadInput, match="hold no rows: a header"):
        judged(allowed=1.0)
    with pytest.raises(BadInput, match="--where left out all 7"):
        judged(Batch([], [], 10, 10, skipped=7))


def test_values_that_were_dropped_are_told_and_refuse_nothing():
    """One bad price costs the price."""
    tally = judged(Batch(["record"] * 2, [], 10, 10, [BadRow("f.csv", 2, "price: must be a number, not '—'")]))  # type: ignore[list-item]
    assert tally.clean
    told = tally.as_json()
    assert (told["bad_rows"], told["dropped"][0]["count"], told["refused"]) == (0, 1, [])


def test_what_the_platform_refused_counts_as_refused():
    tally = judged(batch(10, 0))
    tally.turn_down(BadRow("platform", 3, "type: 'x' is not configured"))
    assert (tally.rows, tally.taken, tally.refused.count, tally.clean) == (10, 9, 1, False)


@given(st.lists(st.lists(st.sampled_from(["50", "51", "50.0", "51.0"]), min_size=1), min_size=1))
def test_events_are_counted_by_the_items_they_name(batches):
    """Whatever comes in one call or several."""
    joined = Joined(1.0)
    for ids in batches:
        joined.add(ids, sorted({i for i in ids if "." in i}))
    flat = [i for ids in batches for i in ids]
    assert (joined.events, joined.unknown) == (len(flat), sum("." in i for i in flat))
    assert set(joined.ids) == {i for i in flat if "." in i}
    assert not joined.too_few


def test_events_that_join_nothing_are_an_error_that_shows_both_sides():
    """Half of the events may name items that are gone; insisting is possible."""
    joined = Joined()
    joined.add(["50.0", "51.0", "51.0", "52"], ["50.0", "51.0"])
    assert joined.too_few
    both = r"^3 of 4 events \(75%\) .* like '50.0', '51.0', and .* like '50', '51'\..*--allow-unknown 0.75$"
    assert re.search(both, str(joined.wrong(["50", "51"])))
    assert "3 of 4 events name 2 items" in str(joined)
    insisting = Joined(0.75)
    insisting.add(["a", "b", "c", "d"], ["a", "b", "c"])
    assert not insisting.too_few
