"""What versions cost while they serve: `python -m load_tests.parts.versions VERSION VERSION … [--rounds 3]`.

On a platform that runs and knows users 1 to 943 (`make demo`): promotes each in turn, warms it up, and drives
`GET /v1/users/{id}/recommendations?k=10` with 64 clients. One line of JSON a version: medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import httpx

from load_tests.comparison.wrk import Measured, drive, middle

TARGET, USERS, CLIENTS = "/v1/users/USER/recommendations?k=10", 943, 64
_WITHIN_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--host", default="http://127.0.0.1:8000")
    given = parser.parse_args()
    runs: dict[str, list[Measured]] = {version: [] for version in given.versions}
    models = {}
    for _ in range(given.rounds):
        for version, measured in runs.items():
            models[version] = _serve(given.host, version)
            drive(given.host, TARGET, USERS, CLIENTS, given.seconds)
            measured.append(drive(given.host, TARGET, USERS, CLIENTS, given.seconds))
    for version, measured in runs.items():
        print(json.dumps({"version": version, "model": models[version], **asdict(middle(measured))}))


def _serve(host: str, version: str) -> str:
    """Promote, and wait until it answers; the model's name."""
    recsys = Path(sys.executable).with_name("recsys")
    subprocess.run([recsys, "promote", version, "--json"], check=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        answer = httpx.get(host + TARGET.replace("USER", "1"), trust_env=False).json()
        if answer["index_version"] == version:
            return str(answer["model_version"])
        time.sleep(0.2)
    raise SystemExit(f"version {version} does not serve after {_WITHIN_S} s; see `recsys status`")


if __name__ == "__main__":
    main()
