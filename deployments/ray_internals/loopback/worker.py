"""What Ray's raylet starts as a worker: a fork becomes it, see `forking`. Else Ray's own worker, after one change that
must precede every import of Serve.

Each Serve replica listens for the others on `[::]:0` (ray/serve/_private/replica.py), and no setting changes that. On a
machine of a cluster it listens on the address that the others reach, on a single machine on loopback.
"""

from __future__ import annotations

import os
import runpy
import sys

ADDRESS = "RECSYS_NODE_ADDRESS"
"""Environment variable with this machine's address in a cluster; unset: it is the only machine."""


def bind_to_address() -> None:
    """From now on, gRPC servers of this process that would listen on every interface listen on one address."""
    from ray._common import tls_utils  # noqa: PLC0415 - half a second, which a fork has behind it

    add_port, host = tls_utils.add_port_to_grpc_server, os.environ.get(ADDRESS, "127.0.0.1")

    def add_one_address(server: object, address: str) -> int:
        return int(add_port(server, address.replace("[::]:", f"{host}:")))  # type: ignore[no-untyped-call]

    tls_utils.add_port_to_grpc_server = add_one_address


def be_rays_worker() -> None:
    """By the command line in sys.argv. Returns when the worker ends."""
    from ray._private.workers import default_worker  # noqa: PLC0415 - likewise

    runpy.run_path(str(default_worker.__file__), run_name="__main__")


if __name__ == "__main__":
    del sys.path[0]  # this folder, which Python put there: its modules are not for the user's code to find
    from deployments.ray_internals.forking.client import forked

    if not forked(sys.argv, os.environ):
        bind_to_address()
        be_rays_worker()
