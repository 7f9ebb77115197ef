"""`recsys embed` on a Ray of its own: a run that is killed and gone on with, and what a build makes of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from deployments.batch.job_process import Cluster
from deployments.batch.ray_connection import connected
from deployments.machine.instance import instance_id
from deployments.machine.processes import instance_processes
from recsys.config.encoder import EncoderSpec
from recsys.data.parquet_folders import files_of
from recsys.data.vector_chunks import content_hash
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import RuntimeFailure
from recsys.routing import shard_of
from tests.support.live import COMMAND, REPOSITORY, eventually, local_config, recsys_here, refused_here
from tests.support.ports import free_port

HASHING = {"kind": "hashing", "dimension": 16}
CHUNKS = 8


def words(item_id: str) -> int:
    """Words of an item's text. The last two chunks take seconds each, so that a run can be killed before its end."""
    return 400 if shard_of(item_id, CHUNKS) >= CHUNKS - 2 else 30


def items() -> list[dict[str, str]]:
    return [
        {"item_id": i, "title": f"Film {i}", "text": " ".join(f"w{i}-{k}" for k in range(words(i)))}
        for i in (f"i{n}" for n in range(3000))
    ]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return local_config(tmp_path / "config.yaml", data_dir=str(tmp_path / "var"), encoder=HASHING)


def write(path: Path, items: list[dict[str, str]]) -> Path:
    path.write_bytes(b"\n".join(map(orjson.dumps, items)))
    return path


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_killed_run_goes_on_and_a_build_takes_the_vectors(config: Path, tmp_path: Path) -> None:
    """Ray, two workers and the command are real; kill -9 takes the command while chunks are being made."""
    source, out = write(tmp_path / "items.jsonl", items()), tmp_path / "out"
    arguments = ("embed", source, "--out", out, "--workers", "2", "--json")
    command = [*COMMAND, *map(str, arguments), "--config", str(config)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        assert eventually(lambda: list(out.glob("part-*.parquet")) or process.poll() is not None, 200, 0.1)
    finally:
        process.kill()
        process.wait()
    ray = instance_id(tmp_path / "var" / "batch")
    assert eventually(lambda: not instance_processes(ray)), "Ray outlived the command"
    finished = {path.name: pq.read_metadata(path).num_rows for path in out.glob("part-*.parquet")}
    assert finished
    assert len(finished) < CHUNKS, "it was killed too late to say anything"
    assert not (out / "_SUCCESS").exists()

    done = orjson.loads(recsys_here(config, *arguments))
    assert (done["items"], done["files"], done["bad_rows"], done["workers"]) == (3000, CHUNKS, 0, 2)
    assert (done["encoded"], done["kept"]) == (3000 - sum(finished.values()), sum(finished.values()))
    encoder = HashingEncoder(EncoderSpec.model_validate(HASHING))
    rows = [row for path in files_of([out]) for row in pq.read_table(path).to_pylist()]
    assert sorted(row["item_id"] for row in rows) == sorted(item["item_id"] for item in items())
    for row in rows[::500]:
        text = f"{row['title']}. {row['text']}"
        assert row["content_hash"] == content_hash(encoder.fingerprint, text)
        assert row["vector"] == pytest.approx(encoder.encode([text])[0].tolist())

    again = orjson.loads(recsys_here(config, *arguments))
    assert (again["encoded"], again["kept"]) == (0, 3000)
    built = orjson.loads(recsys_here(config, "build", out, "--json"))
    assert (built["items"], built["bad_rows"]) == (3000, 0)
    assert built["recall_at_10"] >= 0.95


def test_what_cannot_be_embedded_is_refused_before_ray_starts(config: Path, tmp_path: Path) -> None:
    said = refused_here(config, "embed", tmp_path / "nowhere.csv", "--out", tmp_path / "out")
    assert "nowhere.csv: No such file" in said
    assert not (tmp_path / "var" / "batch").exists()


def test_a_cluster_that_is_not_there_is_missed_at_once() -> None:
    """Ray itself would try for minutes."""
    address = f"127.0.0.1:{free_port()}"
    with (
        pytest.raises(RuntimeFailure, match=r"cannot be reached: .*refused"),
        connected(Cluster(address=address, cpus=1)),
    ):
        pytest.fail("it was reached")
