"""What cells of text mean as moments, and which are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.reading.times import TimeReading, moment, note_on_numbers, time_reading


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("1700000000", "2023-11-14T22:13:20+00:00"),
        ("1700000000123", "2023-11-14T22:13:20.123000+00:00"),
        ("1700000000123456", "2023-11-14T22:13:20.123456+00:00"),
        ("1.7e9", "2023-11-14T22:13:20+00:00"),
        ("-631152000", "1950-01-01T00:00:00+00:00"),
        ("20230615", "2023-06-15T00:00:00+00:00"),
        ("20230615123000", "2023-06-15T12:30:00+00:00"),
        ("45092", "2023-06-15T00:00:00+00:00"),
        ("45092.5", "2023-06-15T12:00:00+00:00"),
        ("1995", "1995-01-01T00:00:00+00:00"),
        ("2021-9-5", "2021-09-05T00:00:00+00:00"),
        ("2021/09/25 12:30", "2021-09-25T12:30:00+00:00"),
        ("2014-04-07T10:51:09.277Z", "2014-04-07T10:51:09.277000+00:00"),
        ("2014-04-07 10:51:09 UTC", "2014-04-07T10:51:09+00:00"),
        ("2014-04-07T10:51:09+02:00", "2014-04-07T08:51:09+00:00"),
        ("September 25, 2021", "2021-09-25T00:00:00+00:00"),
        ("May 1, 2024", "2024-05-01T00:00:00+00:00"),
        ("25.09.2021 10:30", "2021-09-25T10:30:00+00:00"),
        ("25/09/2021", "2021-09-25T00:00:00+00:00"),
        ("09/25/2021 10:30 PM", "2021-09-25T22:30:00+00:00"),
        ("Sat, 25 Sep 2021 10:00:00 GMT", "2021-09-25T10:00:00+00:00"),
        ("10/Oct/2000:13:55:36 -0700", "2000-10-10T20:55:36+00:00"),
    ],
)
def test_times_as_people_write_them(text, iso):
    """Unix times by their size, days in digits, Excel's days, years, words."""
    assert moment(text) == datetime.fromisoformat(iso).timestamp()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5", "plausible time in no unit; say which one it has with --time-unit s"),
        ("86400000", "plausible time in no unit"),
        ("20231301", "plausible time in no unit"),
        ("01/02/2021", "could be day or month first; say --time-format"),
        ("2024-02-30", "must be a time"),
        ("soon", "say how it is written with --time-format"),
        ("9" * 30, "plausible time in no unit"),
        ("1e999", "must be a time"),
        pytest.param("9" * 5000, "must be a time", id="more digits than a number has"),
    ],
)
def test_what_is_not_plainly_a_time_is_refused_with_the_way_out(text, says):
    """Nothing is seconds of 1970 because it is a number."""
    with pytest.raises(ValueError, match=says):
        moment(text)


def test_what_is_said_is_not_questioned():
    """A unit makes small numbers times as well; a format reads nothing else."""
    assert moment("5", TimeReading("s")) == 5.0
    assert moment("20230615", TimeReading("s")) == 20_230_615.0
    assert moment("01/02/2021", TimeReading(format="%d/%m/%Y")) == datetime(2021, 2, 1, tzinfo=UTC).timestamp()
    with pytest.raises(ValueError, match=r"is not of --time-format %d/%m/%Y"):
        moment("2021-02-01", TimeReading(format="%d/%m/%Y"))


def test_a_column_says_what_single_cells_do_not():
    """In a column of seconds 1970 is as good as other years; one day over 12 tells where days stand."""
    assert moment("31536000", time_reading(["31536000", "1700000000", "1600000000"])) == 31_536_000.0
    assert (
        moment("01/02/2021", time_reading(["01/02/2021", "13/02/2021"])) == datetime(2021, 2, 1, tzinfo=UTC).timestamp()
    )
    assert (
        moment("01/02/2021", time_reading(["01/02/2021", "02/13/2021"])) == datetime(2021, 1, 2, tzinfo=UTC).timestamp()
    )
    assert time_reading(["1995", "20240501", "45092"]).unit is None


@given(st.datetimes(datetime(1974, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001
def test_a_moment_is_one_in_every_unit(at):
    """Seconds to nanoseconds of one moment are told apart by their size."""
    at = at.replace(microsecond=0, tzinfo=UTC)
    seconds = int(at.timestamp())
    for zeros in (0, 3, 6, 9):
        assert moment(f"{seconds}{'0' * zeros}") == seconds
    assert moment(at.isoformat()) == seconds


def test_a_choice_of_unit_is_said():
    """Seconds are a matter of course, everything else is not."""
    assert note_on_numbers(["1700000000"]) is None
    assert "milliseconds" in (note_on_numbers(["1700000000123"]) or "")
    assert "YYYYMMDD" in (note_on_numbers(["20230601", "20230602"]) or "")
    assert "Excel" in (note_on_numbers(["45092"]) or "")
