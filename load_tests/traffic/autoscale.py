"""Replicas that follow ten times the load: `python -m load_tests.traffic.autoscale --peak 200 --composers 1:2`.

Against a running platform whose deployments scale by load. It sets their bounds, sends the shape `surge`, looks at the
replicas every half second, and writes both over time as JSON and as a picture.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import matplotlib as mpl
from matplotlib import pyplot as plt

from load_tests.traffic.shapes import SURGE

_ROOT = Path(__file__).parents[2]
_LOOK_S = 0.5


class Replicas(threading.Thread):
    """Looks at how many replicas each deployment has, until `over` is set."""

    def __init__(self, http: httpx.Client) -> None:
        super().__init__()
        self._http = http
        self.over = threading.Event()
        self.seen: list[dict[str, Any]] = []
        """At Unix seconds `at`: running and target by deployment."""

    def run(self) -> None:
        while not self.over.wait(_LOOK_S):
            try:
                deployments = self._http.get("/v1/admin/deployments").raise_for_status().json()["deployments"]
            except httpx.HTTPError:
                continue  # the load test counts what is not answered
            counts = {d["deployment"]: {"running": d["running"], "target": d["target"]} for d in deployments}
            self.seen.append({"at": time.time(), "deployments": counts})


def main() -> None:
    """Exit code 1 when an answer was wrong, or one that is not 429 was refused."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    key = os.environ.get("RECSYS_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=args.url, headers=headers, trust_env=False, timeout=30) as http:
        before = http.get("/v1/admin/deployments").raise_for_status().json()["deployments"]
        for deployment in before:
            _bound(http, deployment["deployment"], *_wanted(deployment["deployment"], args))
        watch = Replicas(http)
        watch.start()
        try:
            failed = _load(args)
        finally:
            watch.over.set()
            watch.join()
            for deployment in before:
                _bound(http, deployment["deployment"], deployment["low"], deployment["high"])
    report = _report(args, watch.seen)
    (args.out / "autoscale.json").write_text(json.dumps(report, indent=1))
    _draw(report, args.out / "autoscale.png")
    print(json.dumps({k: v for k, v in report.items() if k not in ("traffic", "replicas")}, indent=1))
    raise SystemExit(failed)


def _wanted(deployment: str, args: argparse.Namespace) -> tuple[int, int]:
    text = {"Composer": args.composers, "Encoder": args.encoders}.get(deployment, args.shards)
    low, _, high = text.partition(":")
    return int(low), int(high or low)


def _bound(http: httpx.Client, deployment: str, low: int, high: int) -> None:
    body = {"deployment": deployment, "min_replicas": low, "max_replicas": high}
    http.post("/v1/admin/scale", json=body).raise_for_status()


def _load(args: argparse.Namespace) -> int:
    command = [
        sys.executable,
        "-m",
        "load_tests.traffic.run",
        f"--url={args.url}",
        "--shape=surge",
        f"--out={args.out}",
    ]
    command += [f"--peak={args.peak}", f"--seconds={args.seconds}", f"--calls={args.calls}"]
    return subprocess.run(command, cwd=_ROOT, stdin=subprocess.DEVNULL, check=False).returncode


def _report(args: argparse.Namespace, seen: list[dict[str, Any]]) -> dict[str, Any]:
    """Both series in seconds since the load began, and what is to be read off them."""
    rows = json.loads((args.out / "surge.seconds.json").read_text())
    start = rows[0]["at"]
    traffic = [{"at_s": row["at"] - start} | {key: row[key] for key in row.keys() - {"at"}} for row in rows]
    replicas = [{"at_s": round(look["at"] - start, 1), **look["deployments"]} for look in seen]
    rise, fall = (args.seconds * share for share in SURGE)
    most = {name: max(look[name]["running"] for look in replicas) for name in replicas[0] if name != "at_s"}
    up = [look["at_s"] for look in replicas if rise <= look["at_s"] <= fall and _more(look)]
    during = [t for t in traffic if rise <= t["at_s"] <= fall]
    # A second of 200 requests has a p99 of chance: five of them have to agree.
    slow = [
        during[i]["at_s"]
        for i in range(2, len(during) - 2)
        if median(t["p99_ms"] for t in during[i - 2 : i + 3]) > args.target_ms
    ]
    return {
        "peak_requests_s": args.peak,
        "surge_s": [rise, fall],
        "target_p99_ms": args.target_ms,
        "most_replicas": most,
        "first_new_replica_after_s": round(min(up) - rise, 1) if up else None,
        "slow_seconds_of_the_surge": sum(t["p99_ms"] > args.target_ms for t in during),
        "p99_under_target_for_good_after_s": round(max(slow) + 1 - rise, 1) if slow else 0.0,
        "replicas_at_the_end": {name: replicas[-1][name]["running"] for name in most},
        "errors": json.loads((args.out / "surge.json").read_text())["errors"],
        "machine": {"cores": os.cpu_count(), "load_1min": round(os.getloadavg()[0], 1)},
        "traffic": traffic,
        "replicas": replicas,
    }


def _more(look: dict[str, Any]) -> bool:
    return any(count["running"] > 1 for name, count in look.items() if name != "at_s")


def _draw(report: dict[str, Any], file: Path) -> None:
    mpl.use("Agg")
    figure, (load, time_, count) = plt.subplots(3, 1, figsize=(10, 9), sharex=True, layout="constrained")
    at = [t["at_s"] for t in report["traffic"]]
    load.plot(at, [t["requests"] for t in report["traffic"]], color="black")
    load.set_ylabel("requests/s")
    load.set_title(f"{report['peak_requests_s']} requests/s from a tenth of it, {report['machine']['cores']} cores")
    time_.plot(at, [t["p99_ms"] for t in report["traffic"]], label="p99 of each second")
    time_.plot(at, [t["p50_ms"] for t in report["traffic"]], label="p50")
    time_.axhline(report["target_p99_ms"], linestyle="--", color="red", label="target")
    time_.set_yscale("log")
    time_.set_ylabel("ms")
    time_.legend()
    looks = report["replicas"]
    names = [name for name in looks[0] if name != "at_s"]
    for i, name in enumerate(names):
        shift = 0.04 * (i - len(names) / 2)  # so that equal lines do not hide each other
        count.step([k["at_s"] for k in looks], [k[name]["running"] + shift for k in looks], where="post", label=name)
    count.set_ylabel("replicas")
    count.set_xlabel("seconds")
    count.legend()
    for axes in (load, time_, count):
        axes.axvspan(*report["surge_s"], color="orange", alpha=0.12)
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m load_tests.traffic.autoscale", description=__doc__)
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8000", help="of the platform")
    add("--peak", type=int, default=200, help="requests a second at the most")
    add("--seconds", type=int, default=240)
    add("--composers", default="1:2", help="bounds")
    add("--shards", default="1:2", help="bounds")
    add("--encoders", default="1:2", help="bounds")
    add("--calls", default="", help="only these, see load_tests.traffic.run")
    add("--target-ms", type=float, default=250.0, help="for the 99th percentile")
    add("--out", type=lambda text: Path(text).resolve(), default=_ROOT / "var/load")
    return parser.parse_args()


if __name__ == "__main__":
    main()
