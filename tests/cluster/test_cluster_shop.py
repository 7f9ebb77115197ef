"""A shop that nobody prepared: from its files to recommendations by typing what the commands say, on a platform of its
own.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from recsys.config.platform import Ports
from tests.support import exports
from tests.support.live import COMMAND, free_ports, local_config
from tests.support.shop import COLORS, write_clicks, write_other_events, write_products

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PRODUCTS = 300

Typed = Callable[[str], str]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    exports.take(tmp_path / "var")
    ports = free_ports()
    own = {use: ports[use] for use in Ports.model_fields}
    # The budget is longer than in production: a test asks for complete answers on a machine that has other work.
    return local_config(
        tmp_path / "config.yaml", http_port=ports["http"], ports=own, data_dir=str(tmp_path / "var"), budget_s=5
    )


@pytest.fixture
def typed(tmp_path: Path, config: Path) -> Iterator[Typed]:
    """What a line that begins with `recsys` prints for people, out and error; each must succeed."""

    def run(line: str) -> str:
        name, *words = shlex.split(line)
        assert name == "recsys"
        done = subprocess.run(
            [*COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    yield run
    run(f"recsys down --config {config}")


def test_from_files_to_recommendations_by_typing_what_is_said(tmp_path: Path, config: Path, typed: Typed) -> None:
    """Five commands, the last of which asks for recommendations; between them the block of attributes is pasted."""
    files = [write_products(tmp_path, PRODUCTS), write_clicks(tmp_path, PRODUCTS)]
    files += write_other_events(tmp_path, PRODUCTS)
    told = typed(shlex.join(["recsys", "inspect", *map(str, files), "--config", str(config)]))

    block, steps = told.split("\nThen:\n")
    settings = yaml.safe_load(config.read_text())
    pasted = yaml.safe_load(block.rpartition("before you build:\n")[2])
    settings["applications"][0]["args"].setdefault("attributes", {}).update(pasted)
    config.write_text(yaml.safe_dump(settings))
    commands = [line.strip() for line in steps.splitlines()]
    assert [" ".join(line.split()[1:3]).split(" /")[0] for line in commands] == [
        "build",
        "up --config",
        "import events",
    ]

    printed = [typed(line) for line in commands]
    assert f"{PRODUCTS} items" in printed[0]
    assert "no platform runs here, start one that serves it with: recsys up" in printed[0]
    assert f"{40 * (8 + 1 + 3 + 1)} sent, 0 bad rows" in printed[2]

    [asked] = re.findall(r"what one of them gets: (curl .+)", printed[2])
    url = httpx.URL(shlex.split(asked)[-1])
    with httpx.Client(trust_env=False, timeout=30) as http:
        answer = http.get(url).json()
        assert answer["degraded"] == []
        assert len(answer["items"]) == 10
        assert all(1000 <= int(item["item_id"]) < 1000 + PRODUCTS for item in answer["items"])
        user = url.path.split("/")[-2]
        history = http.get(url.copy_with(path=f"/v1/users/{user}")).json()
        # One person in four spellings and dialects.
        assert history["events"] == 8 + 1 + 3 + 1
        wanted = {"must": [{"key": "details_color", "eq": COLORS[1]}, {"key": "details_price", "lt": 3000}]}
        body = {"user_id": user, "k": 5, "filter": {**wanted, "must_not": [{"key": "available", "eq": False}]}}
        filtered = http.post(url.copy_with(path="/v1/recommendations"), json=body).json()["items"]
    assert len(filtered) == 5
    for item in filtered:
        number = int(item["item_id"]) - 1000
        assert (number % 3, number % 9 + 1 < 3, number % 4 > 0) == (1, True, True)
