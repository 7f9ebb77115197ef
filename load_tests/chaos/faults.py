"""What is broken, and how: each fault does its harm, mends what nothing else mends, and returns."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from load_tests.chaos.data_path import DATA_PATH
from load_tests.chaos.halt import halted
from load_tests.chaos.stage import FaultFailed, Stage, eventually

_HANG_S = 5.0
_AWAY_S = 3.0


def kill_shard_replica(stage: Stage) -> None:
    stage.replicas("shard-0")[0].kill()


def kill_composer(stage: Stage) -> None:
    stage.replicas("Composer")[0].kill()


def kill_encoder(stage: Stage) -> None:
    stage.replicas("Encoder")[0].kill()


def kill_valkey(stage: Stage) -> None:
    """And start it again on its append-only file."""
    stage.processes("valkey")[0].kill()
    time.sleep(_AWAY_S)
    stage.start_valkey()


def kill_haproxy(stage: Stage) -> None:
    for process in stage.processes("haproxy"):
        if process.name().startswith("haproxy"):
            process.kill()


def kill_controller(stage: Stage) -> None:
    stage.processes("ray::ServeController")[0].kill()


def kill_all_replicas(stage: Stage) -> None:
    for process in stage.replicas(""):
        process.kill()


def hang_shard_replica(stage: Stage) -> None:
    process = stage.replicas("shard-1")[0]
    with halted(process):
        time.sleep(_HANG_S)


def hang_whole_shard(stage: Stage) -> None:
    with halted(*stage.replicas("shard-1")):
        time.sleep(_HANG_S)


def full_disk(stage: Stage) -> None:
    """A build that cannot write: no file may grow over a megabyte, as on a disk that is full."""
    before = stage.versions()
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({1 << 20}, {1 << 20}))"
    code = f"{limit}; from deployments.cli import main; main()"  # Python ignores the signal and gets the error
    command = [sys.executable, "-c", code, "build", str(stage.data / "items.jsonl"), "--config", str(stage.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=300)
    if done.returncode == 0 or "Traceback" in done.stderr:
        raise FaultFailed(f"a build on a full disk ended with {done.returncode}: {done.stderr[-500:]}")
    if stage.versions() != before:
        raise FaultFailed(f"a build that failed left a version: {before} became {stage.versions()}")


def corrupt_snapshot(stage: Stage) -> None:
    """One byte of a version's vectors changes before it is promoted: it must be refused, the live one stays."""
    live = stage.status()["index_version"]
    stage.recsys("build", stage.data / "items.jsonl")
    version = next(v for v in stage.versions() if v != live)
    path = next((stage.home / "versions" / version).rglob("vectors.npy"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    try:
        stage.recsys("promote", version)
    except subprocess.CalledProcessError:
        pass
    else:
        raise FaultFailed("a version with a changed file was promoted")
    if stage.status()["index_version"] != live:
        raise FaultFailed("the live version changed")
    shutil.rmtree(stage.home / "versions" / version)


def swap_versions(stage: Stage, times: int = 10) -> None:
    """A second version, then one and the other in turn."""
    first, second = stage.status()["index_version"], stage.another_version()
    for turn in range(times):
        wanted = (second, first)[turn % 2]
        stage.recsys("promote", wanted)
        if not eventually(partial(stage.serves, wanted), 60):
            raise FaultFailed(f"{wanted} was promoted and is not served after a minute")


def scale_shards(stage: Stage) -> None:
    """Up to three replicas and down to two again; sisters answer alike."""
    stage.scale(shard_0=3)
    if not eventually(lambda: stage.whole({"shard-0": 3}), 90):
        raise FaultFailed("the third replica of shard-0 is not there after 90 s")
    time.sleep(2)
    stage.scale()


Fault = Callable[[Stage], None]
FAULTS: dict[str, Fault] = {
    "shard replica killed": kill_shard_replica,
    "composer killed": kill_composer,
    "encoder killed": kill_encoder,
    "Valkey killed": kill_valkey,
    "HAProxy killed": kill_haproxy,
    "Serve controller killed": kill_controller,
    "shard replica hangs": hang_shard_replica,
    "whole shard hangs": hang_whole_shard,
    "disk full": full_disk,
    "snapshot corrupt": corrupt_snapshot,
    "ten swaps": swap_versions,
    "shard scaled up and down": scale_shards,
    "every replica killed": kill_all_replicas,
    **DATA_PATH,
}
