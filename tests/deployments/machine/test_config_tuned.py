"""What `recsys tune` chose stands in the config file, and all that people wrote there stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from deployments.machine.config_tuned import tuned, write_tuned
from deployments.machine.serve_config import read_config
from recsys.config.index import IndexSpec
from recsys.errors import BadInput
from tests.support.live import LOCAL


def comments(text: str) -> list[str]:
    return [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(LOCAL, tmp_path / "config.yaml"))


def test_index_and_ef_search_of_every_shard_are_written(file):
    """The config reads back as what was chosen; no comment of another setting is lost."""
    before = file.read_text()
    spec = IndexSpec.of("hnsw_int8", m=32, ef_construction=400, originals="float16")
    write_tuned(file, spec, 96)
    config = read_config(file)
    assert config.platform.index == spec
    assert config.tuning.ef_search == 96
    assert set(comments(before)) == set(comments(file.read_text()))
    for entry in yaml.safe_load(file.read_text())["applications"][0]["deployments"]:
        if entry["name"].startswith("shard-"):
            assert entry["user_config"]["ef_search"] == 96
    assert file.stat().st_mode == LOCAL.stat().st_mode


def test_settings_of_another_engine_are_taken_out(file):
    """Exact search has no links; a factory string has its own limit."""
    write_tuned(file, IndexSpec.of("flat"), 64)
    assert read_config(file).platform.index == IndexSpec.of("flat")
    assert "m:" not in file.read_text().partition("index:")[2].partition("attributes:")[0]
    write_tuned(file, IndexSpec.of("faiss:IVF64,SQ8", originals="none"), 16)
    assert read_config(file).platform.index == IndexSpec.of("faiss:IVF64,SQ8", originals="none")


def test_a_file_that_names_no_index_gets_one():
    text = "applications:\n  - import_path: x:y\n    args: {}\n    deployments:\n      - name: shard-0\n"
    found = yaml.safe_load(tuned(text, IndexSpec.of("hnsw_int8"), 50))["applications"][0]
    assert found["args"]["index"] == {"engine": "hnsw_int8"}
    assert found["deployments"][0]["user_config"] == {"ef_search": 50}


def test_a_file_that_would_be_wrong_stays_as_it_is(file):
    """As one that is wrong already elsewhere."""
    file.write_text(file.read_text().replace("shards: 2 ", "shards: -2 "))
    before = file.read_text()
    with pytest.raises(BadInput, match=r"args\.shards"):
        write_tuned(file, IndexSpec.of("flat"), 64)
    assert file.read_text() == before
