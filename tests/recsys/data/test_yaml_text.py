"""Reading YAML that people write."""

from __future__ import annotations

import pytest
import yaml

from recsys.data.yaml_text import line_at, parse_yaml


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: 2\na: 3",
        "a: {b: 1, b: 1}",
        "- {x: 1}\n- {y: 1, y: 2}",
        "x: &s {a: 1, a: 3}\ny: *s",
        "null: 1\nnull: 2",
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    """With its line; PyYAML alone takes the last one."""
    with pytest.raises(yaml.YAMLError, match=r"stands there twice[^$]*line \d"):
        parse_yaml(text)


def test_what_is_no_repetition_is_read_as_yaml_has_it() -> None:
    """Merge keys may be overridden, and mappings beside each other may be alike."""
    text = "base: &base {a: 1, b: 1}\nmid: &mid {<<: *base, b: 2}\ntop: {<<: *mid, a: 3}\nc: [{a: 1}, {a: 1}]"
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml(text)["top"] == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("place", "line"),
    [((), 1), (("a",), 1), (("b", "c", 1, "d"), 5), (("b", "e"), 7), (("b", "e", "f"), 6), (("b", "nowhere"), 2)],
)
def test_a_place_in_a_document_has_a_line(place: tuple[str | int, ...], line: int) -> None:
    """A key's own, that of an anchor for what stands there, and that of the innermost value for what is missing."""
    assert line_at("a: 1\nb:\n  c:\n    - x\n    - d: 2\n  g: &g {f: 1}\n  e: *g\n", place)[0] == line
