"""Versions that a replica cannot open: why, and when it tries again."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping

from recsys.errors import RecsysError

_FIRST_S, _LONGEST_S = 5.0, 60.0
"""Seconds until a version is tried again, at first and at most. They double, because a try reads and hashes all of its
files."""
_REASON = 300
"""Characters of a reason, which every reader of the replica's record gets."""

log = logging.getLogger(__name__)


class Rejections:
    def __init__(self) -> None:
        self.reasons: Mapping[str, str] = {}
        """By version. Replaced, never changed."""
        self._tries: dict[str, tuple[int, float]] = {}
        """Version -> how often it failed, and the monotonic seconds of the next try."""

    def add(self, who: str, version: str, error: Exception) -> None:
        """Note a failure, and log it where its reason is new."""
        reason = (str(error) or repr(error))[:_REASON]
        failures = self._tries.get(version, (0, 0.0))[0] + 1
        wait_s = min(_FIRST_S * 2.0 ** min(failures - 1, 8), _LONGEST_S)
        self._tries[version] = (failures, time.monotonic() + wait_s)
        if self.reasons.get(version) != reason:
            self.reasons = {**self.reasons, version: reason}
            defect = not isinstance(error, OSError | RecsysError)
            log.error("%s cannot open version %s: %s", who, version, reason, exc_info=error if defect else None)

    def remove(self, version: str) -> None:
        """Forget the version: it opens after all."""
        if version in self.reasons:
            self.reasons = {v: reason for v, reason in self.reasons.items() if v != version}
            del self._tries[version]

    def among(self, versions: Iterable[str]) -> int:
        """How many of the versions do not open."""
        return sum(version in self.reasons for version in versions)

    def keep(self, versions: Collection[str]) -> None:
        """Forget all other versions: nobody wants them any more."""
        for version in self.reasons.keys() - set(versions):
            self.remove(version)

    def resting(self, version: str) -> bool:
        """Whether it failed, and it is too early to try again."""
        return version in self._tries and time.monotonic() < self._tries[version][1]
