"""Deployments that go on while others of their application come and go.

Serve gives all deployments of an application one version, a hash of its `args`, and restarts every replica when that
changes: a shard more would restart the platform. Here a deployment has the version that it is given.
"""

from __future__ import annotations

import copy
from typing import ClassVar

from ray.serve import Deployment
from ray.serve._private.config import DeploymentConfig


def steady(deployment: Deployment, version: str) -> Deployment:
    """Return the deployment with a version of its own. Its replicas restart when that changes, and not with `args`."""

    class Steady(DeploymentConfig):
        own: ClassVar[str] = version

        def to_proto_bytes(self) -> bytes:
            """As it is handed to Serve's controller; Serve's own version was put in just before."""
            self.version = self.own
            return bytes(super().to_proto_bytes())  # type: ignore[no-untyped-call]

    own = deployment.options()
    own._deployment_config.__class__ = Steady  # noqa: SLF001 - Serve has no option for it
    return own


def handed_version(deployment: Deployment, application: str) -> str | None:
    """Return the version that Serve's controller is handed for a deployment. `application`: that of its application."""
    config = copy.deepcopy(deployment._deployment_config)  # noqa: SLF001 - as Serve's build does
    config.version = application
    return DeploymentConfig.from_proto_bytes(config.to_proto_bytes()).version  # type: ignore[no-untyped-call]
