"""Modules in C: they are compiled when the project is installed, where that can be done."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def compiled(module: str) -> Any | None:
    """The module of this name. None: it was not compiled, and who asks does the same without it, more slowly."""
    try:
        return import_module(module)
    except ImportError:
        return None
