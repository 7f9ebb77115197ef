"""Tokens of pages: what they carry, and which are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from recsys.datatypes import RecQuery, item_keys
from recsys.errors import BadInput, PageExpired
from recsys.serving.page_tokens import PageToken, fingerprint, read, written
from recsys.serving.shown_sketch import ShownSketch

SECRET = b"s" * 32
IN_2096 = 4_000_000_000
"""Unix seconds at which tokens expire. A token that holds the time of the run would be another one in each run."""
IDS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=8)


@given(st.lists(st.lists(IDS, max_size=40), max_size=10))
def test_a_sketch_never_forgets_what_was_shown(pages):
    """And fits the token, however much that is; up to 29 items it holds nothing else."""
    sketch = ShownSketch()
    for page in pages:
        sketch = sketch.with_items(page)
    shown = [item for page in pages for item in page]
    assert sketch.count == len(shown)
    assert sketch.holds(shown).all()
    assert len(sketch.bytes) <= 179
    if len(shown) <= 29:
        others = [f"other {n}" for n in range(100)]
        assert sketch.holds(others).tolist() == [key in set(item_keys(shown)) for key in item_keys(others)]


def test_a_sketch_takes_few_others_for_shown():
    """As docs/http-api.md says."""
    others = [f"other {n}" for n in range(20_000)]
    sketch = ShownSketch().with_items([f"item {n}" for n in range(100)])
    assert sketch.holds(others).mean() < 0.01
    assert sketch.with_items([f"more {n}" for n in range(200)]).holds(others).mean() < 0.12


@given(st.lists(IDS, max_size=60), st.integers(0, 60_000), st.binary(min_size=8, max_size=8))
def test_a_token_says_what_was_written_and_is_short(items, place, list_id):
    token = PageToken(b"f" * 8, list_id, place, ShownSketch().with_items(items), IN_2096)
    text = written(token, SECRET)
    assert len(text) <= 300
    assert read(text, SECRET, b"f" * 8) == token


LETTERS = [*map(chr, range(128)), "\u0660", "\uff0d", "\uff3f", "\udc80"]
"""All of ASCII, digits and signs that look like some of it, and half a character."""


def refusal(text: str) -> str:
    try:
        read(text, SECRET, b"f" * 8)
    except BadInput as error:
        return str(error)
    return ""


@pytest.mark.parametrize("shown", [2, 40])
def test_a_token_that_was_changed_is_none(shown):
    """In whichever character, by one more and by one less; short or with unused bits in its last character."""
    sketch = ShownSketch().with_items([str(n) for n in range(shown)])
    text = written(PageToken(b"f" * 8, b"\xef\xbe\xfb\xef\xff\xff\xff\xff", 10, sketch, IN_2096), SECRET)
    assert "--" in text
    assert "__" in text
    places = [*range(60), *range(len(text) - 4, len(text))]
    changed = {text[:at] + letter + text[at + n :] for at in places for letter in LETTERS for n in (0, 1)}
    changed |= {text + letter for letter in LETTERS} | {text + "=" * n for n in range(1, 5)}
    changed |= {text[:at] + text[at + 1 :] for at in places}
    assert refusal(text) == ""
    assert [other for other in changed - {text} if "page: is no token" not in refusal(other)] == []


def test_a_token_of_another_platform_or_of_another_query_is_refused():
    text = written(PageToken(b"f" * 8, b"l" * 8, 10, ShownSketch().with_items(["a", "b"]), IN_2096), SECRET)
    with pytest.raises(BadInput, match="page: is no token"):
        read(text, b"t" * 32, b"f" * 8)
    with pytest.raises(BadInput, match="page: is of another query") as differs:
        read(text, SECRET, b"g" * 8)
    assert differs.value.code == "page_differs"


def test_a_token_expires():
    token = PageToken(b"f" * 8, b"l" * 8, 10, ShownSketch(), 1_000_000_000)
    with pytest.raises(PageExpired, match="has expired, 30 minutes after its page"):
        read(written(token, SECRET), SECRET, b"f" * 8)


def test_all_that_decides_the_list_is_in_the_fingerprint():
    """But `k` is not, nor who waits since when."""
    query = RecQuery(k=10, user_id="u")
    for name, value in {
        "scenario": "search", "user_id": "v", "like_item": "i", "exclude": ("i",), "include_seen": True,
        "diversity": 0.5, "explore": 0.5,
    }.items():  # fmt: skip
        assert fingerprint(structs.replace(query, **{name: value}), None) != fingerprint(query, None)
    assert fingerprint(query, "text") != fingerprint(query, None)
    assert fingerprint(structs.replace(query, k=20, since=5.0, request_id="r"), None) == fingerprint(query, None)
