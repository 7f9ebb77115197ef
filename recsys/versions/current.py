"""The content of `CURRENT`: the served version, the versions served before it, and for how long each was served."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel

_REMEMBERED = 100
"""Earlier versions that are remembered for rollback."""


class Current(BaseModel):
    version: str
    previous: list[str] = []
    """Versions served before it, newest first, each once."""
    since: float | None = None
    """Unix seconds since which `version` is served. None: not recorded."""
    seconds: dict[str, float] = {}
    """Seconds for which each version was served until `since`, all its periods together."""

    @property
    def order(self) -> list[str]:
        """The served version, then the earlier ones, newest first."""
        return [self.version, *self.previous]

    def seconds_until(self, now: float) -> dict[str, float]:
        """Return `seconds` with the current period of `version` added. `now`: Unix seconds."""
        period = 0.0 if self.since is None else max(0.0, now - self.since)
        return {**self.seconds, self.version: self.seconds.get(self.version, 0.0) + period}

    @classmethod
    def after(cls, before: Self | None, version: str, now: float) -> Self:
        """Return the content once `version` is served in place of `before`. None: no version was served."""
        if before is None:
            return cls(version=version, since=now)
        # A version is listed once: switching between two versions does not push out a third.
        previous = [name for name in before.order if name != version][:_REMEMBERED]
        seconds = _of(before.seconds_until(now), [version, *previous])
        return cls(version=version, previous=previous, since=now, seconds=seconds)

    def gone_back(self, now: float) -> Self:
        """Return the content after a rollback: the previous version is served, and the served one is forgotten."""
        seconds = {name: s for name, s in self.seconds.items() if name != self.version}
        return type(self)(version=self.previous[0], previous=self.previous[1:], since=now, seconds=seconds)

    def without(self, version: str) -> Self:
        """Return the content once an earlier version is removed."""
        previous = [name for name in self.previous if name != version]
        return self.model_copy(update={"previous": previous, "seconds": _of(self.seconds, [self.version, *previous])})


def _of(seconds: dict[str, float], versions: list[str]) -> dict[str, float]:
    return {name: seconds[name] for name in versions if name in seconds}
