"""Checks before a platform is started. Each refusal is one line that names the fix."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Mapping
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path

import psutil

from recsys.access.gate import load_keys
from recsys.config.security import Security
from recsys.config.serving import Tracing
from recsys.errors import RuntimeFailure

GIB = 1 << 30
ENDING_S = 3.0
"""Seconds to wait for ports of a platform that has just ended: replicas may outlive `recsys down` by a moment."""
_SHIFTS = range(10, 2000, 10)
"""Offsets that are tried for the proposal of free ports, in this order."""


def refuse_if_taken(ports: Mapping[str, int], host: str = "127.0.0.1", within_s: float = ENDING_S) -> None:
    """Raise RuntimeFailure when a port is still busy after `within_s` seconds, or two uses have the same port.

    `ports`: port by use. The message names all busy ports, and the offset at which all are free.
    """
    uses: dict[int, str] = {}
    for use, port in ports.items():
        if port in uses:
            raise RuntimeFailure(f"port {port} is wanted for {uses[port]} and for {use}: give each its own")
        uses[port] = use
    if taken := _taken(uses, host, within_s):
        named = ", ".join(f"port {port} ({uses[port]}) is taken{_holder(port)}" for port in taken)
        free = (shift for shift in _SHIFTS if all(p + shift < 65536 and _is_free("", p + shift, host) for p in uses))
        higher = f"; {shift} higher {'is' if len(uses) == 1 else 'all are'} free" if (shift := next(free, None)) else ""
        raise RuntimeFailure(f"{named}: stop that program or set another port{higher}")


def _taken(uses: Mapping[int, str], host: str, within_s: float) -> list[int]:
    """Return the ports that cannot be listened on. Wait for those of a platform that has just ended."""
    deadline = time.monotonic() + within_s
    while busy := [port for port, use in uses.items() if not _is_free(use, port, host)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return busy


def _is_free(use: str, port: int, host: str) -> bool:
    """Return whether a port can be listened on. Raises RuntimeFailure for an address that is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not make a port busy
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise RuntimeFailure(f"{host}:{port} ({use}) cannot be listened on: {error.strerror}") from None
    return True


def _holder(port: int) -> str:
    """Return the program that listens on a port, for a message. Empty: this user cannot see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""


def refuse_if_open(host: str, security: Security) -> None:
    """Raise RuntimeFailure when the API would listen beyond loopback without keys, and BadInput for invalid keys."""
    keys = load_keys(security)
    if keys is not None or security.allow_no_keys or is_loopback(host):
        return
    raise RuntimeFailure(
        f"http_options.host is {host}: whoever reaches this machine could read and change everything. Make a key with "
        "`recsys keys new NAME --scope read --into FILE` and set the Composer's security.keys_file to FILE, listen on "
        "127.0.0.1, or set security.allow_no_keys: true"
    )


def refuse_if_traces_cannot_leave(tracing: Tracing) -> None:
    """Raise RuntimeFailure when tracing is configured and its exporter is not installed."""
    if tracing.endpoint is None:
        return
    try:
        import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError:
        raise RuntimeFailure(
            "tracing.endpoint: what sends traces is not installed: pip install 'recsys[otel]', or set it to null"
        ) from None


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_if_short_of_memory(available: int, needed: int) -> None:
    """Raise RuntimeFailure when less memory is available than needed, in bytes. Ray kills replicas at 95 % of the
    memory, so a start without a reserve would fail later, with an obscure message.
    """
    if available < needed:
        raise RuntimeFailure(
            f"{available / GIB:.1f} GiB of memory are available and {needed / GIB:.1f} GiB needed: close other programs"
        )


def available_memory() -> int:
    """Return the bytes that this process may still use: the machine's, or the container's if they are fewer."""
    return min(psutil.virtual_memory().available, _left_in_container(Path("/sys/fs/cgroup")))


def _left_in_container(cgroup: Path) -> int:
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        cache = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 1 << 62  # not in a container, or cgroup v1: the limit is unknown
    return 1 << 62 if limit == "max" else int(limit) - used + int(cache.get("inactive_file", 0))
