"""A report in a process of its own: it takes the time that serving leaves, and its memory is free when it ends.

A composer joins the answers of the last day every few minutes for its metrics. 78,000 answers took 0.7 s of a core, and
DuckDB may take half a gigabyte.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from recsys.errors import TooLarge
from recsys.outcomes.joining import Question, Report, report
from recsys.outcomes.log_files import LogFiles

_NICE = 10
_BEGIN = "import sys; sys.path[:0] = sys.argv[1:]; from recsys.outcomes.apart import main; main()"
"""With the paths of this process: where a cluster has put the code is not where Python looks by itself."""


class _Order(msgspec.Struct, frozen=True):
    url: str
    question: Question
    answer: str
    """The file for the report. Any library may write to stdout."""


def report_apart(files: LogFiles, question: Question) -> Report:
    """Return what `joining.report` does, and wait for it. Raises OSError when it fails or runs out of room."""
    with tempfile.TemporaryDirectory(prefix="recsys-report-") as folder:
        answer = Path(folder, "report.json")
        done = subprocess.run(  # noqa: S603 - every part is ours
            [sys.executable, "-c", _BEGIN, *filter(None, sys.path)],
            input=msgspec.json.encode(_Order(files.url, question, str(answer))),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise OSError(f"the process that joins the log of answers failed: {why[0]}")
        return msgspec.json.decode(answer.read_bytes(), type=Report)


def main() -> None:
    os.nice(_NICE)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=_Order)
    try:
        joined = report(LogFiles(order.url), order.question)
    except (OSError, TooLarge) as error:
        raise SystemExit(str(error)) from None
    Path(order.answer).write_bytes(msgspec.json.encode(joined))
