"""Our shard with each engine beside hnswlib, usearch, voyager, qdrant-edge, pgvector and Milvus: `make compare-ann`.

    python -m load_tests.ann                                    # all of it: hours on two cores
    python -m load_tests.ann --sets glove --within 1800         # one set, half an hour; again, and it goes on
    python -m load_tests.ann --sets clustered --items 20000 --only hnswlib,recsys:hnsw,recsys:hnsw_int8

Every contender indexes the same vectors in a process of its own, one at a time, and is set to the smallest effort that
finds the same share of the ten exactly nearest. It is asked in batches of 32 by one thread and by two, and alone.
Memory is that of the process that serves, with its servers. Contenders that are not installed are left out and named.

Each result is written as soon as it is there, and another run goes on with those that are missing. What a contender
has built is kept until it is measured.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from load_tests.ann import report
from load_tests.ann.contender import NAMES
from load_tests.ann.datasets import MAKERS, load, title
from load_tests.ann.runs import LateError, Run
from load_tests.comparison.results import machine

ROOT = Path(__file__).parents[2]
ENGINES = ("hnsw", "hnsw_int8", "hnsw_int8/float16", "faiss:IVF256,SQ8", "faiss:IVF256,Flat", "annoy", "flat")
CONTENDERS = ["recsys:hnsw", *(name for name in NAMES if name != "recsys"), *(f"recsys:{e}" for e in ENGINES[1:])]


def main() -> None:
    args = arguments().parse_args()
    results = _results(args.out, args.recall)
    end = time.monotonic() + args.within
    try:
        for name in args.sets.split(","):
            _measure(name, args, results, end)
    except LateError as late:
        print(f"{late}: another run goes on from there")
    report.show(results)
    report.plot(results, args.out.with_suffix(".png"))
    print(f"written: {args.out}, {args.out.with_suffix('.png')}")


def _measure(name: str, args: argparse.Namespace, results: dict[str, Any], end: float) -> None:
    """All contenders on one set. Raises LateError when the time is over."""
    data = load(name, args.items, args.queries, args.data)
    rows = results["sets"].setdefault(title(name, data), {})
    for contender in names_of(args.only) if args.only else CONTENDERS:
        row = rows.get(contender, {"error": "not measured yet"})
        if "error" not in row and not args.anew:
            continue
        print(f"{name}: {contender}", flush=True)
        run = Run(contender, data, args.recall, args.seconds)
        if args.anew:
            run.forget()
        rows[contender] = run.result(end)
        print(f"  {json.dumps(rows[contender])}", flush=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + "\n")


def _results(file: Path, recall: float) -> dict[str, Any]:
    """What the file has already of this recall."""
    if file.exists():
        results: dict[str, Any] = json.loads(file.read_text())
        if results["recall"] != recall:
            raise SystemExit(f"{file} has results at recall {results['recall']}; name another file with --out")
        return results
    return {"machine": machine(), "recall": recall, "sets": {}}


def names_of(given: str) -> list[str]:
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
    add("--within", type=float, default=float("inf"), help="seconds after which no more is measured")
    add("--only", help="contenders, as hnswlib,recsys:hnsw,recsys:faiss:IVF256,SQ8")
    add("--data", type=Path, default=ROOT / "var" / "compare-ann", help="folder of vectors and indexes")
    add("--out", type=Path, default=ROOT / "var" / "compare-ann.json")
    add("--anew", action="store_true", help="measure again what --out has already, with indexes built again")
    return parser


if __name__ == "__main__":
    main()
