"""Reading YAML that people write: a key that stands twice in one mapping is refused, where PyYAML takes the last."""

from __future__ import annotations

from typing import Any

import yaml


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
