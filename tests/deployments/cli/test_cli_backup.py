"""recsys backup, backups, restore and export."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_config
from recsys.datatypes import Interaction, unknown_user
from recsys.state.connection import connect
from recsys.state.users import Counted, UserStore
from tests.support.command import HASHING, ITEMS, Recsys
from tests.support.live import local_config


def events_of(config: Path) -> dict[str, int]:
    """User -> events, of the embedded Valkey."""
    serve = read_config(config)

    async def count(url: str) -> dict[str, int]:
        async with connect(url, timeout_s=20) as redis:
            store = UserStore(redis, ttl_s=60, history=100)
            return {page[0].user_id: len(page) async for _, pages in store.everyone() for page in pages if page}

    with Runtime.of(serve).redis(serve) as url:
        return asyncio.run(count(url))


def add_events(config: Path) -> None:
    serve = read_config(config)

    async def add(url: str) -> None:
        async with connect(url, timeout_s=20) as redis:
            store = UserStore(redis, ttl_s=60, history=100)
            events = [Counted(Interaction(f"e{n}", "ann", str(n), "like", 1_760_000_000.0 + n), 1.0) for n in (1, 2)]
            await store.append({"ann": events}, "v", unknown_user(4))

    with Runtime.of(serve).redis(serve) as url:
        asyncio.run(add(url))


@pytest.fixture
def saved(recsys: Recsys, config: Path, films: Path, tmp_path: Path) -> Path:
    """A place with one backup of a platform that does not run."""
    assert recsys("build", films, "--promote").code == 0
    add_events(config)
    done = recsys("backup", tmp_path / "backups")
    assert done.code == 0, done.err
    assert "backup b2" in done.err
    assert "1 versions" in done.err
    assert f"restore it with: recsys restore {tmp_path / 'backups'}" in done.err
    return tmp_path / "backups"


def test_a_machine_that_lost_its_data_is_restored(recsys: Recsys, config: Path, saved: Path, tmp_path: Path) -> None:
    """With the same config file, and the embedded server started for it."""
    versions = recsys("versions", "--json").json
    looked = recsys("restore", saved, "--dry-run")
    assert looked.error().startswith("recsys: version ")
    shutil.rmtree(tmp_path / "var")
    looked = recsys("restore", saved, "--dry-run", "--json").json
    assert looked["dry_run"]
    assert not (tmp_path / "var" / "versions").exists()
    done = recsys("restore", saved)
    assert done.code == 0, done.err
    assert "start it with: recsys up" in done.err
    assert recsys("versions", "--json").json == versions
    assert events_of(config) == {"ann": 2}


def test_an_empty_machine_takes_the_config_file_of_the_backup(
    run: Recsys, config: Path, saved: Path, tmp_path: Path
) -> None:
    text = config.read_bytes()
    shutil.rmtree(tmp_path / "var")
    missing = tmp_path / "new" / "config.yaml"
    assert (
        "with --overwrite the backup's own config file"
        in run("restore", saved, "--overwrite", "--config", missing).error()
    )
    assert not missing.exists()
    done = run("restore", saved, "--config", missing, "--json")
    assert done.json["config"] == str(missing)
    assert missing.read_bytes() == text


def test_backups_are_listed_and_old_ones_go(recsys: Recsys, run: Recsys, saved: Path) -> None:
    planned = recsys("backup", saved, "--keep", "1", "--dry-run", "--json").json
    assert planned["removed"] == planned["backups"]
    [first] = run("backups", saved, "--json").json
    second = recsys("backup", saved, "--keep", "1", "--json").json
    assert second["removed"] == [first["backup"]]
    assert second["stored_files"] <= 1
    table = run("backups", saved)
    assert second["backup"] in table.out
    assert first["backup"] not in table.out


def test_a_half_restored_platform_does_not_start(recsys: Recsys, config: Path) -> None:
    home = read_config(config).platform.home()
    home.mkdir(parents=True, exist_ok=True)
    (home / "RESTORING").write_text("b1")
    assert "run the same `recsys restore` again" in recsys("up").error()


def test_what_is_exported_is_built_and_imported_again(recsys: Recsys, saved: Path, tmp_path: Path, run: Recsys) -> None:
    """The same items, and no text is encoded again."""
    planned = recsys("export", tmp_path / "out", "--dry-run").err
    assert "Nothing was changed." in planned
    done = recsys("export", tmp_path / "out", "--json").json
    assert (done["items"], done["users"], done["events"]) == (len(ITEMS), 1, 2)
    other = local_config(tmp_path / "other.yaml", data_dir=str(tmp_path / "other"), encoder=HASHING)
    looked = run("build", tmp_path / "out" / "items", "--config", other, "--dry-run", "--json").json
    assert (looked["items"], looked["texts"], looked["bad_rows"]) == (len(ITEMS), 0, 0)
    assert run("build", tmp_path / "out" / "items", "--config", other, "--promote").code == 0
    again = run("export", tmp_path / "again", "--config", other, "--json").json
    assert again["items"] == len(ITEMS)
    one, two = (tmp_path / name / "items" for name in ("out", "again"))
    first, second = (pq.read_table(folder).sort_by("item_id") for folder in (one, two))
    assert first.drop_columns(["vector"]) == second.drop_columns(["vector"])
    vectors = [np.stack(table.column("vector").to_pylist()) for table in (first, second)]
    np.testing.assert_allclose(*vectors, atol=1e-6)
    inspected = run("inspect", tmp_path / "out" / "events", "--config", other)
    assert inspected.code == 0
    assert orjson.loads(run("inspect", tmp_path / "out" / "events", "--config", other, "--json").out)
