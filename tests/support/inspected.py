"""What `recsys inspect` says of a file, and the options of the command that it proposes."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import Any

from recsys.config.serving import Serving
from recsys.reading.dialect import ReadOptions
from recsys.reading.inspection import Configured, Inspection, inspect

TYPES = Serving().event_types
KNOWN = Configured({}, TYPES)


def inspected(path: Path, known: Configured = KNOWN, **options: Any) -> Inspection:
    """What is said of a file alone."""
    [seen] = inspect([path], ReadOptions(**options), known)
    return seen


def read_as(command: str) -> ReadOptions:
    """The options of a command that was proposed: its --map, with several columns of a field, and its --type-map."""
    words = shlex.split(command)
    pairs: dict[str, dict[str, list[str]]] = {"--map": {}, "--type-map": {}}
    for option, value in itertools.pairwise(words):
        if option in pairs:
            left, _, right = value.partition("=")
            pairs[option].setdefault(left, []).append(right)
    return ReadOptions(
        mapping={name: first for name, (first, *_) in pairs["--map"].items()},
        also={name: others for name, (_, *others) in pairs["--map"].items()},
        type_map={name: last for name, (*_, last) in pairs["--type-map"].items()},
    )
