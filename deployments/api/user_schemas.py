"""Bodies of the calls about one user, as the OpenAPI page shows them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from deployments.api.answer_schemas import AnswerBody
from deployments.api.schemas import Body
from recsys.data.records import Id


class UserOut(AnswerBody):
    user_id: str
    events: int
    """Events that are known."""
    history_limit: int
    """Events that are kept of a user, up to a tenth more; the oldest go."""
    attributes: dict[str, bool | str | float | list[str]]
    history: list[dict[str, Any]]
    """Newest first."""


class AttributesBody(Body):
    attributes: dict[str, Any] = Field(max_length=64)
    """By the names of `args.user_attributes`; null takes one away."""


class AttributesOut(AnswerBody):
    user_id: str
    attributes: dict[str, bool | str | float | list[str]]


class MergeBody(Body):
    from_user: Id
    """Whose events and attributes the user gets. That user is forgotten then."""


class MergedOut(AnswerBody):
    user_id: str
    from_user: str
    accepted: int
    """Events that the user has got."""
    duplicates: int
    """Events whose event_id the user had already."""
    too_old: int
    """Events as old as what has left the user's history, or from before the user was erased."""


class ErasedOut(AnswerBody):
    user_id: str
    events_erased: int


class ForgottenOut(AnswerBody):
    user_id: str
    event_id: str
