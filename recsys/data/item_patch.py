"""Parts of an item that are to be changed, as JSON Merge Patch (RFC 7396) has it.

What is named replaces what was there, null takes it away, and `attributes` are merged name by name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from recsys.config.platform import AttributeType
from recsys.config.serving import Limits
from recsys.data.records import ItemIn, StatedItem, item_of, validate_each
from recsys.data.validation import check_item, refuse_other_units
from recsys.datatypes import Item
from recsys.errors import BadInput


def patched(item: Item, patch: Mapping[str, Any], declared: Mapping[str, AttributeType], limits: Limits) -> Item:
    """The item with the patch. Raises BadInput, with the field, where that is no item any more."""
    given = asdict(item)
    kept = {name: value for name, value in item.attributes.items() if name in declared}
    attributes = patch.get("attributes", {})
    if isinstance(attributes, Mapping):
        given["attributes"] = {**kept, **attributes}
    elif attributes is None:
        given["attributes"] = {}
    else:
        given["attributes"] = attributes  # it is refused below, by its field
    for name, value in patch.items():
        if name == "attributes":
            continue
        if value is None:
            given.pop(name, None)
        else:
            given[name] = value
    # Of times only those that the patch names are judged: the others were when they came.
    refuse_other_units(attributes if isinstance(attributes, Mapping) else {}, declared)
    kind, now = (StatedItem, time.time()) if "created_at" in patch else (ItemIn, math.inf)
    good, refused = validate_each(kind, [given], lambda record: check_item(record, declared, limits, now))
    if refused:
        wrong = refused[0]
        message = wrong.message if wrong.field else f"body: {wrong.message}"
        raise BadInput(message, field=wrong.field or "body", code=wrong.code)
    return item_of(good[0][1])
