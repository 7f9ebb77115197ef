"""The connection to Redis.

A failover makes another server the primary. Two signs of it are handled here, so that no process has to be restarted:
a connection that breaks, and a connection that still leads to the server of before, which now refuses writes.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self, TypeVar, cast

import redis as blocking
from redis._parsers.encoders import Encoder
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis's own is meant
    MasterDownError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry as BlockingRetry
from redis.sentinel import Sentinel as BlockingSentinel

from recsys.state.packing import packing
from recsys.state.redis_keys import DEFAULT_PREFIX, Key
from recsys.state.redis_url import SentinelUrl, sentinel_url
from recsys.state.sentinels import Sentinels
from recsys.state.shared_connection import SharedConnection

T = TypeVar("T")

_NOT_THIS_SERVER = (ReadOnlyError, MasterDownError, ClusterDownError, TryAgainError)
"""What a server answers that is not the primary, or not yet. LOADING is one of redis-py's ConnectionErrors."""
_IN_OTHER_WORDS = ("-READONLY", "UNBLOCKED")
"""Redis 6.2 wraps a READONLY within a script into its own error; UNBLOCKED ends a blocking read of a demoted server."""


def connect(url: str, timeout_s: float = 2.0, *, prefix: str = DEFAULT_PREFIX) -> Client:
    """A pool of connections, opened when used; an answer later than `timeout_s` raises redis TimeoutError.

    `url`: see `redis_url.py`. `prefix`: what each `Key` of `redis_keys.py` begins with, `Platform.redis_prefix`.
    A command is tried once more, at once and over a new connection, when its connection is dead, and when the server
    says that it is not the primary. In the second case all other connections are closed as well: they lead to the same
    server, and reads over them would miss what was just written.

    RESP2 keeps the parsing in hiredis, and the shape of answers the same on old and new servers.
    """
    options = _options(timeout_s) | {"encoder_class": partial(_Prefixing, f"{prefix}:".encode())}
    once = _OnceMore()
    named = sentinel_url(url)
    client: Client
    if named is None:
        client = cast(Client, Client.from_url(url, retry=once, **options))
    else:
        to_sentinels = _options(timeout_s) | {"retry": _once()} | named.sentinel
        manager: Any = Sentinels(named.sentinels, sentinel_kwargs=to_sentinels)  # type: ignore[no-untyped-call]
        client = manager.master_for(named.service, redis_class=_Named, **{**options, "retry": once, **named.server})
    pool = client.connection_pool
    pool.connection_class = packing(pool.connection_class)
    once.watch(pool)
    return client


def connect_blocking(url: str, timeout_s: float = 5.0) -> blocking.Redis:
    """A client for code without an event loop, such as a command's checks. No command is tried twice."""
    options = _options(timeout_s)
    named = sentinel_url(url)
    never = BlockingRetry(NoBackoff(), 0)
    if named is None:
        return blocking.Redis.from_url(url, retry=never, **options)
    return _blocking_primary(named, options | {"retry": never})


def _blocking_primary(named: SentinelUrl, options: dict[str, Any]) -> blocking.Redis:
    manager: Any = BlockingSentinel(named.sentinels, sentinel_kwargs=options | named.sentinel)  # type: ignore[no-untyped-call]
    client: blocking.Redis = manager.master_for(named.service, **(options | named.server))
    return client


class _Prefixing(Encoder):
    """Writes the platform's prefix in front of each `Key`, and of nothing else: values may be any string."""

    def __init__(self, prefix: bytes, *options: Any, **named: Any) -> None:
        super().__init__(*options, **named)  # type: ignore[no-untyped-call]
        self._prefix = prefix

    def encode(self, value: Any) -> Any:
        if type(value) is Key:
            return self._prefix + value.encode()
        if type(value) is bytes:
            return value
        return super().encode(value)  # type: ignore[no-untyped-call]


class Client(Redis):
    """A client whose reads of many keys share a connection, and so do its small trips, see `shared_connection.py`."""

    _reads: SharedConnection | None = None
    _trips: SharedConnection | None = None

    async def mget(self, keys: Any, *args: Any) -> Any:
        """As redis-py's, which tries again what has failed here."""
        if self._reads is None:
            self._reads = SharedConnection(self.connection_pool)
        try:
            [values] = await self._reads.call([("MGET", *keys, *args)])
        except (ConnectionError, ResponseError):
            return await super().mget(keys, *args)
        return values

    async def trip(self, commands: Sequence[Iterable[Any]]) -> list[Any]:
        """The replies to the commands, as the server sends them; see `SharedConnection.call`. Reads do not wait for it.

        Those of other callers behind them do wait: many or large commands belong into a pipeline.
        """
        if self._trips is None:
            self._trips = SharedConnection(self.connection_pool)
        return await self._trips.call(commands)


async def ask(redis: Redis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The replies to a few commands that only read, as the server sends them: see `Client.trip`, made again over a
    connection of its own where that fails. Raises RedisError, of several the first.
    """
    if isinstance(redis, Client):
        with suppress(ConnectionError, ResponseError):
            return await redis.trip(commands)
    pipe = redis.pipeline(transaction=False)
    for name, *args in commands:
        pipe.execute_command(name.encode(), *args)  # redis-py makes something else of the replies to a str
    return list(await pipe.execute())


class _Named(Client):
    """A client of the primary that Sentinels name. Closing it closes the connections to the Sentinels, too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        pool: Any = self.connection_pool
        await pool.sentinel_manager.aclose()


def _options(timeout_s: float) -> dict[str, Any]:
    times = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    # Told nothing of this program: that is a round trip for each connection, and nobody reads it.
    return times | {"protocol": 2, "driver_info": None}


def _once() -> Retry:
    return Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))


class _OnceMore(Retry):
    """Retry policy: once more, where another connection may get another answer.

    redis-py copies a pool's policy for each of its connections, and does not give the policy its pool. This policy
    stays one object, and `watch` gives it the pool.
    """

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 1, supported_errors=(ConnectionError, ResponseError))
        self._pool: weakref.ref[ConnectionPool] | None = None

    def watch(self, pool: ConnectionPool) -> None:
        self._pool = weakref.ref(pool)

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        for attempt in (1, 2):
            try:
                return await do()
            except (ConnectionError, ResponseError) as error:
                if not _is_elsewhere(error) or (is_retryable is not None and not is_retryable(error)):
                    raise
                await (fail(error, attempt) if with_failure_count else fail(error))  # closes the connection
                if not isinstance(error, ConnectionError):
                    await self._leave_server()
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    async def _leave_server(self) -> None:
        """Close idle connections now, and those in use when they are free again."""
        pool: Any = None if self._pool is None else self._pool()
        if pool is not None:
            await pool.update_active_connections_for_reconnect()
            await pool.disconnect(inuse_connections=False)


def _is_elsewhere(error: Exception) -> bool:
    """Whether a new connection may get another answer: this one is dead, or its server is not the primary."""
    if isinstance(error, (ConnectionError, *_NOT_THIS_SERVER)):
        return True
    return isinstance(error, ResponseError) and any(words in str(error) for words in _IN_OTHER_WORDS)
