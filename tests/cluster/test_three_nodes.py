"""Three machines, each in a network namespace of its own: one cluster of `configs/production.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations
from pathlib import Path

import httpx
import orjson
import psutil
import pytest
from redis.asyncio import Redis

from load_tests.chaos.cluster_stage import ClusterStage
from load_tests.chaos.stage import eventually
from recsys.errors import Unavailable
from recsys.state.connection import connect
from recsys.state.membership import ShardMember
from recsys.state.presence import everyone, secret
from recsys.transport import wire
from recsys.transport.channel import Channel
from recsys.transport.encryption import leaves_the_machine
from tests.support.live import event, ids
from tests.support.three_nodes import three_nodes
from tests.support.world import eventually as soon

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterStage]:
    with three_nodes(tmp_path_factory.mktemp("three-nodes")) as stage:
        yield stage


@pytest.fixture
def nodes(cluster: ClusterStage) -> Iterator[list[httpx.Client]]:
    """A client of each machine's entrance."""
    clients = [httpx.Client(base_url=cluster.api(number), timeout=30, trust_env=False) for number in range(3)]
    yield clients
    for client in clients:
        client.close()


def test_every_machine_takes_writes_that_the_others_show(nodes: list[httpx.Client]) -> None:
    """An item that one machine takes is found by the others, and an event counts in the very next answer of another."""
    for writer, reader in permutations(range(3), 2):
        item = f"new-{writer}-{reader}"
        put = nodes[writer].put(f"/v1/items/{item}", json={"title": f"comet {item}"}, params={"wait": "visible"})
        assert put.status_code == 200, put.text
        found = nodes[reader].post("/v1/search", json={"text": f"comet {item}", "k": 5}).raise_for_status().json()
        assert item in ids(found["items"])
        user = f"user-{writer}-{reader}"
        sent = nodes[writer].post("/v1/events", json={"events": [event(user, "7")]}).raise_for_status().json()
        assert sent["accepted"] == 1
        slate = nodes[reader].get(f"/v1/users/{user}/recommendations", params={"k": 50}).raise_for_status().json()
        assert slate["items"]
        assert "7" not in ids(slate["items"])


def test_no_machine_has_two_replicas_of_a_shard(cluster: ClusterStage) -> None:
    """So no machine's end takes a whole shard away."""
    places = cluster.places()
    for shard in ("shard-0", "shard-1"):
        assert len(set(places[shard])) == len(places[shard]) == 2
    assert len(set(places["Composer"])) > 1


async def test_composers_reach_the_shards_over_tls(cluster: ClusterStage) -> None:
    """Each replica has a channel at its machine's address, which answers who knows the secret, over TLS."""
    redis: Redis = connect(cluster.redis.args["redis_url"])
    addresses = [m.address for m in await everyone(redis) if isinstance(m, ShardMember)]
    assert len(addresses) == 4
    assert {a.rpartition(":")[0] for a in addresses if a} <= set(cluster.network.addresses)
    for address in addresses:
        assert address is not None
        assert leaves_the_machine(address.rpartition(":")[0])
        line = Channel(address, await secret(redis))
        with pytest.raises(Unavailable, match="unknown"):
            await line.call(wire.ITEMS, wire.encode(wire.Lookup("unknown", ["1"])))
        line.close()
    # Over TLS an end says goodbye, and is there until the other one has.
    assert await soon(lambda: not connected(addresses))
    await redis.aclose()


def connected(addresses: Iterable[str | None]) -> list[object]:
    """Connections of this process to one of these addresses."""
    every = psutil.Process().net_connections("tcp")
    return [one for one in every if one.raddr and f"{one.raddr.ip}:{one.raddr.port}" in addresses]


def test_batch_jobs_run_on_the_cluster(cluster: ClusterStage, tmp_path: Path) -> None:
    """Texts are encoded and shards indexed by workers of the cluster, and what comes of it is served."""
    head = f"{cluster.network.addresses[0]}:6385"
    folder = tmp_path / "embedded"
    done = orjson.loads(cluster.recsys("embed", cluster.items, "--out", folder, "--address", head, "--json", on=0))
    assert (done["encoded"], done["bad_rows"]) == (200, 0)
    built = orjson.loads(cluster.recsys("build", folder, "--address", head, "--promote", "--json", on=0))
    assert built["items"] == 200
    assert eventually(lambda: status(cluster)["index_version"] == built["version"], 180)


def test_what_was_learned_is_indexed_by_the_cluster_and_served(cluster: ClusterStage, tmp_path: Path) -> None:
    """A training on a machine that is not the head, whose shards are tasks of the cluster."""
    likes = [
        {"event_id": f"{user}-{n}", "user_id": f"reader {user}", "item_id": str(40 * (user % 5) + (user + 7 * n) % 40),
         "type": "like", "timestamp": 1_700_000_000 + 100 * n + user}
        for user in range(60) for n in range(12)
    ]  # fmt: skip
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"\n".join(map(orjson.dumps, likes)))
    head = f"{cluster.network.addresses[0]}:6385"
    learned = orjson.loads(
        cluster.recsys("train", events, "--no-trees", "--address", head, "--promote", "--json", on=1)
    )
    assert (learned["promoted"], learned["card"]["users"]) == (True, 60)
    assert eventually(lambda: status(cluster)["index_version"] == learned["version"], 180)
    assert str(status(cluster)["model_version"]).startswith("learned")


def test_a_machine_that_is_drained_is_missed_by_nobody(cluster: ClusterStage) -> None:
    """Its replicas are replaced before they stop; when it comes back it takes part again."""
    machine = cluster.machines[2]
    machine.node("drain", "--within", "60")  # its composer waits for all of it: each other machine has one already
    assert machine.address not in {address for addresses in cluster.places().values() for address in addresses}
    machine.down()
    assert machine.processes() == []
    assert not status(cluster)["degraded"]
    assert eventually(lambda: replicas_of_shards(cluster) == [2, 2], 180, 1.0)
    machine.revive()
    assert eventually(lambda: cluster.alive() == 3, 180, 1.0)


def replicas_of_shards(cluster: ClusterStage) -> list[int]:
    places = cluster.places()
    return [len(places[shard]) for shard in ("shard-0", "shard-1")]


def status(cluster: ClusterStage) -> dict[str, object]:
    return dict(httpx.get(f"{cluster.url}/v1/status", timeout=30, trust_env=False).raise_for_status().json())
