"""A Ray that a job starts for itself alone has what computes, and nothing that watches over clusters.

`ray.init` also starts the autoscaler's monitor, a reader of log files for a driver that prints them, and, where no
dashboard is wanted, its process with the one module for usage statistics. Each is a Python that imports Ray: together
over two seconds of CPU for each such job, on which nothing depends.
"""

from __future__ import annotations

from typing import Any


def without_watchers() -> None:
    """From now on a node that this process starts goes without them."""
    from ray._private.node import Node  # noqa: PLC0415 - as the other changes of Ray

    node: Any = Node
    node.start_monitor = node.start_log_monitor = _nothing
    node.start_api_server = _nothing


def _nothing(_self: Any, **_given: Any) -> None:
    pass
