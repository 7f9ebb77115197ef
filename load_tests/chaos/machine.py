"""A machine of the cluster under a service manager: what ends on it is started again, until it is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from deployments.machine.instance import instance_id, read_instance
from deployments.machine.processes import instance_processes, stop_instance
from load_tests.comparison.bench import ROOT

_AGAIN_S = 1.0
"""Seconds between an end and the next start, as systemd's RestartSec."""
_REMOVE = """
import sys
from pathlib import Path
from deployments.machine.instance import read_instance
if instance := read_instance(Path(sys.argv[1])):
    instance.remove()
"""


class Machine:
    """`recsys node up --block` on one machine, started again whenever it ends."""

    def __init__(
        self,
        within: Callable[[Sequence[str]], list[str]],
        address: str,
        home: Path,
        config: Path,
        role: Sequence[str],
        code: Path,
        variables: Mapping[str, str],
    ) -> None:
        """`within`: wraps a command so that it runs on this machine. `home`: its `data_dir`. `role`: `--head`, or
        `--join HOST:PORT`. `variables`: of its commands' environment.
        """
        self.address = address
        self._within, self._config, self._role, self._variables = within, config, role, variables
        self._folder = home / "nodes" / address
        self._id = instance_id(self._folder)
        self._up = threading.Event()
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self.code = code
        """Folder whose code the next start runs."""

    def start(self) -> None:
        self._over.clear()
        self._up.set()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _keep(self) -> None:
        log = self._folder.parent / f"{self.address}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        while not self._over.is_set():
            self._up.wait()
            if self._over.is_set():
                return
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    self.command("up", "--block", *self._role, "--cpus", "6", "--object-store", "100"),
                    cwd=self.code, env={**os.environ, **self._variables}, stdout=output, stderr=output,
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            self._process.wait()
            self._over.wait(_AGAIN_S)

    def command(self, *words: str) -> list[str]:
        """`recsys node …` on this machine, by the code that it runs."""
        main = "from deployments.cli import main; main()"
        options = ("--config", str(self._config), "--address", self.address)
        return self._within([sys.executable, "-c", main, "node", *words, *options])

    def node(self, *words: str) -> str:
        """Run `recsys node …` here, and return what it says. Raises CalledProcessError with its own words."""
        return subprocess.run(
            self.command(*words), cwd=self.code, env={**os.environ, **self._variables}, capture_output=True, text=True,
            check=True, timeout=400,
        ).stderr  # fmt: skip

    def processes(self, words: str = "") -> list[psutil.Process]:
        processes = []
        for process in instance_processes(self._id):
            with suppress(psutil.Error):
                if words in " ".join(process.cmdline()) or words in process.name():
                    processes.append(process)
        return processes

    def kill(self) -> None:
        """Everything on it ends at once, as when its power goes. It stays off until `revive`."""
        self._up.clear()
        self._kill_command()
        for process in instance_processes(self._id):
            with suppress(psutil.Error):
                process.kill()

    def revive(self) -> None:
        self._up.set()

    def down(self) -> None:
        """As a service manager stops it."""
        self._up.clear()
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(60)

    def stop(self) -> None:
        """For good."""
        self._over.set()
        self._up.set()
        self._kill_command()
        stop_instance(self._id)
        if read_instance(self._folder) is not None:
            # There, for its /tmp is its own. The logs stay.
            subprocess.run(self._within([sys.executable, "-c", _REMOVE, str(self._folder)]), cwd=ROOT, check=True)
        if self._keeper is not None:
            self._keeper.join(10)

    def _kill_command(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
