"""The head's HAProxy reports that it goes: `python -m deployments.ray_internals.head_entrance CONTROL_STORE ACTOR`.

Serve drains the HAProxy of a machine that is drained, but never the head's, where it always wants one. A load balancer
would find out by a connection that is refused. This asks the same of the head's as Serve of the others': from then on
its health check fails, while it still answers.
"""

from __future__ import annotations

import logging
import sys

import ray
from ray.serve._private.constants import SERVE_NAMESPACE

_ANSWER_S = 30.0


def main() -> None:
    control_store, actor = sys.argv[1:]
    here = control_store.rpartition(":")[0]
    ray.init(
        control_store,
        namespace=SERVE_NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address=here,
    )
    ray.get(ray.get_actor(actor).update_draining.remote(draining=True), timeout=_ANSWER_S)


if __name__ == "__main__":
    main()
