"""What cells of text mean: numbers, truth values and lists, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.reading import cells


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1999", 1999.0),
        (" 1999.0 ", 1999.0),
        ("1,999", 1999.0),
        ("1,234,567.5", 1234567.5),
        ("$25.00", 25.0),
        ("-$5", -5.0),
        ("25,00 €", 25.0),
        ("1.999,50", 1999.5),
        ("1 999,50", 1999.5),
        ("1999,5", 1999.5),
        ("USD 12", 12.0),
        ("1e5", 1e5),
        (".5", 0.5),
    ],
)
def test_numbers_in_words_clothes(text, number):
    """Thousands, currencies, decimal commas."""
    assert cells.number(text) == number


@pytest.mark.parametrize("text", ["", "x", "1_000", "inf", "nan", "12 kg", "1,99,9", "0x10", "1e999"])
def test_what_is_no_number_is_refused_and_never_guessed(text):
    """Python would read 1_000 and inf."""
    with pytest.raises(ValueError, match="must be a"):
        cells.number(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_was_written_is_read_to_the_bit(value):
    """The shortest text of a float stands for it alone."""
    assert cells.number(repr(value)) == value


def test_commas_are_decimals_where_some_cell_says_so_beyond_doubt():
    """`1,999` alone is nearly two thousand; beside `12,5` it is nearly two."""
    assert not cells.has_decimal_commas(["1,999", "2,500"])
    assert cells.has_decimal_commas(["1,999", "12,5"])
    assert cells.number("1,999", decimal_comma=True) == 1.999


@pytest.mark.parametrize("text", ["", " ", "-", "—", "N/A", "null", "None", "NaN", "\\N"])
def test_words_for_missing(text):
    """As people and programs write them into columns of numbers."""
    assert cells.is_missing(text)


def test_truth_values():
    """In words, letters and digits, and nothing else."""
    assert [cells.truth(text) for text in ("true", "Yes", " Y ", "1", "on")] == [True] * 5
    assert [cells.truth(text) for text in ("FALSE", "no", "0", "0.0")] == [False] * 4
    with pytest.raises(ValueError, match="must be true or false, not 'maybe'"):
        cells.truth("maybe")


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("Drama|Comedy", ["Drama", "Comedy"]),
        ("a| b|", ["a", "b"]),
        ("['Drama', 'Comedy']", ["Drama", "Comedy"]),
        ('["Drama", "Comedy"]', ["Drama", "Comedy"]),
        ("['a' 'b c']", ["a", "b c"]),
        ("{a,b}", ["a", "b"]),
        ("[1, 2.5, null]", ["1", "2.5"]),
        ("Drama, Comedy", ["Drama, Comedy"]),
        ("[", ["["]),
        ("[]", []),
    ],
)
def test_lists_in_cells(text, entries):
    """Separated, as JSON, as Python, numpy and PostgreSQL print them; a comma alone separates nothing."""
    assert cells.keywords(text) == entries


def test_a_comma_separates_where_its_parts_come_again_and_again():
    """As genres do; in a few cells, or in titles, nothing is sure, and that can be told."""
    genres = ["Drama, Comedy", "Comedy", "Drama", "War, Drama"] * 6
    assert cells.list_separator(genres) == ","
    assert cells.keywords("War, Drama", ",") == ["War", "Drama"]
    assert cells.list_separator(genres[:4]) is None
    assert cells.may_be_list(genres[:4]) == (",", "Drama, Comedy")
    assert cells.list_separator([f"Title {n}, part {n}" for n in range(40)]) is None
    assert cells.list_separator(["a|b", "c, d"]) == "|"


def test_a_list_of_objects_is_refused():
    """Its entries are no words."""
    with pytest.raises(ValueError, match="not a list of objects"):
        cells.keywords('[{"name": "Drama"}]')


def test_a_keyword_is_one_word_also_in_a_list_of_one():
    """Of two the declaration is wrong."""
    assert cells.keyword(" cafe\u0301 ") == "café"
    assert cells.keyword("['x']") == "x"
    with pytest.raises(ValueError, match=r"declare it as keyword\[\]"):
        cells.keyword("['x', 'y']")


def test_ids_that_a_gap_made_floats():
    """pandas writes 50.0 where a column of ids has a gap; 007.0 and 1.50 are something else."""
    assert [cells.whole_number(text) for text in ("50.0", "50", "-3.00", "007.0", "1.50")] == [
        "50",
        "50",
        "-3",
        "007.0",
        "1.50",
    ]
