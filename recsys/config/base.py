"""What all settings have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from recsys.config.described import Described

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Settings(Described):
    model_config = ConfigDict(extra="forbid", frozen=True)
