"""py-spy beside a load: where the replicas of a running platform spend their time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Self

import psutil

_REPLICAS = ("Composer", "shard-")
_BY_GIL = ("Composer",)
"""Sampled only while a thread holds the interpreter: all that it does. A shard's graph walk does not hold it."""
_TOP = 25
_WAITING = (
    "Worker.main_loop (_private/worker.py)",
    "_worker (futures/thread.py)",
    "Condition.wait (threading.py)",
    "Thread.run (threading.py)",
)
"""Where threads wait in native code, which py-spy cannot tell from work; the last is uvloop."""
_NONE = subprocess.DEVNULL


def cpu_seconds(processes: list[psutil.Process]) -> dict[str, float]:
    """CPU time that each process has taken since its start, by title and pid."""
    taken = {}
    for process in processes:
        try:
            times, title = process.cpu_times(), " ".join(process.cmdline())[:60] or process.name()
        except psutil.Error:  # ended meanwhile
            continue
        taken[f"{title} ({process.pid})"] = times.user + times.system
    return taken


class Foreign:
    """How many cores others than the contender and its client kept busy meanwhile."""

    cores: float

    def __init__(self, ours: list[psutil.Process]) -> None:
        self._ours = ours

    def __enter__(self) -> Self:
        self._start, self._before = time.monotonic(), self._busy()
        return self

    def __exit__(self, *_: object) -> None:
        self.cores = (self._busy() - self._before) / (time.monotonic() - self._start)

    def _busy(self) -> float:
        """CPU seconds of the machine since its start, without ours and our ended children's."""
        every, mine = psutil.cpu_times(), psutil.Process().cpu_times()
        client = mine.user + mine.system + mine.children_user + mine.children_system
        idle = every.idle + getattr(every, "iowait", 0.0)
        return sum(every[:8]) - idle - client - sum(cpu_seconds(self._ours).values())


def show_cores(before: dict[str, float], after: dict[str, float], seconds: float) -> None:
    """The cores that each process kept busy in between."""
    used = {title: (taken - before[title]) / seconds for title, taken in after.items() if title in before}
    for title, cores in sorted(used.items(), key=lambda item: -item[1])[:12]:
        print(f"  {cores:5.2f} cores  {title}")


def record(processes: list[psutil.Process], folder: Path, seconds: int) -> dict[str, subprocess.Popen[bytes]]:
    """Begin to sample the replicas. The files are folded stacks, which https://www.speedscope.app opens."""
    folder.mkdir(parents=True, exist_ok=True)
    spies = {}
    for process in processes:
        title = " ".join(process.cmdline())
        replica = title.rpartition(":")[2].split()[0] if "ServeReplica" in title else ""
        if replica.startswith(_REPLICAS):
            spy = str(Path(sys.executable).with_name("py-spy"))
            command = [spy, "record", "-p", str(process.pid), "-d", str(seconds), "-r", "100", "-f", "raw"]
            command += ["--gil"] if replica in _BY_GIL else []
            output = folder / f"{replica}.folded"
            spies[replica] = subprocess.Popen([*command, "-o", str(output)], stdin=_NONE, stdout=_NONE, stderr=_NONE)
    return spies


def report(spies: dict[str, subprocess.Popen[bytes]], folder: Path) -> None:
    """Waits for the samples; the functions that were running most, and those below which most time went."""
    for replica, spy in spies.items():
        spy.wait(60)
        own, total, samples = _count(folder / f"{replica}.folded", () if replica in _BY_GIL else _WAITING)
        lines = [f"{replica}: {samples} samples at 100/s, without those of waiting threads", "  own %  function"]
        lines += [f"  {100 * n / samples:5.1f}  {name}" for name, n in own.most_common(_TOP)]
        lines += ["  total %  function"]
        lines += [f"  {100 * n / samples:5.1f}  {name}" for name, n in total.most_common(2 * _TOP)]
        (folder / f"{replica}.txt").write_text("\n".join(lines) + "\n")
        print(f"profile of {replica}: {folder / replica}.txt, .folded")


def _count(folded: Path, waiting: tuple[str, ...]) -> tuple[Counter[str], Counter[str], int]:
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    samples = 0
    for line in folded.read_text().splitlines() if folded.exists() else []:
        stack, _, count = line.rpartition(" ")
        frames = [_short(frame) for frame in stack.split(";")]
        if frames[-1] in waiting:
            continue
        samples += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            total[frame] += int(count)
    return own, total, max(samples, 1)


def _short(frame: str) -> str:
    """`name (path:line)` without the line and all but the last two parts of the path."""
    name, _, place = frame.partition(" (")
    path = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
    return f"{name} ({'/'.join(path.split('/')[-2:])})"
