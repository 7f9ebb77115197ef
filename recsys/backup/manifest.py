"""What a backup consists of. It is written last: without it the files of a backup are none."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from recsys.versions.current import Current

FORMAT = 1
"""Of the manifest and of the files that it names. A release reads its own."""


class BackedFile(BaseModel):
    """A file, which lies in the backups' store by its checksum."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    """Where it belongs, below the folder of what it is a part of."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int


class BackupManifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    name: str
    """Sorts by time: b20260131-120000-123456."""
    created_at: datetime
    at_ms: int
    """Unix milliseconds, by Redis' clock, of the moment whose keys it has."""
    log: dict[str, str]
    """Log of a shard, by `routing.log_name` -> the last id that it had given out at that moment."""
    shards: int
    routing: str
    """`RoutingSpec` as JSON: items and logs lie by it."""
    current: Current | None
    """The served version and those before it. None: nothing was served."""
    versions: dict[str, list[BackedFile]]
    """Files of each version, below its folder."""
    keys: int
    """Keys of Redis."""
    redis: list[BackedFile]
    """Parquet files, see `parts.py`."""
    slate_log: list[BackedFile]
    """Files of the log of answers, below `slate-log`."""
    config: BackedFile | None = None
    """The config file. None: it was not known."""

    @property
    def moment(self) -> datetime:
        """`at_ms` as a time in UTC."""
        return datetime.fromtimestamp(self.at_ms / 1000, UTC)

    def files(self) -> list[BackedFile]:
        """All files; those with one content are one in the store."""
        others = [*self.redis, *self.slate_log, *([self.config] if self.config else [])]
        return [*(file for files in self.versions.values() for file in files), *others]
