"""The Unix socket beside a channel's TCP port, for composers on the same machine.

A message over it takes half the time of one over the loopback device. Its name is the address of the port, in Linux's
abstract namespace: so there is no file, and it is seen by the processes that see this loopback device and by no others.

Another user of the machine can take the name before the server does, and pass all on to the port. So a proof over the
socket covers another address than one over the port, see `handshake.py`.
"""

from __future__ import annotations

import sys

from recsys.transport.encryption import leaves_the_machine


def local_name(address: str) -> str | None:
    """Of the socket beside a port, by the port's `host:port`; None: there is none."""
    if sys.platform != "linux" or leaves_the_machine(address.rpartition(":")[0]):
        return None
    return f"\0recsys-channel-{address}"


def local_address(address: str) -> str:
    """What proofs over the socket cover."""
    return f"unix:{address}"
