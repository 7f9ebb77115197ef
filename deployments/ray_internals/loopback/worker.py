"""What Ray's raylet starts as a worker: a fork becomes it, see `forking`. Else Ray's own worker, after one change that
must precede every import of Serve.

Each Serve replica listens for the others on `[::]:0` (ray/serve/_private/replica.py), and no setting changes that.
"""

from __future__ import annotations

import os
import runpy
import sys


def bind_to_loopback() -> None:
    """From now on, gRPC servers of this process that would listen on every interface listen on 127.0.0.1."""
    from ray._common import tls_utils  # noqa: PLC0415 - half a second, which a fork has behind it

    add_port = tls_utils.add_port_to_grpc_server

    def add_loopback_port(server: object, address: str) -> int:
        return int(add_port(server, address.replace("[::]:", "127.0.0.1:")))  # type: ignore[no-untyped-call]

    tls_utils.add_port_to_grpc_server = add_loopback_port


def be_rays_worker() -> None:
    """By the command line in sys.argv. Returns when the worker ends."""
    from ray._private.workers import default_worker  # noqa: PLC0415 - likewise

    runpy.run_path(str(default_worker.__file__), run_name="__main__")


if __name__ == "__main__":
    del sys.path[0]  # this folder, which Python put there: its modules are not for the user's code to find
    from deployments.ray_internals.forking.client import forked

    if not forked(sys.argv, os.environ):
        bind_to_loopback()
        be_rays_worker()
