"""Load on a running platform, headless: `python -m load_tests.traffic.run --shape spike --seconds 60 --peak 200`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from load_tests.traffic.shapes import SHAPES
from load_tests.traffic.summary import table

_ROOT = Path(__file__).parents[2]


def main() -> None:
    """Exit code 1 when any answer was wrong; a 429 is none."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    summary, html = args.out / f"{args.shape}.json", args.out / f"{args.shape}.html"
    summary.unlink(missing_ok=True)
    command = [sys.executable, "-m", "locust", "-f", str(_ROOT / "load_tests/traffic/locustfile.py"), "--headless"]
    command += ["--only-summary", "--loglevel=WARNING", f"--host={args.url}", f"--html={html}", f"--summary={summary}"]
    command += [f"--shape={args.shape}", f"--peak={args.peak}", f"--seconds={args.seconds}"]
    command += [f"--timeline={args.out / args.shape}.seconds.json"]
    command += [f"--user-base={args.user_base}", f"--zipf={args.zipf}"]
    command += ["--tags", *args.calls.split(",")] if args.calls else []
    log = args.out / f"{args.shape}.log"
    with log.open("wb") as output:
        subprocess.run(
            command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            timeout=args.seconds + 120, check=False,
        )  # fmt: skip
    if not summary.exists():
        raise SystemExit(f"Locust did not run: see {log}")
    report = json.loads(summary.read_text())
    console = Console(width=140)
    console.print(table(report))
    for error, times in report["errors"].items():
        console.print(f"{times} x {error}", markup=False)
    console.print(f"written: {html}, {summary}")
    if report["errors"] or not report["calls"]:
        raise SystemExit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m load_tests.traffic.run", description=__doc__)
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8000", help="of the platform")
    add("--shape", choices=list(SHAPES), default="sustain")
    add("--peak", type=int, default=100, help="requests a second at the most")
    add("--seconds", type=int, default=60)
    add("--calls", default="", help="only these, of: recommendations,search,similar,events,items")
    add("--user-base", type=int, default=943, help="user ids go from 1 to this")
    add("--zipf", type=float, default=1.0, help="exponent of how often users come; 0: all alike")
    add("--out", type=lambda text: Path(text).resolve(), default=_ROOT / "var/load")
    return parser.parse_args()


if __name__ == "__main__":
    main()
