"""A real Prometheus scrapes the real platform and finds every metric; the logs are JSON and keep secrets."""

from __future__ import annotations

import math
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml

from load_tests.chaos.halt import halted
from recsys.telemetry import METRICS
from tests.support.live import REPOSITORY, Live, event, eventually, free_ports

pytestmark = pytest.mark.cluster

BINARY = shutil.which("prometheus")
CONFIGS = REPOSITORY / "configs" / "prometheus"


@pytest.fixture(scope="module")
def prometheus(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """With the files of configs/prometheus, but for the port and a shorter interval."""
    if BINARY is None:
        pytest.skip("prometheus is not there: apt-get install prometheus")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    known = yaml.safe_load((CONFIGS / "prometheus.yml").read_text())
    known["global"] = {"scrape_interval": "3s", "evaluation_interval": "3s"}
    known["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{live.instance.ports.metrics}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(known))
    shutil.copy(CONFIGS / "rules.yml", folder)
    address = f"127.0.0.1:{free_ports()['http']}"
    command = [
        BINARY, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]  # fmt: skip
    with ExitStack() as stack:
        output = stack.enter_context((folder / "log").open("wb"))
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        client = stack.enter_context(httpx.Client(base_url=f"http://{address}", trust_env=False))
        assert eventually(lambda: _ready(client)), (folder / "log").read_text()
        yield client


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").is_success
    except httpx.HTTPError:
        return False


def query(prometheus: httpx.Client, expression: str) -> list[dict[str, Any]]:
    answer = prometheus.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


def use_everything(live: Live) -> None:
    """Something of each kind: answers and refusals, events twice, a new item, text, and a shard that is away."""
    once = event("metrics-user", "1")
    for _ in range(2):
        live.json("POST", "/v1/events", {"events": [once]})
    for user in range(1, 30):
        live.json("GET", f"/v1/users/{user}/recommendations")
    live.json("POST", "/v1/search", {"text": "a robot by the sea"})
    live.recommend("1", filter={"must": [{"key": "genres", "eq": "Comedy"}]})
    live.json("PUT", "/v1/items/metrics-item", {"title": "Measured", "text": "a film of rulers"}, wait="visible")
    live.json("DELETE", "/v1/items/metrics-item", wait="visible")
    assert live.http.get("/v1/items/no-such-item/similar").status_code == 404
    assert eventually(lambda: len(live.replicas("shard-1")) == 1)  # one that was scaled away may be on its way out
    [shard] = live.replicas("shard-1")
    with halted(shard):
        assert live.json("GET", "/v1/users/1/recommendations")["degraded"]


@pytest.mark.late  # some metrics are there a minute after the first request
def test_prometheus_finds_every_metric(live: Live, prometheus: httpx.Client) -> None:
    use_everything(live)

    def missing() -> set[str]:
        found = {sample["metric"]["__name__"] for sample in query(prometheus, '{__name__=~"recsys_.+"}')}
        expected = {f"{n}_bucket" if m.kind == "histogram" else n for n, m in METRICS.items()}
        return expected - found

    assert eventually(lambda: not missing()), missing()
    for sample in query(prometheus, '{__name__=~"recsys_.+"}'):
        labels = sample["metric"]
        name = labels["__name__"]
        known = METRICS.get(name) or METRICS[name.rpartition("_")[0]]
        said = labels.keys() - {"__name__", "le", "instance", "job", "NodeAddress"}
        empty = {"variant"} & {*known.labels}  # no experiment runs, and to Prometheus an empty label is none
        assert said | empty == {"deployment", "replica", "application", *known.labels}, sample


def test_what_prometheus_says_is_what_was_done(live: Live, prometheus: httpx.Client) -> None:
    def value(expression: str) -> float:
        """0 while there is none: after a scrape that a busy machine did not answer in time, series are away."""
        return sum(float(sample["value"][1]) for sample in query(prometheus, expression))

    def slates() -> float:
        return value("sum(recsys_slates_total)")

    def batched() -> float:
        return value('sum(recsys_batch_requests_sum{queue="recommend"})')

    before, batched_before = eventually(slates), eventually(batched)
    assert before
    assert batched_before
    for user in range(1, 21):
        live.json("GET", f"/v1/users/{user}/recommendations")
    assert eventually(lambda: slates() >= before + 20), (before, slates())
    assert eventually(lambda: batched() >= batched_before + 20), (batched_before, batched())

    def items() -> float:
        return value("sum(max by (deployment) (recsys_items))")

    assert eventually(lambda: items() == live.status()["items"]), (items(), live.status()["items"])

    def versions() -> set[str]:
        serving = query(prometheus, 'recsys_version_info{deployment="Composer"} == 1')
        return {sample["metric"]["version"] for sample in serving}

    assert eventually(lambda: versions() == {live.status()["index_version"]}), (versions(), live.status())
    forgetting = 'recsys_background_errors_total{deployment="Composer", task="forget"}'
    assert eventually(lambda: query(prometheus, forgetting))  # the loop by which erased users leave the memory
    for sample in query(prometheus, "recsys_recall_ratio"):
        assert 0.9 < float(sample["value"][1]) <= 1.0


def test_a_histogram_has_all_its_parts(live: Live, prometheus: httpx.Client) -> None:
    own = 'deployment="Composer", queue="recommend"'
    live.recommend("1")
    assert eventually(lambda: query(prometheus, f"recsys_answer_seconds_count{{{own}}} > 0"))
    name = f"recsys_answer_seconds_bucket{{{own}}}"
    found = {s["metric"]["le"]: float(s["value"][1]) for s in query(prometheus, f"sum by (le) ({name})")}
    edges = sorted(found, key=float)
    assert [float(edge) for edge in edges] == [*METRICS["recsys_answer_seconds"].buckets, math.inf]
    within = [found[edge] for edge in edges]
    assert within == sorted(within)
    [high] = query(prometheus, f"histogram_quantile(1, sum by (le) ({name}))")
    [mean] = query(prometheus, f"sum(recsys_answer_seconds_sum{{{own}}}) / sum(recsys_answer_seconds_count{{{own}}})")
    assert 0 < float(mean["value"][1]) <= float(high["value"][1])


def test_no_rule_fails_and_the_recorded_ones_have_values(live: Live, prometheus: httpx.Client) -> None:
    groups = prometheus.get("/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == sum(
        len(group["rules"]) for group in yaml.safe_load((CONFIGS / "rules.yml").read_text())["groups"]
    )
    assert [rule for rule in rules if rule.get("lastError")] == []
    assert eventually(lambda: query(prometheus, "recsys:answer_seconds:p99"))


def test_the_logs_are_json_and_hold_nothing_of_a_request(live: Live) -> None:
    secret = f"secret-{uuid.uuid4().hex}"
    live.json("POST", "/v1/events", {"events": [event(secret, "1")]})
    live.json("POST", "/v1/search", {"text": secret, "user_id": secret})
    live.json("GET", f"/v1/users/{secret}/recommendations")
    live.http.get(f"/v1/users/{secret}/recommendations", params={"k": secret})
    live.http.post("/v1/events", json={"events": [{"user_id": secret, "item_id": "1", "type": secret}]})
    logs = live.instance.ray_logs
    for file in (file for file in logs.rglob("*") if file.is_file() and not file.is_symlink()):
        assert secret.encode() not in file.read_bytes(), file
    # A last line without an end is still being written.
    written = [file.read_bytes().rpartition(b"\n")[0] for file in (logs / "serve").glob("replica_*.log")]
    lines = [orjson.loads(line) for text in written for line in text.splitlines()]
    assert {line["deployment"] for line in lines} >= {f"recsys_{name}" for name in ("Composer", "shard-0", "shard-1")}
    assert all({"levelname", "asctime", "message", "replica"} <= line.keys() for line in lines)
    version = live.status()["index_version"]
    assert f"serving version {version}" in {
        line["message"] for line in lines if line["deployment"] == "recsys_Composer"
    }
