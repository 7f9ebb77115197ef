"""Ports for servers that cannot choose one themselves."""

from __future__ import annotations

import fcntl
import itertools
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

_EACH = 128
"""Ports of one process."""


def free_ports(number: int) -> list[int]:
    """Of which no other process gives one out, and this one gives none again before it has given all of its own.

    They lie below the range of which the system, and so Ray's workers, take any.
    """
    return list(itertools.islice(filter(_is_free, _own_ports()), number))


def free_port() -> int:
    [port] = free_ports(1)
    return port


@cache
def _own_ports() -> Iterator[int]:
    return _locked()


def _locked() -> Iterator[int]:
    """The first ports that no other process has locked, again and again. The lock ends with this process."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    folder = Path(tempfile.gettempdir()) / "recsys-test-ports"
    folder.mkdir(exist_ok=True)
    for start in range(lowest // 2, lowest - _EACH, _EACH):
        with (folder / str(start)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield from itertools.cycle(range(start, start + _EACH))
    raise RuntimeError(f"all ports are given out: see who has locked the files of {folder}")


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
