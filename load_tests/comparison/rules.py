"""The rules with which a platform is measured: a boost, a bury and a pin, each of a hundred items."""

from __future__ import annotations

from typing import Any

from load_tests.comparison.workload import item_id


def _items(first: int) -> dict[str, Any]:
    return {"must": [{"key": "item_id", "any": [item_id(number) for number in range(first, first + 100)]}]}


RULES: list[dict[str, Any]] = [
    {"name": "more", "kind": "boost", "weight": 0.1, "filter": _items(0)},
    {"name": "less", "kind": "bury", "weight": 0.1, "filter": _items(100)},
    {"name": "third", "kind": "pin", "position": 3, "filter": _items(200)},
]
