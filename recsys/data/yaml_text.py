"""Reading YAML that people write: a key that stands twice in one mapping is refused, where PyYAML takes the last, and
what is wrong with a value can be told with its line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

Place = Sequence[str | int]
"""Where a value stands in a document: keys of mappings and positions in lists, such as `("args", "ports", 0)`."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, since `serve deploy` reads the same files with it.

    Keys are compared while the document is composed: later, merge keys (`<<`) have added those of other mappings.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                problem = f"the key {key.value!r} stands there twice: take one out"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add((key.tag, key.value))
        return node


def parse_yaml(text: str) -> Any:
    """The document. Raises yaml.YAMLError with the place, also where a mapping has a key twice."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def line_at(text: str, place: Place) -> tuple[int, int]:
    """The line, from 1, where the value at `place` begins, or else the innermost value around it that is there; and how
    many parts of `place` are there.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    finally:
        loader.dispose()
    line, depth = 1, 0
    for part in place:
        step = _inside(node, part)
        if step is None:
            break
        (line, node), depth = step, depth + 1
    return line, depth


def _inside(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    """The line of an entry, its key's in a mapping, and its value. None: there is no such entry."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        value = node.value[part]
        return value.start_mark.line + 1, value
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    return None
