"""Every setting, with unit, default and meaning beside it. A command reads its config file once, as one `Config`.

`Platform` is what the graph is built from (a change restarts the application). `Serving`, `ShardTuning` and
`EncoderTuning` change live: they are the `user_config` of the deployments in the Serve config file.
"""

from recsys.config.base import Settings
from recsys.config.encoder import Backend, EncoderSpec
from recsys.config.environment import KEYS_VARIABLE
from recsys.config.index import IndexSpec, engine_module, engine_names
from recsys.config.platform import REPLICA_PORTS, AttributeType, Platform, Ports, RoutingSpec
from recsys.config.scenarios import EventType, Scenario, Source
from recsys.config.security import Security
from recsys.config.serving import Limits, Serving, Tracing
from recsys.config.tuning import EncoderTuning, ShardTuning
from recsys.config.unattended import Rebuild, Retrain
from recsys.config.whole import Config

__all__ = [
    "KEYS_VARIABLE",
    "REPLICA_PORTS",
    "AttributeType",
    "Backend",
    "Config",
    "EncoderSpec",
    "EncoderTuning",
    "EventType",
    "IndexSpec",
    "Limits",
    "Platform",
    "Ports",
    "Rebuild",
    "Retrain",
    "RoutingSpec",
    "Scenario",
    "Security",
    "Serving",
    "Settings",
    "ShardTuning",
    "Source",
    "Tracing",
    "engine_module",
    "engine_names",
]
