"""The log lines of a platform's parts in order of time, while it runs and after it has ended."""

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
"""Parts whose logs can be selected. There is a `shard-N` for each shard of the config file."""
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
    """Unix seconds. A line without a time has the time of the line before it."""
    level: str
    part: str
    """One of `PARTS`, or another shard."""
    replica: str
    """Empty: the part has no replicas."""
    message: str
    """The message, with the traceback if there is one. It may have several lines."""


@dataclass(slots=True)
class Source:
    """A log file, and the position up to which it was read."""

    file: Path
    part: str
    replica: str = ""
    _read: int = 0
    _last: Line | None = field(default=None, repr=False)

    def new_lines(self) -> list[Line]:
        """Return the complete lines written since the last call. Empty: the file is missing or cannot be read."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self._read)
                text = stream.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        lines: list[Line] = []
        for raw in whole.decode("utf-8", "replace").splitlines():
            line = self._line(raw)
            if line.at == 0.0 and lines and not raw.startswith("{"):  # a line of a traceback
                lines[-1] = replace(lines[-1], message=f"{lines[-1].message}\n{raw}")
            elif raw.strip():
                self._last = line if line.at else replace(line, at=self._last.at if self._last else 0.0)
                lines.append(self._last)
        return lines

    def _line(self, raw: str) -> Line:
        """Return the line, with `at` 0 when it has no time."""
        at, level, message = _parsed(raw)
        return Line(at, level, self.part, self.replica, message)


def _parsed(raw: str) -> tuple[float, str, str]:
    """Return time, level and message. Time 0: the line has none."""
    if raw.startswith("{"):
        try:
            record: dict[str, Any] = orjson.loads(raw)
            message = "\n".join(filter(None, (str(record["message"]), record.get("exc_text"))))
            return _local(record["asctime"]), str(record["levelname"]), message
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
    """Return Unix seconds of a time in this machine's time zone."""
    return datetime.fromisoformat(text.replace(",", ".")).astimezone().timestamp()


class Logs:
    """The logs of one platform. `parts`: the parts to read, in any case; none: all but Ray's own."""

    def __init__(self, log_dir: Path, parts: Iterable[str] = ()) -> None:
        self._log_dir = log_dir
        self._parts = {part.lower() for part in parts}
        self._sources: dict[str, Source] = {}

    def new_lines(self, ray_logs: Path | None) -> list[Line]:
        """Return the lines written since the last call, in order of time.

        `ray_logs`: folder of the running session's logs; None: it has ended, and its logs are in the home. Raises
        NotFound for a part without a log.
        """
        present = dict(_sources(self._log_dir, ray_logs or self._log_dir / "ray"))
        for name, source in present.items():
            self._sources.setdefault(name, source).file = source.file
        parts = {source.part for source in self._sources.values()}
        if missing := sorted(self._parts - {part.lower() for part in parts}):
            raise NotFound(f"{missing[0]} has no log in {self._log_dir}; there are {', '.join(sorted(parts))}")
        lines = [line for source in self._sources.values() if self._is_wanted(source) for line in source.new_lines()]
        return sorted(lines, key=lambda line: line.at)

    def _is_wanted(self, source: Source) -> bool:
        return source.part.lower() in self._parts if self._parts else source.part != "ray"


def _sources(log_dir: Path, ray: Path) -> Iterator[tuple[str, Source]]:
    """Yield the existing log files, each with a name that does not change when the file is moved."""
    files = {"valkey": ["valkey.log"], "forking": ["forking.log"], "ray": ["ray-start.log"]}
    for part, names in files.items():
        yield from ((name, Source(log_dir / name, part)) for name in names if (log_dir / name).exists())
    yield from ((name, Source(ray / name, "ray")) for name in _RAY if (ray / name).exists())
    for file in sorted((ray / "serve").glob("*.log")):
        replica = _REPLICA.fullmatch(file.name)
        yield file.name, Source(file, replica[1], replica[2]) if replica else Source(file, "serve")
