"""One shard's latencies on a running platform, as a composer sees them: the `candidates` stage of its Server-Timing.

wrk keeps up a load of so many requests a second beside, and one connection asks again as soon as it is answered. Only
its answers count: requests that travel in one batch share one call to the shard, so a second sample of that batch would
be the same one again.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from load_tests.comparison.wrk import background

_STAGE = re.compile(r"candidates;dur=([0-9.]+)")
_CONNECTIONS = 64
"""Of the load beside: with so many, none waits long for its own last answer."""
FAILED_AT_MOST = 0.01
"""Share of failed calls from which on the others say little."""


@dataclass(frozen=True)
class Probed:
    latencies_ms: list[float]
    failed: int
    """Calls without a full answer: no connection, late, not 200, degraded."""


def probe(url: str, target: str, users: int, rate: float, calls: int, seconds: float) -> Probed:
    """At most so many calls within so many seconds. SystemExit for a platform that has not just one shard."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=10)
    _needs_one_shard(connection)
    samples: list[float] = []
    failed, end = 0, time.monotonic() + seconds
    beside = background(url, target, users, _CONNECTIONS, rate, seconds + 5)
    try:
        while len(samples) + failed < calls and time.monotonic() < end:
            if beside.poll() is not None:
                raise SystemExit("wrk, which makes the load beside, ended before its time")
            user = (len(samples) + failed) * 7919 % users + 1
            try:
                connection.request("GET", target.replace("USER", str(user)))
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()  # the next call opens it again
                failed += 1
                continue
            stage = _STAGE.search(answer.headers.get("server-timing", ""))
            if answer.status != 200 or stage is None or b'"degraded":[]' not in body:
                failed += 1
            else:
                samples.append(float(stage[1]))
    finally:
        beside.terminate()
        _wait(beside)
        connection.close()
    if failed > FAILED_AT_MOST * (len(samples) + failed):
        raise SystemExit(
            f"{failed} of {len(samples) + failed} calls failed: lower --rate, or see the platform's status"
        )
    return Probed(samples, failed)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


def _needs_one_shard(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/v1/status")
    shards = len(json.loads(connection.getresponse().read())["shards"])
    if shards != 1:
        raise SystemExit(f"the platform has {shards} shards, whose slowest the stage waits for; run one with shards: 1")
