"""Which config file Serve's own schema has passed last, in each home.

Importing that schema takes a second, and a platform starts with the same file again and again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recsys.files import replace


def has_passed(document: Mapping[str, Any], home: Path) -> bool:
    """Return whether a platform of this home has started with this content, under this release of Ray."""
    try:
        return _file(home).read_text() == _digest(document)
    except OSError:
        return False


def note_passed(document: Mapping[str, Any], home: Path) -> None:
    replace(_file(home), _digest(document).encode())


def _file(home: Path) -> Path:
    return home / "run" / "passed-config"


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([document, version("ray")], sort_keys=True, default=str).encode()).hexdigest()
