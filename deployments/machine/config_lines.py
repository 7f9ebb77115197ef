"""The line of a setting in the config file, for error messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys.data.yaml_text import Place, line_at
from recsys.errors import BadInput


@contextmanager
def located(file: Path, text: str, document: Mapping[str, Any]) -> Iterator[None]:
    """Add the file, and the line of the field if it names one, to the message of a BadInput."""
    try:
        yield
    except BadInput as wrong:
        place = f"{file}:{line_of(text, document, wrong.field)}" if wrong.field else str(file)
        raise BadInput(f"{place}: {wrong}", field=wrong.field, code=wrong.code) from None


def line_of(text: str, document: Mapping[str, Any], field: str) -> int:
    """Return the line of a field, from 1. If the field is missing: the line of the object that it is missing from.

    `field`: a path from the top of the file, from a deployment's name, from `args`, or from the Composer's
    `user_config`.
    """
    parts = [int(part) if part.isdecimal() else part for part in re.findall(r"[^.\[\]]+", field)]
    names = [
        entry.get("name") for entry in document["applications"][0].get("deployments") or [] if isinstance(entry, dict)
    ]
    first: Place = ("applications", 0)
    starts: list[Place] = [(), first, (*first, "args")]
    if parts[0] in names:
        starts, parts = [(*first, "deployments", names.index(parts[0]))], parts[1:]
    elif "Composer" in names:
        starts.append((*first, "deployments", names.index("Composer"), "user_config"))
    matches = [(depth - len(start), line) for start in starts for line, depth in (line_at(text, (*start, *parts)),)]
    return max(matches, key=lambda one: one[0])[1]
