"""How a version did that went out to a part of the users first: `canary.json` in its folder."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class CanaryVerdict(BaseModel):
    outcome: Literal["promoted", "rolled_back"]
    reason: str
    """What decided, in words."""
    base: str
    """The version that it was compared with."""
    share: float
    """Of the users, at the end."""
    began: float
    """Unix seconds."""
    ended: float
    """Unix seconds."""
