"""What is kept of answers and of what came of them; docs/outcomes.md says how it is joined."""

from __future__ import annotations

from pydantic import Field

from recsys.config.base import Settings


class SlateLog(Settings):
    """The log of answers and outcomes: from composers to Redis, and from there to hourly Parquet files."""

    enabled: bool = True
    """Whether answers and outcomes are logged. Without the log, events of a type with `kept: false` are taken and leave
    no trace."""
    queue: int = Field(10_000, ge=1)
    """Answers that may wait in one composer until Redis takes them, about 3 kB each. Those past it are not logged, and
    are counted as lost."""
    waiting: int = Field(200_000, ge=1)
    """Answers that may wait in Redis until they are in files, about 0.5 kB each, and as many outcomes. Those past it
    are not logged, and are counted as lost."""
    keep_hours: int = Field(720, ge=1, le=87_600)
    """Hours for which the files are kept. A user's token lives as long."""
    window_s: float = Field(86_400.0, ge=1, le=90 * 86_400)
    """Seconds after an answer in which an event that names it counts as its outcome; a report may ask for others."""
