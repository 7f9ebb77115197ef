"""What the graph is built from. `recsys apply` changes `shards` and `routing` live; any other change takes a start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, model_validator

from recsys.config import environment
from recsys.config.base import Name, Settings
from recsys.config.encoder import EncoderSpec
from recsys.config.index import IndexSpec

AttributeType = Literal["keyword", "keyword[]", "number", "boolean", "datetime", "date"]


class RoutingSpec(Settings):
    """Which shard owns an item."""

    by: Literal["hash", "attribute"] = "hash"
    """`hash` of the item id spreads evenly; `attribute` keeps one value (a language, say) in one shard."""
    attribute: str | None = None
    """The keyword attribute that routes; needed with `by: attribute`, ignored otherwise."""
    placed: dict[str, Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]] = Field(default_factory=dict)
    """Value of the attribute -> the numbers of the shards that hold its items: several for a value that most items
    have, the same one for several small values. A value that is not named has one shard, which its hash chooses.
    `recsys partition` proposes it from what the items are. None is needed for values of about the same size."""

    @model_validator(mode="after")
    def _attribute_is_named(self) -> RoutingSpec:
        if self.by == "attribute" and not self.attribute:
            raise ValueError("routing.attribute: name the keyword attribute to route by, or set by: hash")
        return self


REPLICA_PORTS = 1000


Port = Annotated[int, Field(ge=1, le=65535)]


class Ports(Settings):
    """TCP ports on 127.0.0.1, beside the API's own, `http_options.port`. Each platform on a machine needs its own."""

    dashboard: Port = 8265
    """Ray's dashboard, REST and job API."""
    gcs: Port = 6385
    """Ray's control store; Ray's own choice, 6379, is Redis's."""
    metrics: Port = 9464
    """Prometheus metrics of Ray, Serve and ours."""
    dashboard_metrics: Port = 9465
    """Prometheus metrics of the dashboard itself. Ray's own choice, 44227, is one that the system gives to clients."""
    haproxy_stats: Port = 8404
    """HAProxy's statistics page."""
    haproxy_metrics: Port = 9101
    """HAProxy's own Prometheus metrics."""
    fallback: Port = 8500
    """Serve's Python proxy, which HAProxy asks while no replica is up."""
    replicas: Annotated[int, Field(ge=1, le=65535 - REPLICA_PORTS)] = 30000
    """The first of a thousand that the replicas of the Composer take, one each."""


class Platform(Settings):
    """The `args` of the application in the Serve config file."""

    data_dir: Path = Path("var")
    """Folder of versions, sockets, logs; a relative one is taken from $RECSYS_HOME, else the working folder."""
    redis_url: str | None = None
    """`redis://…`, `rediss://…`, `unix://…` or `sentinel://…`, see `state/redis_url.py`; None: $RECSYS_REDIS_URL,
    where a password belongs, and without that the embedded Valkey that `recsys up` starts in `data_dir`."""
    redis_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "recsys"
    """What all keys in Redis begin with, before a colon. Two platforms that share a database need two. A change leaves
    what was written under the old one where it is, unread."""
    versions_url: str | None = None
    """An object store for the versions, as fsspec names it (`s3://bucket/folder`); None: `versions` in `data_dir`.
    Replicas read it through copies in `versions-cache` in `data_dir`, which then need not be shared by the nodes."""
    keep_versions: int = Field(3, ge=1, le=100)
    """Versions kept for rollback, the served one among them; older ones and their part of the log are removed."""
    ports: Ports = Ports()
    """Of what `recsys up` starts beside the API. Ray's agents and workers take whatever ports are free."""
    appendfsync: Literal["everysec", "always"] = "everysec"
    """When the embedded Valkey forces its file to the disk: `always` before it answers, so that not even a power
    failure loses an acknowledged write; `everysec` once a second. A Redis of your own has its own setting."""
    shards: int = Field(2, ge=1, le=1024)
    """Index shards, each a deployment of its own named shard-0, shard-1, …"""
    routing: RoutingSpec = RoutingSpec()
    encoder: EncoderSpec = EncoderSpec()
    index: SerializeAsAny[IndexSpec] = Field(default_factory=IndexSpec.of)
    attributes: dict[Name, AttributeType] = Field(default_factory=dict)
    """Declared attributes of items: what filters may name. Undeclared ones are refused."""
    user_attributes: dict[Name, AttributeType] = Field(default_factory=dict)
    """Declared attributes of users, which filters may compare items with."""
    context: dict[Name, AttributeType] = Field(default_factory=dict)
    """What reads may say of their moment (device, country, hour), for filters as well."""

    @model_validator(mode="after")
    def _routes_by_a_keyword(self) -> Platform:
        key = self.routing.attribute
        if self.routing.by == "attribute" and key is not None and self.attributes.get(key) != "keyword":
            raise ValueError(f"routing.attribute: {key!r} must be declared under attributes as keyword")
        for value, shards in self.routing.placed.items():
            if max(shards) >= self.shards or len(set(shards)) < len(shards):
                raise ValueError(
                    f"routing.placed: {value!r} is in shards {shards}; name different ones from 0 to {self.shards - 1}"
                )
        return self

    def home(self) -> Path:
        """`data_dir`, absolute."""
        return (environment.home() / self.data_dir).resolve()

    def external_redis(self) -> str | None:
        """The Redis that someone else runs; None: there is none, or in a replica, none is known."""
        return self.redis_url or environment.redis_url()

    def redis(self) -> str:
        """Where Redis is: see `redis_url`. ValueError when nothing says it."""
        url = self.external_redis()
        if not url:
            raise ValueError("redis_url is unset and no embedded server runs: set it, or start with `recsys up`")
        return url
