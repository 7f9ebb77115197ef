"""The graph: the one file that knows which deployments there are."""

# No `from __future__ import annotations` here: Serve reads the annotation of build_app's argument as it stands.
from ray.serve import Application

from deployments.composer import Composer
from deployments.encoder import EncoderDeployment
from deployments.shard import ShardDeployment
from recsys.config.platform import Platform


class AppArgs(Platform):
    """`args` in the Serve config file."""


def build_app(args: AppArgs) -> Application:
    """Composer -> shard-0 … shard-S-1 and Encoder. Replica counts and tunables come from the config file."""
    # As the plain class: a replica that unpickles AppArgs imports this file, and so every deployment's libraries.
    platform = Platform.model_validate(args.model_dump())
    encoder = EncoderDeployment.bind(platform)
    shards = [
        ShardDeployment.options(name=f"shard-{number}").bind(number, platform, encoder) for number in range(args.shards)
    ]
    return Composer.bind(platform, encoder, shards)
