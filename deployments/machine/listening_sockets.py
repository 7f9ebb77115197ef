"""The check that a running platform listens on loopback only.

Most of Ray's sockets are kept on loopback by settings, and some by changes to its code (`ray_internals/loopback`). A
new version of Ray could undo either without an error, and open its ports to the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address

import psutil

from deployments.machine.processes import instance_processes
from recsys.errors import RuntimeFailure


def refuse_if_exposed(instance: str, api_port: int | None = None) -> None:
    """Raise RuntimeFailure, in one line, when a process of the instance listens beyond loopback.

    `api_port`: the API's port, if the config file opens it to the network; None: it is on loopback as well.
    """
    if sockets := exposed(instance_processes(instance), api_port):
        raise RuntimeFailure(
            f"{', '.join(sockets)} would be open to the network, though only the API may be, so all was stopped: "
            "likely a version of Ray that this release does not know; install the one of requirements.lock"
        )


def exposed(processes: Iterable[psutil.Process], api_port: int | None) -> list[str]:
    """Return the TCP sockets beyond loopback, without the API's, such as `name (pid 7) on 0.0.0.0:8265`."""
    sockets = []
    for process in processes:
        with suppress(psutil.Error):  # the process has ended
            for connection in process.net_connections("tcp"):
                address = connection.laddr
                if connection.status != psutil.CONN_LISTEN or address.port == api_port or _is_loopback(address.ip):
                    continue
                sockets.append(f"{process.name()} (pid {process.pid}) on {address.ip}:{address.port}")
    return sorted(set(sockets))


def _is_loopback(host: str) -> bool:
    address = ip_address(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
