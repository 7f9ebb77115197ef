"""Any text, for hypothesis to draw."""

from __future__ import annotations

from hypothesis import strategies as st

CHARACTERS = st.characters(exclude_categories=["Cs"])
"""All that UTF-8 can hold, as `st.text()` draws them. For that one hypothesis encodes every character of Unicode when a
machine has not done so before, which takes each process that draws a second.
"""


def any_text(**bounds: int) -> st.SearchStrategy[str]:
    """`bounds`: `min_size` and `max_size`."""
    return st.text(CHARACTERS, **bounds)
