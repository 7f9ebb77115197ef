"""What is broken in a cluster, and how: each fault does its harm, mends what nothing else mends, and returns."""

from __future__ import annotations

import time
from collections.abc import Callable

from load_tests.chaos.cluster_stage import ClusterStage
from load_tests.chaos.stage import FaultFailed, eventually, takes_writes
from load_tests.comparison.bench import ROOT

_OFF_S = 10.0
"""Seconds for which a machine that lost its power stays off."""
_SPLIT_S = 10.0
_HEAD, _ONE, _OTHER = 0, 1, 2


def kill_worker(stage: ClusterStage) -> None:
    """A machine that is not the head loses its power, and has it back."""
    _kill(stage, _OTHER)


def kill_head(stage: ClusterStage) -> None:
    """So does the head: Ray's control store finds its tables in Redis again."""
    _kill(stage, _HEAD)


def kill_control_store(stage: ClusterStage) -> None:
    """Only the head's control store ends: the head starts another on the tables in Redis."""
    head = stage.machines[_HEAD]
    ended = head.processes("gcs_server")[0]
    ended.kill()
    if not eventually(lambda: any(process.pid != ended.pid for process in head.processes("gcs_server")), 60):
        raise FaultFailed("no control store was started again within a minute")


def kill_primary(stage: ClusterStage) -> None:
    """Sentinels make the replica the primary, and the old one comes back as its replica."""
    since = time.monotonic() - 1.0  # replication is asynchronous: what did not arrive may be lost
    stage.redis.kill_primary()
    stage.ledger.forgive(since)
    if not eventually(lambda: takes_writes(stage.url), 60):
        raise FaultFailed("no write was taken for a minute after the primary was lost")
    stage.redis.restart_old_primary()


def split_workers(stage: ClusterStage) -> None:
    """Two machines that are not the head do not hear each other."""
    _split(stage, _ONE, _OTHER)


def split_from_head(stage: ClusterStage) -> None:
    """The head and another machine do not hear each other."""
    _split(stage, _HEAD, _OTHER)


def drain_worker(stage: ClusterStage) -> None:
    """A machine is drained, stopped, and started again: nobody may notice."""
    _renew(stage, _OTHER)


def upgrade(stage: ClusterStage) -> None:
    """One machine after another is drained, stopped, and started with the code of this checkout; the head last."""
    for number in (_ONE, _OTHER, _HEAD):
        stage.machines[number].code = ROOT
        _renew(stage, number)


def _kill(stage: ClusterStage, number: int) -> None:
    stage.network.plug(number, in_it=False)
    stage.machines[number].kill()
    time.sleep(_OFF_S)
    stage.network.plug(number, in_it=True)
    stage.machines[number].revive()


def _split(stage: ClusterStage, one: int, other: int) -> None:
    stage.network.split(one, other, apart=True)
    try:
        time.sleep(_SPLIT_S)
    finally:
        stage.network.split(one, other, apart=False)


def _renew(stage: ClusterStage, number: int) -> None:
    machine = stage.machines[number]
    machine.node("drain", "--within", "40")
    machine.down()
    machine.revive()
    if not eventually(stage.whole, 180):
        raise FaultFailed(f"{machine.address} was drained and started again, and after three minutes {stage.missing()}")


Fault = Callable[[ClusterStage], None]
FAULTS: dict[str, Fault] = {
    "worker killed": kill_worker,
    "head killed": kill_head,
    "control store killed": kill_control_store,
    "Redis primary killed": kill_primary,
    "10 s split between workers": split_workers,
    "10 s split from the head": split_from_head,
    "worker drained and renewed": drain_worker,
}
UPGRADE = "rolling upgrade"
HARMLESS = ("worker drained and renewed", UPGRADE)
"""Faults that take nothing away that another could not do: no request may fail."""
