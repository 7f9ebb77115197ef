"""Machines on one machine: network namespaces with an address each, on a bridge. It takes root on Linux.

A machine's runtime folders in /tmp are its own as well: HAProxy's files have one path on all machines of a cluster, and
a machine that starts again empties their folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from deployments.machine.instance import runtime_root

_PREFIX = "recsysns"
"""Of everything made here: what is left of a run that was killed is found by it."""
_SUBNET = "10.213.77"
_FIRST = 11
"""The last number of the first machine's address."""
_SILENT_S = 0.2
"""Seconds for a neighbour's entry to take effect."""
_NOWHERE = "02:00:00:00:00:01"
"""A link address that no machine has: what is sent to it is lost without a word."""


@contextmanager
def _locked(name: str, how: int) -> Iterator[None]:
    private = runtime_root()
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (private / f"{_PREFIX}-{name}").open("wb") as file:
        fcntl.flock(file, how)
        yield


@contextmanager
def _changing() -> Iterator[None]:
    """While addresses of this machine come or go. Whoever wants them `steady` waits from the moment this one waits."""
    with _locked("turn", fcntl.LOCK_EX), _locked("held", fcntl.LOCK_EX):
        yield


@contextmanager
def steady() -> Iterator[None]:
    """No address of this machine comes or goes meanwhile by namespaces of any process: a browser gives up all that it
    is loading when one does.
    """
    with ExitStack() as stack:
        with _locked("turn", fcntl.LOCK_EX):
            stack.enter_context(_locked("held", fcntl.LOCK_SH))
        yield


class Namespaces:
    """A bridge with an address of this machine, and as many namespaces as there are to be machines."""

    def __init__(self, number: int, folder: Path) -> None:
        """`folder`: for the runtime folders of each machine."""
        self.host = f"{_SUBNET}.1"
        """This machine's own address on the bridge."""
        self.addresses = [f"{_SUBNET}.{_FIRST + n}" for n in range(number)]
        self._bridge = f"{_PREFIX}0"
        self._folder = folder

    @staticmethod
    def lacking() -> str | None:
        """Return what this machine lacks for namespaces, in words. None: nothing."""
        if os.geteuid() != 0:
            return "network namespaces need root"
        if shutil.which("ip") is None:
            return "`ip` is missing; on Debian: apt-get install iproute2"
        name = f"{_PREFIX}try"
        try:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "add", "rcb", "type", "bridge")
        except subprocess.CalledProcessError as error:
            return f"this kernel or container gives no network namespaces: {error.stderr.decode().strip()}"
        finally:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)
        return None

    def up(self) -> None:
        with _changing():
            self._down()
            self._up()

    def _up(self) -> None:
        for private in (runtime_root(), *(self._runtime(number) for number in range(len(self.addresses)))):
            private.mkdir(mode=0o700, parents=True, exist_ok=True)
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("link", "set", self._bridge, "addrgenmode", "none")  # else an address of IPv6 comes a moment later
        _ip("addr", "add", f"{self.host}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number, address in enumerate(self.addresses):
            name, port = self._name(number), self._port(number)
            _ip("netns", "add", name)
            _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", port, "master", self._bridge, "addrgenmode", "none", "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for link in ("eth0", "lo"):
                _ip("-n", name, "link", "set", link, "up")
            _ip("-n", name, "route", "add", "default", "via", self.host)

    def down(self) -> None:
        """Remove all of it, of this run and of one that was killed."""
        with _changing():
            self._down()

    def _down(self) -> None:
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        for name in (line.split()[0] for line in listed.splitlines() if line.startswith(_PREFIX)):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)
        # A namespace lives on while a process of a killed run is in it, and so does its end of the cable.
        for link in (*(self._port(number) for number in range(len(self.addresses))), self._bridge):
            with suppress(subprocess.CalledProcessError):
                _ip("link", "del", link)

    def within(self, number: int, command: Sequence[str]) -> list[str]:
        """The command, to be run on the machine of this number."""
        own = f'mount --bind "$0" {runtime_root()} && exec "$@"'  # `ip netns exec` has given it mounts of its own
        return ["ip", "netns", "exec", self._name(number), "sh", "-c", own, str(self._runtime(number)), *command]

    def plug(self, number: int, *, in_it: bool) -> None:
        """Pull a machine's cable, or put it back."""
        _ip("link", "set", self._port(number), "up" if in_it else "down")

    def split(self, one: int, other: int, *, apart: bool) -> None:
        """Whatever two machines send each other is lost, or arrives again. All others reach both."""
        for here, there in ((one, other), (other, one)):
            if apart:
                _ip(
                    *("-n", self._name(here), "neigh", "replace", self.addresses[there]),
                    *("lladdr", _NOWHERE, "dev", "eth0", "nud", "permanent"),
                )
            else:
                _ip("-n", self._name(here), "neigh", "del", self.addresses[there], "dev", "eth0")
        time.sleep(_SILENT_S)

    def _runtime(self, number: int) -> Path:
        return self._folder / f"runtime-{number}"

    def _name(self, number: int) -> str:
        return f"{_PREFIX}-{number}"

    def _port(self, number: int) -> str:
        return f"{_PREFIX}v{number}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
