"""MovieLens 100K, and the one real platform of a session, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

from deployments.machine.instance import instance_id
from deployments.machine.processes import instance_processes
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_for_serve
from recsys.config.platform import Ports
from recsys.data.movielens import Ml100k, fetch_ml100k
from tests.support import exports
from tests.support.live import REPOSITORY, Live, films, free_ports, local_config, ratings, recsys


@pytest.fixture(scope="session")
def data() -> Ml100k:
    """MovieLens 100K, kept between sessions: the second one downloads nothing."""
    return fetch_ml100k(REPOSITORY / "var" / "test-data", lambda _phase: None)


@pytest.fixture(scope="session")
def rated(data: Ml100k) -> dict[str, dict[str, float]]:
    return ratings(data)


@pytest.fixture(scope="session")
def film(data: Ml100k) -> dict[str, dict[str, Any]]:
    return films(data)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, data: Ml100k) -> Iterator[Live]:
    """All films, in two shards, and all 100,000 ratings; what the README's `recsys demo` gives."""
    folder: Path = tmp_path_factory.mktemp("live")
    ports = free_ports()
    # The budget is longer than in production: a test asks for complete answers on a machine that has other work.
    config = local_config(folder / "config.yaml", http_port=ports.pop("http"), data_dir=str(folder / "var"), budget_s=5)
    runtime = Runtime(folder / "var", Ports(**ports))
    try:
        with httpx.Client(trust_env=False, timeout=30) as http:
            yield _started(config, runtime, data, http)
    finally:
        stopped = runtime.down()
    assert stopped
    assert instance_processes(instance_id(folder / "var")) == []
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or ())]


def _started(config: Path, runtime: Runtime, data: Ml100k, http: httpx.Client) -> Live:
    exports.take(config.parent / "var")
    built = orjson.loads(recsys(config, "build", data.items_file, "--promote", "--json"))
    exports.keep(config.parent / "var")
    assert (built["items"], built["shards"], built["bad_rows"]) == (data.items, 2, 0)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "500")  # ms between two exports of spans; else 5,000
        instance = runtime.up(read_for_serve(config))
    http.base_url = httpx.URL(instance.api_url)
    live = Live(config, instance, runtime, data, http)
    sent = orjson.loads(live.recsys("import", "events", data.events_file, "--json"))
    counted = ("sent", "bad_rows", "duplicates", "too_old", "unknown_events")
    assert [sent[name] for name in counted] == [data.events, 0, 0, 0, 0]
    return live
