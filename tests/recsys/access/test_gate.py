from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import yaml

from recsys.access import token_bucket
from recsys.access.api_keys import new_key
from recsys.access.gate import Gate
from recsys.access.token_bucket import TokenBucket
from recsys.config.environment import KEYS_VARIABLE
from recsys.config.security import Security
from recsys.errors import BadInput, Forbidden, RateLimited, Unauthenticated
from tests.support.world import eventually

READ, READ_DIGEST = new_key()
WRITE, WRITE_DIGEST = new_key()


def write_keys(file: Path, **scopes: object) -> Security:
    """`name="digest scope…"`, or a whole entry."""
    entries = []
    for name, said in scopes.items():
        digest, *opens = said.split() if isinstance(said, str) else (said["sha256"], *said["scopes"])
        more = {} if isinstance(said, str) else {k: v for k, v in said.items() if k in ("rate", "burst")}
        entries.append({"name": name, "sha256": digest, "scopes": opens} | more)
    written = file.with_suffix(".new")
    written.write_text(yaml.safe_dump({"keys": entries}))
    written.chmod(0o600)
    written.replace(file)  # at once: the gate reads the file meanwhile
    return Security(keys_file=file, reload_s=0.02)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    return tmp_path / "keys.yaml"


@pytest.fixture
async def gate(file: Path) -> AsyncIterator[Gate]:
    gate = Gate()
    await gate.configure(write_keys(file, reader=f"{READ_DIGEST} read", writer=f"{WRITE_DIGEST} write"))
    gate.start()
    yield gate
    await gate.stop()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds on the bucket's clock."""
    clock = [1000.0]
    monkeypatch.setattr(token_bucket.time, "monotonic", lambda: clock[0])
    return clock


async def soon(test: Callable[[], bool]) -> bool:
    return bool(await eventually(test))


def opens(gate: Gate, key: str) -> bool:
    try:
        return gate.admit(key.encode(), "read") is not None
    except Unauthenticated:
        return False


async def test_without_keys_every_call_is_open(file: Path) -> None:
    gate = Gate()
    await gate.configure(Security())
    assert gate.open
    assert gate.admit(None, "admin") is None


def test_each_scope_opens_what_it_names_and_no_more(gate: Gate) -> None:
    assert gate.admit(READ.encode(), "read") == "reader"
    assert gate.admit(WRITE.encode(), "write") == "writer"
    for key, scope in ((READ, "write"), (READ, "admin"), (WRITE, "read"), (WRITE, "admin")):
        with pytest.raises(Forbidden, match=f"scope {scope}") as caught:
            gate.admit(key.encode(), scope)
        assert f'scope="{scope}"' in caught.value.challenge


@pytest.mark.parametrize(
    "presented",
    [None, b"", b"x", READ_DIGEST.encode(), READ.encode() + b" ", b"\xff\x00"],
    ids=["nothing", "empty", "short", "the digest", "longer", "no text"],
)
def test_what_is_no_key_opens_nothing(gate: Gate, presented: bytes | None) -> None:
    with pytest.raises(Unauthenticated):
        gate.admit(presented, "read")


async def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, f"keys: [{{name: a, sha256: {READ_DIGEST}, scopes: [read]}}]")
    gate = Gate()
    await gate.configure(Security())
    assert gate.admit(READ.encode(), "read") == "a"
    assert not opens(gate, WRITE)


async def test_the_file_is_read_again_when_it_changes(gate: Gate, file: Path) -> None:
    """Old and new together, then the new one alone: a rotation."""
    new, digest = new_key()
    write_keys(file, reader=f"{READ_DIGEST} read", reader2=f"{digest} read")
    assert await soon(lambda: opens(gate, new))
    assert opens(gate, READ)
    write_keys(file, reader2=f"{digest} read")
    assert await soon(lambda: not opens(gate, READ))
    assert opens(gate, new)


@pytest.mark.parametrize("spoil", ["remove", "garble", "open"])
async def test_a_file_that_is_spoilt_takes_no_key_away(
    gate: Gate, file: Path, spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a file, seen while an editor writes it, must not close the shop. It is said in the log, once."""
    {"remove": file.unlink, "garble": lambda: file.write_text("keys: ["), "open": lambda: file.chmod(0o644)}[spoil]()
    assert await soon(lambda: "stay valid" in caplog.text)
    await asyncio.sleep(0.1)
    assert caplog.text.count("stay valid") == 1
    assert opens(gate, READ)
    new, digest = new_key()
    write_keys(file, reader=f"{digest} read")
    assert await soon(lambda: opens(gate, new))


async def test_no_key_is_ever_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gate = Gate()
    await gate.configure(write_keys(file, reader=f"{READ_DIGEST} read"))
    with pytest.raises(Forbidden) as caught:
        gate.admit(READ.encode(), "write")
    assert "reader" in caplog.text
    for said in (caplog.text, str(caught.value)):
        assert READ not in said
        assert READ_DIGEST not in said


async def test_wrong_keys_are_refused_and_the_old_ones_stay(gate: Gate, file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        await gate.configure(Security(keys_file=tmp_path / "nowhere"))
    assert opens(gate, READ)


async def test_a_relative_file_lies_in_the_platforms_home(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    write_keys(file, reader=f"{READ_DIGEST} read")
    gate = Gate()
    await gate.configure(Security(keys_file=Path(file.name)))
    assert opens(gate, READ)


async def test_a_key_over_its_rate_is_told_when_to_come_back(file: Path, now: list[float]) -> None:
    gate = Gate()
    limited = {"sha256": READ_DIGEST, "scopes": ["read"], "rate": 0.5, "burst": 3}
    await gate.configure(write_keys(file, a=limited, b=f"{WRITE_DIGEST} read"))
    assert [gate.admit(READ.encode(), "read") for _ in range(3)] == ["a"] * 3
    with pytest.raises(RateLimited, match=r"a is over its 0\.5 requests/s") as caught:
        gate.admit(READ.encode(), "read")
    assert caught.value.retry_after_s == 2
    assert [gate.admit(WRITE.encode(), "read") for _ in range(100)] == ["b"] * 100
    now[0] += 2
    assert gate.admit(READ.encode(), "read") == "a"


async def test_a_call_counts_as_many_requests_as_it_answers(file: Path, now: list[float]) -> None:
    """What it takes beyond the rate is owed: the next call waits for it."""
    gate = Gate()
    limited = {"sha256": READ_DIGEST, "scopes": ["read"], "rate": 10, "burst": 5}
    await gate.configure(write_keys(file, a=limited))
    assert gate.admit(READ.encode(), "read") == "a"
    gate.charge("a", 99)
    gate.charge("nobody", 99)
    gate.charge(None, 99)
    with pytest.raises(RateLimited) as caught:
        gate.admit(READ.encode(), "read")
    assert caught.value.retry_after_s == 10
    now[0] += 9.7
    assert gate.admit(READ.encode(), "read") == "a"


async def test_composers_share_a_rate(file: Path, now: list[float]) -> None:
    gates = [Gate(lambda: 2) for _ in range(2)]
    security = write_keys(file, a={"sha256": READ_DIGEST, "scopes": ["read"], "rate": 10, "burst": 10})
    passed = 0
    for gate in gates:
        await gate.configure(security)
        for _ in range(20):
            try:
                passed += gate.admit(READ.encode(), "read") == "a"
            except RateLimited:
                continue
    assert passed == 10


async def test_rotating_another_key_does_not_refill_a_bucket(file: Path, now: list[float]) -> None:
    gate = Gate()
    limited = {"sha256": READ_DIGEST, "scopes": ["read"], "rate": 1, "burst": 1}
    await gate.configure(write_keys(file, a=limited))
    gate.admit(READ.encode(), "read")
    await gate.configure(write_keys(file, a=limited, b=f"{WRITE_DIGEST} read"))
    with pytest.raises(RateLimited):
        gate.admit(READ.encode(), "read")


def test_a_bucket_gives_its_rate_over_time(now: list[float]) -> None:
    """100 s at 10 requests/s, asked 50 times a second: the burst, and the rate."""
    bucket = TokenBucket(10, 5)
    passed = 0
    for _ in range(5000):
        passed += bucket.take() == 0.0
        now[0] += 0.02
    assert 1000 <= passed <= 1006


def test_a_rested_bucket_holds_no_more_than_its_burst(now: list[float]) -> None:
    bucket = TokenBucket(10, 5)
    now[0] += 1000
    assert [bucket.take() == 0.0 for _ in range(7)] == [True] * 5 + [False] * 2
