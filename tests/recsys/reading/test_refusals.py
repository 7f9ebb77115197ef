"""What was left out of files, summed up by reason."""

from __future__ import annotations

from recsys.reading.refusals import BadRow, Refusals


def row(line: int, message: str, field: str | None = None, fix: str = "") -> BadRow:
    return BadRow("a.csv", line, message, field, fix)


def test_rows_with_one_fault_are_one_refusal_whatever_values_they_quote():
    """Values and numbers in a message do not tell reasons apart; the field does."""
    refusals = Refusals(
        [
            row(2, "timestamp: must be a time, not 'x'", "timestamp"),
            row(3, 'timestamp: must be a time, not "it\'s"', "timestamp"),
            row(4, "timestamp: must be a time, not 1700.5", "timestamp", "give seconds"),
            row(5, "timestamp: must be a time, not None", "timestamp"),
            row(6, "timestamp: must be a time, not 7", "timestamp"),
        ]
    )
    most, other = refusals
    assert (most.reason, most.field, most.count) == ("timestamp: must be a time, not …", "timestamp", 4)
    assert [bad.line for bad in most.examples] == [2, 3, 4]
    assert most.fix == "give seconds"
    assert other.count == 1
    assert refusals.count == 5


def test_the_most_frequent_reason_comes_first_and_json_has_it_all():
    """`as_json` is what `--json` prints."""
    refusals = Refusals([row(1, "is blank")])
    refusals.extend([row(2, "item_id: is missing", "item_id"), row(3, "item_id: is missing", "item_id")])
    assert refusals.as_json() == [
        {
            "reason": "item_id: is missing",
            "field": "item_id",
            "count": 2,
            "fix": "",
            "examples": ["a.csv:2: item_id: is missing", "a.csv:3: item_id: is missing"],
        },
        {"reason": "is blank", "field": None, "count": 1, "fix": "", "examples": ["a.csv:1: is blank"]},
    ]
    assert not Refusals()
