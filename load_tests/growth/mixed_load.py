"""The mix of a shop as load: one wrk for each kind of request, so that each kind has latencies of its own."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from load_tests.comparison.workload import Workload, item_id, user_id

_SCRIPT = Path(__file__).with_name("mix.lua")
CLIENTS = 32
MIX = {"recommend": (0.83, 24), "event": (0.10, 4), "similar": (0.05, 2), "write": (0.02, 2)}
"""Kind of request -> its share of all, and its connections."""


@dataclass(frozen=True)
class Latencies:
    """What requests took. `ms`: (n,) ascending; `counts`: (n,) how many requests took so long."""

    seconds: float
    errors: int
    ms: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def together(cls, parts: Iterable[Latencies]) -> Latencies:
        """Of loads that ran beside each other, or of slices: `seconds` is that of the longest."""
        parts = list(parts)
        ms, place = np.unique(np.concatenate([part.ms for part in parts]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([part.counts for part in parts])).astype(np.int64)
        return cls(max(part.seconds for part in parts), sum(part.errors for part in parts), ms, counts)

    @property
    def requests(self) -> int:
        return int(self.counts.sum())

    @property
    def mean_ms(self) -> float:
        return float((self.ms * self.counts).sum() / max(self.requests, 1))

    def at(self, percent: float) -> float:
        """Milliseconds within which so many of a hundred requests were answered."""
        if not self.requests:
            return 0.0
        return float(self.ms[np.searchsorted(self.counts.cumsum(), percent / 100 * self.requests)])

    def summary(self, seconds: float | None = None) -> dict[str, float]:
        """`seconds`: that all of it took; None: as long as the load says."""
        at = {f"p{name}_ms": round(self.at(percent), 3) for name, percent in (("50", 50), ("99", 99), ("999", 99.9))}
        longest = float(self.ms[-1]) if len(self.ms) else 0.0
        return {
            "rps": round(self.requests / (seconds or self.seconds), 1),
            **at,
            "max_ms": round(longest, 1),
            "errors": self.errors,
        }


@dataclass(frozen=True)
class Mix:
    """Requests of a workload's users to `url`. `likes`: a file of the likes to come (`write_likes`); None: anybody
    likes anything, so that tastes fade while the load lasts.
    """

    url: str
    work: Workload
    likes: Path | None = None

    def peak(self, seconds: int) -> Latencies:
        """All kinds mixed on each connection, as fast as they are answered."""
        return self.alone(seconds, "mix", CLIENTS)

    def alone(self, seconds: int, kind: str, clients: int) -> Latencies:
        """One kind of request, as fast as they are answered."""
        return answer(self.start(seconds, kind, clients, 0.0), seconds)

    def start(self, seconds: int, kind: str, clients: int, pause_ms: float) -> subprocess.Popen[str]:
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout=2s", "-s", str(_SCRIPT), self.url, "--"]
        command += [str(self.work.users), str(self.work.items), f"{pause_ms:.3f}", uuid.uuid4().hex[:12], kind]
        command += [str(self.likes)] if self.likes else []
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def write_likes(work: Workload, path: Path) -> None:
    """As many likes again as each user has, of the same taste: a line each, a user's id and an item's."""
    with path.open("w") as file:
        for user, liked in enumerate(work.drawn_likes(again=1).tolist()):
            file.writelines(f"{user_id(user)} {item_id(item)}\n" for item in liked)


class SteadyLoad:
    """So many requests a second, by the mix. A connection asks, waits for the answer and then for a pause, which is
    corrected after each slice by how long the answers took. `kinds`: those that come; others are left out, and these
    come as often as ever.
    """

    def __init__(self, mix: Mix, rate: float, kinds: Collection[str] = MIX.keys()) -> None:
        self._mix, self._rate, self._kinds = mix, rate, kinds
        self._taken_ms = dict.fromkeys(MIX, 5.0)
        """Kind -> mean latency of the last slice."""

    def slice(self, seconds: int) -> dict[str, Latencies]:
        """Load for so many seconds. Latencies by kind."""
        loads = {}
        for kind in self._kinds:
            share, clients = MIX[kind]
            pause_ms = 1000 * clients / (share * self._rate) - self._taken_ms[kind]
            loads[kind] = self._mix.start(seconds, kind, clients, max(pause_ms, 0.5))
        answers = {kind: answer(load, seconds) for kind, load in loads.items()}
        self._taken_ms = {kind: latencies.mean_ms for kind, latencies in answers.items()}
        return answers


def answer(load: subprocess.Popen[str], seconds: int) -> Latencies:
    output, _ = load.communicate(timeout=seconds + 60)
    line = next((line for line in output.splitlines() if line.startswith("JSON ")), None)
    if line is None:
        raise SystemExit(f"wrk failed: {output}")
    told: dict[str, Any] = json.loads(line.removeprefix("JSON "))
    pairs = np.array(told["latencies"], np.float64).reshape(-1, 2)
    return Latencies(told["seconds"], told["errors"], pairs[:, 0] / 1000, pairs[:, 1].astype(np.int64))
