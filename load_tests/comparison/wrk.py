"""The closed-loop client: wrk, whose one thread drives several times what any contender answers."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_SCRIPT = Path(__file__).with_name("wrk.lua")
_TIMEOUT_S = 2
"""A later answer is an error."""


@dataclass(frozen=True)
class Measured:
    """One run, or the median of several; errors are added up."""

    clients: int
    rps: float
    """Answers a second."""
    p50_ms: float
    p99_ms: float
    errors: int
    """Connections that failed, answers that were late, and all but 2xx and 3xx."""


def drive(url: str, target: str, users: int, clients: int, seconds: int, rate: float | None = None) -> Measured:
    """Load with so many connections for so many seconds. `target` is a path in which USER is replaced. `rate`: requests
    a second, less where answers take long; None: as many as are answered.
    """
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", f"--timeout={_TIMEOUT_S}s", "-s", str(_SCRIPT), url]
    done = subprocess.run(
        [*command, "--", str(users), target, *([] if rate is None else [f"{1000 * clients / rate:.3f}"])],
        capture_output=True, text=True, timeout=seconds + 30, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    line = next((line for line in done.stdout.splitlines() if line.startswith("JSON ")), None)
    if line is None:
        raise SystemExit(f"wrk failed: {done.stdout} {done.stderr}")
    said = json.loads(line.removeprefix("JSON "))
    return Measured(clients, said["rps"], said["p50_ms"], said["p99_ms"], said["errors"])


def background(url: str, target: str, users: int, clients: int, rate: float, seconds: float) -> subprocess.Popen[bytes]:
    """Some `rate` requests a second from so many connections, less where answers take long; the caller ends it."""
    pause_ms = 1000 * clients / rate
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", f"--timeout={_TIMEOUT_S}s", "-s", str(_SCRIPT), url]
    return subprocess.Popen(
        [*command, "--", str(users), target, f"{pause_ms:.3f}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def middle(runs: list[Measured]) -> Measured:
    """Of repeated runs with the same number of clients."""
    return Measured(
        clients=runs[0].clients,
        rps=round(median(run.rps for run in runs), 1),
        p50_ms=round(median(run.p50_ms for run in runs), 3),
        p99_ms=round(median(run.p99_ms for run in runs), 3),
        errors=sum(run.errors for run in runs),
    )
