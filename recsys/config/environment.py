"""What is said by environment variables: the only place where recsys reads and sets them."""

from __future__ import annotations

import os
from pathlib import Path

KEYS_VARIABLE = "RECSYS_API_KEYS"


def home() -> Path:
    """What relative paths of the config file are taken from: $RECSYS_HOME, else the working folder."""
    return Path(os.environ.get("RECSYS_HOME", "."))


def models() -> Path | None:
    """$RECSYS_MODELS, the folder of exported encoders that an image carries; None: it is not set, or empty."""
    folder = os.environ.get("RECSYS_MODELS")
    return Path(folder) if folder else None


def redis_url() -> str | None:
    """$RECSYS_REDIS_URL; None: it is not set, or empty."""
    return os.environ.get("RECSYS_REDIS_URL") or None


def secret(variable: str) -> str | None:
    """What the variable of this name holds; None: it is not set, or empty."""
    return os.environ.get(variable) or None


def api_keys() -> str | None:
    """The text of $RECSYS_API_KEYS; None: it is not set, or empty."""
    return os.environ.get(KEYS_VARIABLE) or None


def report_nothing() -> None:
    """Keep onnxruntime from reporting to its maker. To be called before it is imported.

    From 1.32 on its import starts a thread that sends reports over HTTPS, keeps an id in ~/.cache, and writes to stderr
    where it cannot.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
