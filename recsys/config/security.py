"""Who may call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from recsys.config import environment
from recsys.config.base import Settings

Origin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.\[\]:-]{1,253}$")]


class Security(Settings):
    """Who may call. The API's own part; docs/security.md has the rest."""

    keys_file: Path | None = None
    """API keys (access/api_keys.py says how it looks), for its owner only; a relative path is taken from $RECSYS_HOME.
    None: those of $RECSYS_API_KEYS, which holds the same text; without that, every call is open to whoever reaches it.
    """
    reload_s: float = Field(2.0, gt=0, le=3600)
    """Seconds between two looks at whether the file has changed."""
    allow_no_keys: bool = False
    """Whether `recsys up` starts on more than loopback without any key, and calls without one are taken under whatever
    name the request's Host header has. Else they are taken under loopback's names only, which keeps web pages out."""
    cors_origins: tuple[Origin, ...] = ()
    """Web pages from where a browser may call, such as https://shop.example; empty: from none."""

    def keys_path(self) -> Path | None:
        """`keys_file` below $RECSYS_HOME; None: no file is named."""
        return None if self.keys_file is None else environment.home() / self.keys_file

    @staticmethod
    def keys_text() -> str | None:
        """The text of $RECSYS_API_KEYS; None: it is not set, or empty."""
        return environment.api_keys()
