"""Numbers that are no Unix seconds by their look."""

from __future__ import annotations

import pytest

from recsys.data.plausible_times import refuse_other_unit


@pytest.mark.parametrize(
    ("number", "meant"),
    [
        (45_000, "a day number of Excel, and as Unix seconds it would be of 1970: give RFC 3339, such as 2023-03-15T"),
        (20_240_105, "a day written as digits, and .* such as 2024-01-05T"),
        (1950, "a year, and .* such as 1950-01-01T"),
    ],
)
def test_another_unit_is_told_with_the_day_that_is_meant(number: int, meant: str) -> None:
    with pytest.raises(ValueError, match=f"{number} looks like {meant}"):
        refuse_other_unit(number)
