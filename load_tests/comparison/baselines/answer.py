"""The answer that the hand-written contenders give."""

from __future__ import annotations

from pydantic import BaseModel


class Recommendation(BaseModel):
    item_id: str
    title: str
    rank: int
    score: float


class Slate(BaseModel):
    user_id: str
    items: list[Recommendation]
