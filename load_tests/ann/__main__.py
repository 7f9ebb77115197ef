"""Our shard with each engine beside hnswlib, usearch, voyager, qdrant-edge, pgvector and Milvus: `make compare-ann`.

    python -m load_tests.ann                                    # all of it: hours on two cores
    python -m load_tests.ann --sets clustered --items 20000 --only hnswlib,recsys:hnsw,recsys:hnsw_int8

Every contender indexes the same vectors in a process of its own, one at a time, and is set to the smallest effort that
finds the same share of the ten exactly nearest. It is asked in batches of 32 by one thread and by two, and alone.
Memory is that of the process that serves, with its servers. Contenders that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from load_tests.ann import report
from load_tests.ann.contender import NAMES
from load_tests.ann.datasets import MAKERS, load
from load_tests.comparison.results import machine

ROOT = Path(__file__).parents[2]
ENGINES = ("hnsw", "hnsw_int8", "hnsw_int8/float16", "faiss:IVF256,SQ8", "faiss:IVF256,Flat", "annoy", "flat")
CONTENDERS = [*(f"recsys:{engine}" for engine in ENGINES), *(name for name in NAMES if name != "recsys")]
_BUILT_WITHIN_S, _SERVED_WITHIN_S = 7200, 1800


def main() -> None:
    args = arguments().parse_args()
    only = _names(args.only) if args.only else CONTENDERS
    results: dict[str, Any] = {"machine": machine(), "recall": args.recall, "sets": {}}
    if args.out.exists() and args.go_on:
        results = json.loads(args.out.read_text())
    for name in args.sets.split(","):
        data = load(name, args.items, args.queries, args.data)
        rows = results["sets"].setdefault(name, {})
        for contender in only:
            if args.go_on and contender in rows:
                continue
            print(f"{name}: {contender}", flush=True)
            rows[contender] = run(contender, data, args)
            print(f"  {json.dumps(rows[contender])}", flush=True)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(results, indent=2) + "\n")
    report.show(results)
    report.plot(results, args.out.with_suffix(".png"))
    print(f"written: {args.out}, {args.out.with_suffix('.png')}")


def run(contender: str, data: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What was measured; `error` where it could not be."""
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        build = _call(["build", contender, str(data), folder], _BUILT_WITHIN_S)
        if "error" in build:
            return build
        command = ["serve", contender, str(data), folder, str(args.recall), str(args.seconds)]
        return build | _call(command, _SERVED_WITHIN_S)


def _call(arguments: list[str], within_s: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "load_tests.ann.contender", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=within_s, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {within_s} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["it died"])[-1][-300:]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _names(given: str) -> list[str]:
    """A kind may hold commas: what follows one without being a contender's name belongs to it."""
    names: list[str] = []
    for part in given.split(","):
        if part.partition(":")[0] in NAMES:
            names.append(part)
        elif names:
            names[-1] += f",{part}"
        else:
            raise SystemExit(f"there is no contender {part!r}; there are {', '.join(NAMES)}")
    return names


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.ann", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sets", default=",".join(MAKERS), help="of vectors")
    add("--items", type=int, help="of each set; all that there are, 60,000 of the clustered ones")
    add("--queries", type=int, default=500)
    add("--recall", type=float, default=0.95, help="recall@10 that each is set to")
    add("--seconds", type=float, default=6, help="of each measurement of queries a second")
    add("--only", help="contenders, as hnswlib,recsys:hnsw,recsys:faiss:IVF256,SQ8")
    add("--data", type=Path, default=ROOT / "var" / "compare-ann", help="folder of vectors and indexes")
    add("--out", type=Path, default=ROOT / "var" / "compare-ann.json")
    add("--go-on", action="store_true", help="with what --out has already")
    return parser


if __name__ == "__main__":
    main()
