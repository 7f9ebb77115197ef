"""Changing values in YAML that people wrote: comments, order and layout of all other lines stay."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from difflib import SequenceMatcher
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter
from yaml import YAMLError

from recsys.data.yaml_text import Place, parse_yaml

_WIDTH = 4096
"""Columns before a line is folded: none is."""

GONE: Any = object()
"""As a value: take the key out."""


class _Representer(RoundTripRepresenter):
    """Writes `null`, where ruamel.yaml leaves the value empty."""

    def represent_null(self, _: None) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_null)


def edited(text: str, values: Mapping[Place, Any]) -> str:
    """The text with other values at some places; mappings on the way that are missing are added.

    An entry that several aliases name is changed for all of them.
    """
    round_trip = YAML()  # which makes no objects of what tags name
    round_trip.Representer = _Representer
    round_trip.preserve_quotes = True
    round_trip.width = _WIDTH
    round_trip.indent(mapping=2, sequence=4, offset=2)
    document = round_trip.load(text)
    before = _dumped(round_trip, document)
    for place, value in values.items():
        _set(document, place, value)
    return _carried(text, before, _dumped(round_trip, document))


def _dumped(round_trip: YAML, document: Any) -> str:
    out = io.StringIO()
    round_trip.dump(document, out)
    return out.getvalue()


def _set(document: Any, place: Place, value: Any) -> None:
    node = document
    for part in place[:-1]:
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
        node = node[part]
    if value is GONE:
        node.pop(place[-1], None)
    else:
        node[place[-1]] = value


def _carried(text: str, before: str, after: str) -> str:
    """`text` with the lines changed that differ between two dumps: what the library writes otherwise than its author
    stays as it was. `after` where that would say something else.
    """
    own, old, new = (part.splitlines(keepends=True) for part in (text, before, after))
    at = _places(own, old)
    lines: list[str] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        theirs = own[at[i1] : at[i2]]
        if tag == "equal":
            lines += theirs
        elif len(theirs) == j2 - j1:
            lines += [_indented(line, like) for line, like in zip(new[j1:j2], theirs, strict=True)]
        else:
            lines += new[j1:j2]
    carried = "".join(lines)
    with suppress(YAMLError):
        if parse_yaml(carried) == parse_yaml(after):
            return carried
    return after


def _places(own: list[str], old: list[str]) -> list[int]:
    """For each line of the dump, and its end, the line of the author's text that it comes from."""
    at = [0] * (len(old) + 1)
    stripped = [line.strip() for line in own], [line.strip() for line in old]
    for _, a1, a2, b1, b2 in SequenceMatcher(None, *stripped, autojunk=False).get_opcodes():
        for step in range(b2 - b1):
            at[b1 + step] = min(a1 + step, a2)
    at[len(old)] = len(own)
    return at


def _indented(line: str, like: str) -> str:
    return like[: len(like) - len(like.lstrip(" "))] + line.lstrip(" ")
