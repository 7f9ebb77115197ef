"""`python -m load_tests.chaos.cluster`: faults of whole machines, one after another, under a constant load."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from load_tests.chaos import report
from load_tests.chaos.cluster_faults import FAULTS, HARMLESS, UPGRADE, Fault, upgrade
from load_tests.chaos.cluster_stage import ClusterStage
from load_tests.chaos.namespaces import Namespaces
from load_tests.chaos.traffic import Traffic
from load_tests.chaos.under_load import under_load
from load_tests.comparison.bench import ROOT
from recsys.data.movielens import fetch_ml100k
from recsys.state.membership import WIRE

BACK_WITHIN_S = 15.0
"""Seconds after which reads must be answered again."""
FIRST_WIRE = 1
"""The format of messages of releases that did not number it."""


def main() -> None:
    args = arguments().parse_args()
    if lacking := Namespaces.lacking():
        raise SystemExit(lacking)
    items = fetch_ml100k(args.out / "ml-100k", lambda _phase: None).items_file
    rows = []
    if chosen := {name: fault for name, fault in FAULTS.items() if not args.only or name in args.only}:
        rows += played(ClusterStage(args.out / "chaos-cluster", items), chosen, args.rate)
    if not args.only or UPGRADE in args.only:
        before = checked_out(args.before, args.out / "chaos-before")
        stage = ClusterStage(args.out / "chaos-cluster", items, before)
        [row] = played(stage, {UPGRADE: upgrade}, args.rate)
        rows.append({**row, "from": args.before, "note": other_format(before)})
    (args.out / "chaos-cluster.json").write_text(json.dumps(rows, indent=2) + "\n")
    report.show(rows, None)
    if broken := [line for row in rows for line in broken_promises(row)]:
        raise SystemExit("\n".join(broken))


def played(stage: ClusterStage, faults: Mapping[str, Fault], rate: float) -> list[dict[str, Any]]:
    """The row of each fault, on a cluster that is started for them."""
    try:
        stage.up()
        return asyncio.run(suite(stage, faults, rate))
    finally:
        stage.down()


async def suite(stage: ClusterStage, faults: Mapping[str, Fault], rate: float) -> list[dict[str, Any]]:
    traffic = Traffic(stage.url, stage.ledger, rate)
    rows = []
    try:
        for name, fault in faults.items():
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
            rows.append(await under_load(stage, traffic, name, fault))
            print(f"  {rows[-1]}", flush=True)
    finally:
        await traffic.close()
    return rows


def checked_out(revision: str, folder: Path) -> Path:
    """The code of a revision of this repository, in a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def other_format(code: Path) -> str:
    """Say that composers and shards of a folder's code do not talk to those of this one. Empty: they do."""
    number = re.search(r"^WIRE = (\d+)$", (code / "recsys/state/membership.py").read_text(), re.MULTILINE)
    before = int(number[1]) if number else FIRST_WIRE
    if before == WIRE:
        return ""
    return (
        f"the code of before has messages of format {before} and this one of format {WIRE}: composers do not call the "
        "other's shards, so answers lack shards or are refused while both run; docs/cluster.md says what to do instead"
    )


def broken_promises(row: dict[str, Any]) -> list[str]:
    """What of a row must not be."""
    name = row["name"]
    broken = [f"{name}: {row['writes_lost']} acknowledged writes lost"] * bool(row["writes_lost"])
    broken += [f"{name}: {row['rule_breaks']} answers break a rule"] * bool(row["rule_breaks"])
    broken += [f"{name}: no read answered for {row['gap_s']} s"] * (row["gap_s"] > BACK_WITHIN_S)
    broken += [f"{name}: {row['problem']}"] * bool(row["problem"])
    harmless = name in HARMLESS and not row.get("note")
    return broken + [f"{name}: {row['failed']} requests failed"] * bool(harmless and row["failed"])


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load_tests.chaos.cluster", description=__doc__)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help=", ".join([*FAULTS, UPGRADE]))
    parser.add_argument("--before", default="HEAD~1", help="the revision that a rolling upgrade begins with")
    parser.add_argument("--rate", type=float, default=30.0, help="requests a second")
    parser.add_argument("--out", type=Path, default=ROOT / "var")
    return parser


if __name__ == "__main__":
    main()
