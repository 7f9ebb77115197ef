"""The processes in which a contender builds and serves, and what is kept of the first until the second has ended."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

_ROOT = Path(__file__).parents[2]
_BUILT_WITHIN_S, _SERVED_WITHIN_S = 7200, 1800
_ENDS_WITHIN_S = 10


class LateError(Exception):
    """The time of the whole run is over."""


class Run:
    """Of one contender on one set of vectors."""

    def __init__(self, contender: str, data: Path, recall: float, seconds: float) -> None:
        self._contender, self._data = contender, data
        self._how = [str(recall), str(seconds)]
        self.folder = data / "built" / contender.replace("/", "_")
        """Of what was built."""

    def result(self, end: float) -> dict[str, Any]:
        """What was measured; `error` where it could not be. `end`: of the whole run, by the monotonic clock.

        Raises LateError when that comes first.
        """
        build = self.build(end)
        if "error" in build:
            return build
        served = self._call("serve", self._how, _SERVED_WITHIN_S, end)
        if "error" not in served:
            self.forget()
        return build | served

    def build(self, end: float) -> dict[str, Any]:
        """What building it took, where it is not built already. `end` and LateError as in `result`."""
        note = self.folder / "build.json"
        if note.exists():
            noted: dict[str, Any] = json.loads(note.read_text())
            return noted
        self.forget()
        self.folder.mkdir(parents=True)
        build = self._call("build", [], _BUILT_WITHIN_S, end)
        if "error" in build:
            self.forget()
        else:
            note.write_text(json.dumps(build))
        return build

    def forget(self) -> None:
        """Delete what was built."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, action: str, arguments: list[str], within_s: float, end: float) -> dict[str, Any]:
        """The line of JSON that the process prints last."""
        left = end - time.monotonic()
        if left <= 0:
            raise LateError(
                f"{self._contender} was {'not measured' if action == 'build' else 'built and not measured'}"
            )
        command = [sys.executable, "-m", "load_tests.ann.contender", action, self._contender]
        command += [str(self._data), str(self.folder), *arguments]
        # Into files: servers that outlive the process would hold a pipe open.
        with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complaints:
            process = psutil.Popen(command, cwd=_ROOT, stdout=said, stderr=complaints)
            try:
                code = process.wait(min(left, within_s))
            except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
                _end(process, self.folder)
                if left < within_s:
                    raise LateError(f"{self._contender} was measured only in part") from None
                return {"error": f"took more than {within_s} s to {action}"}
            except BaseException:
                _end(process, self.folder)
                raise
            said.seek(0)
            complaints.seek(0)
            if code:
                return {"error": (complaints.read().strip().splitlines() or ["it died"])[-1][-300:]}
            result: dict[str, Any] = json.loads(said.read().splitlines()[-1])
            return result


def _end(process: psutil.Process, folder: Path) -> None:
    """With its servers: its children, and those that work in its folder, as PostgreSQL does."""
    family = [process, *process.children(recursive=True), *_working_in(folder)]
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    for one in psutil.wait_procs(family, timeout=_ENDS_WITHIN_S)[1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def _working_in(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder.resolve()):
                yield process
