"""The graph: the one file that knows which deployments there are."""

# No `from __future__ import annotations` here: Serve reads the annotation of build_app's argument as it stands.
import hashlib

from ray.serve import Application

from deployments.composer import Composer
from deployments.encoder import EncoderDeployment
from deployments.ray_internals.steady_versions import steady
from deployments.shard import ShardDeployment
from recsys.config.platform import Platform

_LIVE = {"shards", "routing"}
"""`args` that running replicas do not go by: each version says for which shards it was built."""


class AppArgs(Platform):
    """`args` in the Serve config file."""


def build_app(args: AppArgs) -> Application:
    """Composer -> shard-0 … shard-S-1 and Encoder. Replica counts and tunables come from the config file.

    With another number of shards Serve starts or ends those deployments alone.
    """
    # As the plain class: a replica that unpickles AppArgs imports this file, and so every deployment's libraries.
    platform = Platform.model_validate(args.model_dump())
    version = hashlib.sha256(platform.model_dump_json(exclude=_LIVE).encode()).hexdigest()
    encoder = steady(EncoderDeployment.options(), version).bind(platform)
    shards = [
        steady(ShardDeployment.options(name=f"shard-{number}"), version).bind(number, platform, encoder)
        for number in range(args.shards)
    ]
    return steady(Composer.options(), version).bind(platform, encoder, shards)
