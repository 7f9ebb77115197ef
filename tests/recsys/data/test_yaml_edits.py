"""Values in a YAML file are changed; comments, order and layout of everything else stay."""

from __future__ import annotations

import difflib

import yaml

from recsys.data.yaml_edits import GONE, edited
from tests.support.live import LOCAL

TEXT = """\
# the head
a: 1        # one
b:
    c: [x,  y]    # a list written in an odd way
    d: null
    e: 'quoted'
list:
- name: first
  value: &shared {x: 1, y: 2}   # both
- name: second
  value: *shared
"""


def changed(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def test_only_the_lines_of_what_is_changed_change():
    """Also where the author writes otherwise than the library."""
    after = edited(TEXT, {("b", "d"): 3, ("a",): 2})
    assert changed(TEXT, after) == ["-a: 1        # one", "+a: 2        # one", "-    d: null", "+    d: 3"]
    assert yaml.safe_load(after) == yaml.safe_load(TEXT) | {"a": 2, "b": {"c": ["x", "y"], "d": 3, "e": "quoted"}}


def test_keys_are_added_and_taken_out_and_an_alias_stays_one():
    """What several names share is changed for all of them."""
    after = edited(TEXT, {("list", 0, "value", "x"): 9, ("list", 0, "value", "y"): GONE, ("new", "inner"): True})
    found = yaml.safe_load(after)
    assert found["list"][1]["value"] == {"x": 9}
    assert found["new"] == {"inner": True}
    assert "*shared" in after
    assert "# both" in after


def test_the_laptops_file_comes_through_unchanged_but_for_what_is_set():
    text = LOCAL.read_text()
    assert edited(text, {}) == text
    place = ("applications", 0, "args", "index", "m")
    after = edited(text, {place: 24})
    assert [line.split("#")[0].strip() for line in changed(text, after)] == ["-        m: 16", "+        m: 24"]
