"""The cheapest setting with which each contender finds enough: the smallest ef of a ladder, asked over HTTP."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from load_tests.comparison.answers import USERS, ask, overlap
from load_tests.comparison.bench import Bench
from load_tests.comparison.contenders import URL, Contender

LADDER = (24, 32, 40, 50, 64, 80, 96, 128, 192, 256, 384, 512)
"""hnswlib looks at no fewer than the candidates that it returns, which are 50; the walk of `hnsw_int8` may."""
ENGINES = {"platform": "hnsw_int8, exact vectors as float32", "one": "hnswlib, float32", "shards": "hnswlib, float32"}
"""Of what is prepared, by kind: those that answer the same, which is the nearest items."""
_FILES = {
    "platform": ("data/versions/*/shard-*/index.*", "data/versions/*/shard-*/vectors.npy"),
    "one": ("../all.hnsw",),
    "shards": ("*.hnsw",),
}
"""Graph and vectors of each kind, without titles and texts, as seen from `Bench.split`."""


def tune(contender: Contender, bench: Bench, floor: float) -> dict[str, Any]:
    """Give the contender the first ef of the ladder at which recall@10 is `floor` or more. Return what that costs.

    SystemExit where none does.
    """
    exact = bench.work.exact(min(USERS, bench.work.users))
    least = 0 if contender.needs == "platform" else bench.work.candidates
    for ef in (step for step in LADDER if step >= least):
        contender.ef = ef
        try:
            contender.start()
            recall = overlap(ask(URL, contender.target, len(exact)), exact)
        finally:
            contender.stop()
        print(f"{contender.name}: recall@10 {recall:.4f} at ef {ef}", flush=True)
        if recall >= floor:
            size = bytes_an_item(contender.needs, bench)
            return {"engine": ENGINES[contender.needs], "ef": ef, "recall": round(recall, 4), "bytes_an_item": size}
    raise SystemExit(f"{contender.name}: recall@10 is under {floor} even at ef {LADDER[-1]}")


def bytes_an_item(kind: str, bench: Bench) -> int:
    """Of the files of graph and vectors, which are mapped or read whole."""
    files = [file for pattern in _FILES[kind] for file in bench.split.glob(pattern)]
    return round(sum(file.stat().st_size for file in files) / bench.work.items)


def show(settings: dict[str, dict[str, Any]]) -> None:
    """`settings`: by contender, what `tune` returned."""
    table = Table("contender", "engine", "ef", "recall@10", "bytes an item")
    for name, setting in settings.items():
        table.add_row(name, *(f"{setting[column]:,}" if isinstance(setting[column], int) else str(setting[column])
                              for column in ("engine", "ef", "recall", "bytes_an_item")))  # fmt: skip
    Console(width=120).print(table)
