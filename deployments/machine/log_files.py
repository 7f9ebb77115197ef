"""The log lines of a platform's parts, while it runs and after it ended, in one order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from recsys.errors import NotFound

PARTS = ("Composer", "Encoder", "shard-0", "serve", "valkey", "ray", "forking")
"""What can be asked for; of shards there are as many as the config file has."""
_REPLICA = re.compile(r"replica_.+?_(Composer|Encoder|shard-\d+)_(\w+)\.log")
_RAY = ("gcs_server.out", "raylet.out", "raylet.err", "dashboard.log", "dashboard_agent.log")
_LEVELS = {"D": "DEBUG", "I": "INFO", "W": "WARNING", "E": "ERROR", "C": "CRITICAL", "F": "CRITICAL"}
_RAY_LINE = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) ([A-Z]) [^\]]*\] (.*)")
_PYTHON_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})\s+(?:\[?)(\w+)\]?\s+(.*)")
_VALKEY_LINE = re.compile(r"\d+:\w (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) ([.\-*#]) (.*)")
_VALKEY_LEVELS = {".": "DEBUG", "-": "INFO", "*": "INFO", "#": "WARNING"}


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a log."""

    at: float
    """Unix seconds; of a line that says no time, the time of the line before it."""
    level: str
    part: str
    """One of `PARTS`, or another shard."""
    replica: str
    """Empty where the part has none."""
    message: str
    """With the traceback, where there is one; may be several lines."""


@dataclass(slots=True)
class Source:
    """A log file, and how far it was read."""

    file: Path
    part: str
    replica: str = ""
    _read: int = 0
    _last: Line | None = field(default=None, repr=False)

    def new_lines(self) -> list[Line]:
        """What was written since the last call, in whole lines; empty where the file is gone or cannot be read."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self._read)
                text = stream.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        found: list[Line] = []
        for raw in whole.decode("utf-8", "replace").splitlines():
            line = self._line(raw)
            if line.at == 0.0 and found and not raw.startswith("{"):  # a traceback goes on
                found[-1] = replace(found[-1], message=f"{found[-1].message}\n{raw}")
            elif raw.strip():
                self._last = line if line.at else replace(line, at=self._last.at if self._last else 0.0)
                found.append(self._last)
        return found

    def _line(self, raw: str) -> Line:
        """`at` is 0 where the line says no time."""
        at, level, message = _parsed(raw)
        return Line(at, level, self.part, self.replica, message)


def _parsed(raw: str) -> tuple[float, str, str]:
    """Time, level and message; time 0 where the line says none."""
    if raw.startswith("{"):
        try:
            known: dict[str, Any] = orjson.loads(raw)
            message = "\n".join(filter(None, (str(known["message"]), known.get("exc_text"))))
            return _local(known["asctime"]), str(known["levelname"]), message
        except (orjson.JSONDecodeError, KeyError, ValueError, TypeError):
            return 0.0, "INFO", raw
    if match := _RAY_LINE.fullmatch(raw):
        return _local(match[1]), _LEVELS.get(match[2], "INFO"), match[3]
    if match := _VALKEY_LINE.fullmatch(raw):
        at = datetime.strptime(match[1], "%d %b %Y %H:%M:%S.%f").astimezone().timestamp()
        return at, _VALKEY_LEVELS[match[2]], match[3]
    if match := _PYTHON_LINE.fullmatch(raw):
        return _local(match[1]), match[2], match[3]
    return 0.0, "INFO", raw


def _local(text: str) -> float:
    """Of the time in a line, which is this machine's."""
    return datetime.fromisoformat(text.replace(",", ".")).astimezone().timestamp()


class Logs:
    """The logs of one platform. `parts`: whose lines are wanted, in whichever case; without any, all but Ray's own."""

    def __init__(self, log_dir: Path, parts: Iterable[str] = ()) -> None:
        self._log_dir = log_dir
        self._parts = {part.lower() for part in parts}
        self._sources: dict[str, Source] = {}

    def new_lines(self, ray_logs: Path | None) -> list[Line]:
        """What was written since the last call, by time. `ray_logs`: where the session that runs writes; None once it
        has ended, and its logs are kept in the home.

        Raises NotFound, with what there is, for a part that has no log.
        """
        there = dict(_sources(self._log_dir, ray_logs or self._log_dir / "ray"))
        for name, source in there.items():
            self._sources.setdefault(name, source).file = source.file
        known = {source.part for source in self._sources.values()}
        if missing := sorted(self._parts - {part.lower() for part in known}):
            raise NotFound(f"{missing[0]} has no log in {self._log_dir}; there are {', '.join(sorted(known))}")
        lines = [line for source in self._sources.values() if self._is_wanted(source) for line in source.new_lines()]
        return sorted(lines, key=lambda line: line.at)

    def _is_wanted(self, source: Source) -> bool:
        return source.part.lower() in self._parts if self._parts else source.part != "ray"


def _sources(log_dir: Path, ray: Path) -> Iterator[tuple[str, Source]]:
    """The log files that there are, by a name that stays when they are moved."""
    files = {"valkey": ["valkey.log"], "forking": ["forking.log"], "ray": ["ray-start.log"]}
    for part, names in files.items():
        yield from ((name, Source(log_dir / name, part)) for name in names if (log_dir / name).exists())
    yield from ((name, Source(ray / name, "ray")) for name in _RAY if (ray / name).exists())
    for file in sorted((ray / "serve").glob("*.log")):
        replica = _REPLICA.fullmatch(file.name)
        yield file.name, Source(file, replica[1], replica[2]) if replica else Source(file, "serve")
