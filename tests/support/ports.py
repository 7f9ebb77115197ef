"""Ports for servers that cannot choose one themselves."""

from __future__ import annotations

import itertools
import socket
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
    return _claimed()


def _claimed() -> Iterator[int]:
    """The first ports that no other process has claimed, again and again. The claim ends with this process.

    It is an abstract Unix socket: like a port it belongs to the network namespace, whichever user's process has it and
    wherever its temporary files are.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for start in range(lowest // 2, lowest - _EACH, _EACH):
        with closing(socket.socket(socket.AF_UNIX)) as claim:
            try:
                claim.bind(f"\0recsys-test-ports-{start}")
            except OSError:
                continue
            yield from itertools.cycle(range(start, start + _EACH))
    raise RuntimeError("all ports are claimed by other processes: see @recsys-test-ports in /proc/net/unix")


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
