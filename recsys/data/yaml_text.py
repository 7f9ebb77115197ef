"""YAML that people write. A repeated key in a mapping is refused (PyYAML takes the last), and the line of a value can
be found for a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

Place = Sequence[str | int]
"""The position of a value: keys of mappings and indexes of lists, such as `("args", "ports", 0)`."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which `serve deploy` uses for the same files, with repeated keys refused.

    Keys are compared while the document is composed. Later, merge keys (`<<`) have added keys of other mappings.
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
    """Return the document. Raises yaml.YAMLError with the place of the fault, also for a repeated key."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def line_at(text: str, place: Place) -> tuple[int, int]:
    """Return the line, from 1, of the value at `place`, and `len(place)`.

    When the value is missing: the line of the innermost existing value around it, and its depth.
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
    """Return the line of an entry (in a mapping, of its key) and its value. None: there is no such entry."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        value = node.value[part]
        return value.start_mark.line + 1, value
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    return None
