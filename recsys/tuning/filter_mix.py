"""Filters such as users set, made of what the items of a catalogue have: in shapes, by the share that matches.

Each shape is judged by itself: engines and plans differ by the share of matches more than by anything else.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recsys.columns import Column
from recsys.config.platform import AttributeType
from recsys.datatypes import Condition, Filter, Item
from recsys.shard.attributes import Attributes

SHAPES: Mapping[str, tuple[float, float]] = {"half": (0.25, 0.75), "tenth": (0.03, 0.25), "hundredth": (0.002, 0.03)}
"""Name -> least and most share of the items that match one condition."""
BOTH, NOT = "two at once", "all but"
_EACH = 4
"""Filters of a shape."""
_VALUES = 300
"""Values of a keyword attribute that are looked at, the most frequent first."""
_RANGES = (0.5, 0.1, 0.01)
"""Shares of the items in a range of numbers."""


def filter_mix(items: Sequence[Item], declared: Mapping[str, AttributeType], seed: int = 7) -> dict[str, list[Filter]]:
    """Up to four filters of each shape that these items allow; empty where they have no attributes."""
    attributes = Attributes(declared, Column(np.float64))
    attributes.extend(0, [item.attributes for item in items])
    rng, n = np.random.default_rng(seed), len(items)
    conditions = [c for key, kind in declared.items() for c in _conditions(items, key, kind, rng)]
    masks = {c: attributes.mask(Filter(must=(c,)), n) for c in conditions}
    shares = {c: float(mask.mean()) for c, mask in masks.items() if mask.any()}
    shapes = {
        name: [Filter(must=(c,)) for c in _some(conditions, shares, least, most, rng)]
        for name, (least, most) in SHAPES.items()
    }
    shapes[BOTH] = _both(masks, shares, rng)
    shapes[NOT] = [Filter(must_not=(c,)) for c in _some(conditions, shares, 0.05, 0.75, rng)]
    return {name: filters for name, filters in shapes.items() if filters}


def _conditions(items: Sequence[Item], key: str, kind: AttributeType, rng: np.random.Generator) -> list[Condition]:
    values = [item.attributes[key] for item in items if key in item.attributes]
    if kind in ("keyword", "keyword[]"):
        lists = [[value] if isinstance(value, str) else value for value in values if isinstance(value, (str, list))]
        words = Counter(word for some in lists for word in dict.fromkeys(some))
        return [Condition(key, "any", (word,)) for word, _ in words.most_common(_VALUES)]
    if kind == "boolean":
        return [Condition(key, "any", (float(truth),)) for truth in (False, True)]
    numbers = np.sort(np.array([v for v in values if isinstance(v, (int, float))], np.float64))
    if not len(numbers) or numbers[0] == numbers[-1]:
        return []
    ranges = []
    for share in _RANGES:
        low = float(rng.uniform(0, 1 - share))
        ranges.append(np.quantile(numbers, (low, low + share)).tolist())
    return [Condition(key, "range", low=low, high=high) for low, high in ranges]


def _some(
    conditions: Sequence[Condition], shares: Mapping[Condition, float], least: float, most: float,
    rng: np.random.Generator,
) -> list[Condition]:  # fmt: skip
    fit = [c for c in conditions if least <= shares.get(c, 0.0) < most]
    return [fit[i] for i in rng.permutation(len(fit))[:_EACH].tolist()]


def _both(
    masks: Mapping[Condition, npt.NDArray[np.bool_]], shares: Mapping[Condition, float], rng: np.random.Generator
) -> list[Filter]:
    """Two conditions, on two attributes or two values of one, which a hundredth to a third of the items meet."""
    wide = [c for c, share in shares.items() if share >= 0.03]
    pairs = [(a, b) for a, b in itertools.combinations(wide, 2) if not (a.key == b.key and a.op == b.op == "range")]
    filters = []
    for i in rng.permutation(len(pairs)).tolist():
        a, b = pairs[i]
        if 0.01 <= float((masks[a] & masks[b]).mean()) < 0.33:
            filters.append(Filter(must=(a, b)))
            if len(filters) == _EACH:
                break
    return filters
