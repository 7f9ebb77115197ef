"""The first config of a Ray that has just started: `python -m deployments.ray_internals.first_deploy STORE NODE PID`.

PID is the raylet's. The config comes on the standard input, as JSON. A PUT to the dashboard would do the same, but the
dashboard would import Serve first, and wait for the proxies before it hands over the applications. Here a fork does it
that has Serve already, and proxies and replicas start at once. It prints DEPLOYED, or why not.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

from deployments.ray_internals.forking.client import forked

NAME = "deployments.ray_internals.first_deploy"
DEPLOYED = "deployed"


def deploy() -> None:
    """By the command line in sys.argv. Returns when Serve's controller has the config."""
    import ray  # noqa: PLC0415 - two seconds with Serve, which a fork has behind it
    from ray.serve._private.api import _create_controller_and_proxy_refs  # noqa: PLC0415 - likewise
    from ray.serve._private.constants import SERVE_NAMESPACE  # noqa: PLC0415 - likewise
    from ray.serve.config import ControllerOptions  # noqa: PLC0415 - likewise
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 - likewise

    control_store, node = sys.argv[1:3]
    try:
        config = ServeDeploySchema.model_validate(json.load(sys.stdin))
        ray.init(
            control_store,
            namespace=SERVE_NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address=node,
        )
        start: Any = _create_controller_and_proxy_refs
        controller, _ = start(
            config.http_options.model_dump(),
            config.grpc_options.model_dump(),
            config.logging_config,
            None,
            config.controller_options or ControllerOptions(),
            config.proxy_location,
        )
        ray.get(controller.apply_config.remote(config))
        ray.shutdown()
    except Exception as error:  # noqa: BLE001 - whoever asked tells it
        print(f"{type(error).__name__}: {error}", flush=True)  # noqa: T201
        return
    print(DEPLOYED, flush=True)  # noqa: T201


if __name__ == "__main__":
    del sys.path[0]  # the working folder
    if not forked([NAME, *sys.argv[1:]], {**os.environ, "RAY_RAYLET_PID": sys.argv[3]}):
        deploy()
