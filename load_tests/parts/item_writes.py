"""Items written while a platform serves: `python -m load_tests.parts.item_writes`.

A platform of its own, as `configs/local.yaml` has it, with one replica of each part:

texts     seconds until a call of 1,000 items with new texts is visible in every shard
vectors   the same with the vectors of such texts in the call
serving   p50 and p99 of recommendations, some a second, before and while a tenth of the catalogue is erased item by
          item and written again in calls of 1,000, again and again: with texts that are encoded, and with vectors

Only meaningful with nothing else running; about two minutes, and one more the first time.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_for_serve
from load_tests.comparison import results
from load_tests.comparison.bench import ROOT
from load_tests.comparison.cluster import PORT_SHIFT
from load_tests.comparison.wrk import Measured, drive
from load_tests.parts.item_writer import ItemOut, Texts, Writer
from recsys.config.platform import Platform, Ports
from recsys.config.whole import Config
from recsys.datatypes import Item
from recsys.encoders.base import fingerprint
from recsys.encoders.loading import load_encoder
from recsys.jobs.build_files import build_items
from recsys.versions.store import VersionStore

_PORT = 8139
_TOGETHER = 1000
"""Items of a call."""
_CLIENTS = 8
_USERS = 500
_TARGET = "/v1/users/USER/recommendations?k=10"


def main() -> None:
    args = _arguments().parse_args()
    for library in ("httpx", "faiss"):  # a line for each item that is erased, and six about itself
        logging.getLogger(library).setLevel(logging.WARNING)
    with _platform(args) as (url, platform):
        writer = Writer(url, load_encoder(platform.encoder, platform.home() / "models").encode)
        writer.like(_USERS, args.items)
        result = {
            "machine": results.machine(),
            "items": args.items,
            "rate": args.rate,
            "visible": [_visible(writer, args.rounds, vectors=vectors) for vectors in (False, True)],
            "serving": _serving(writer, args),
        }
    _show(result)
    results.write(result, args.out)
    print(f"written: {args.out}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--items", type=int, default=10_000, help="of the catalogue")
    add("--rounds", type=int, default=5, help="calls of 1,000 items of each kind")
    add("--rate", type=float, default=200.0, help="recommendations a second while items are written")
    add("--seconds", type=int, default=12, help="of each of them")
    add("--config", type=Path, default=ROOT / "configs" / "local.yaml")
    add("--folder", type=Path, default=ROOT / "var" / "item-writes", help="of the platform")
    add("--out", type=Path, default=ROOT / "var" / "item-writes.json")
    return parser


@contextmanager
def _platform(args: argparse.Namespace) -> Iterator[tuple[str, Platform]]:
    """One that runs until the end: its URL and settings."""
    file = args.folder / "config.yaml"
    args.folder.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(_document(args)))
    config = read_for_serve(file)
    ports = Ports(**{name: field.default + PORT_SHIFT + 2 for name, field in Ports.model_fields.items()})
    runtime = Runtime(config.platform.home(), ports)
    runtime.down()
    _build(config, args.items)
    try:
        yield runtime.up(config).api_url, config.platform
    finally:
        runtime.down()


def _document(args: argparse.Namespace) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(args.config.read_text())
    document["http_options"]["port"] = _PORT
    [application] = document["applications"]
    application["args"]["data_dir"] = str(args.folder / "var")
    for deployment in application["deployments"]:
        deployment.pop("autoscaling_config", None)
        deployment["num_replicas"] = 1
    return document


def _build(config: Config, count: int) -> None:
    store = VersionStore.of(config.platform)
    manifest = None if (current := store.current()) is None else store.manifest(current)
    # A kept one of an encoder of before would be served with what this one no longer exports.
    if manifest is None or (manifest.items, manifest.fingerprint) != (count, fingerprint(config.platform.encoder)):
        print(f"building {count:,} items", flush=True)
        items = [Item(item["item_id"], item["title"], item["text"]) for item in Texts(0).items(range(count))]
        store.promote(build_items(items, config, lambda *_: None).version)


def _visible(writer: Writer, rounds: int, *, vectors: bool) -> dict[str, Any]:
    """New items, whose texts no cache has."""
    taken = []
    for number in range(rounds + 1):
        items = Texts(1 + number).items(range(1_000_000, 1_000_000 + _TOGETHER))
        if vectors:
            items = [{**item, "text": f"{item['text']}, once more"} for item in items]
        body = writer.body(items, vectors=vectors)
        time.sleep(0.5)
        taken.append(writer.write(body))
        writer.erase(items)
    del taken[0]  # its connections were opened, and its code was loaded
    kind = "vectors" if vectors else "texts"
    return {"kind": kind, "median_s": round(median(taken), 3), "each_s": [round(one, 3) for one in taken]}


def _serving(writer: Writer, args: argparse.Namespace) -> list[dict[str, Any]]:
    drive(writer.url, _TARGET, _USERS, _CLIENTS, 3)
    tenth = args.items // 10
    rows = []
    for kind, vectors in (("texts", False), ("vectors", True)):
        rows.append(_row(f"before {kind}", _measured(writer, args), 0))
        erased = Texts(0).items(range(tenth))
        encoded = _bodies(writer, erased, "") if vectors else None
        with _repeated(partial(_again, writer, erased, encoded, itertools.count())) as rounds:
            while_written = _measured(writer, args)
        rows.append(_row(f"while, {kind}", while_written, rounds()))
        rows[-1]["p99_vs_before"] = round(rows[-1]["p99_ms"] / rows[-2]["p99_ms"], 2)
    return rows


def _again(writer: Writer, erased: Sequence[ItemOut], encoded: Sequence[bytes] | None, turns: Iterator[int]) -> None:
    """Erase the items and write them again. `encoded`: bodies with vectors; None: with texts that the encoder has not
    seen, for it remembers those of the last turn.
    """
    writer.erase(erased)
    for body in encoded or _bodies(writer, erased, f", {next(turns)}"):
        writer.write(body)


def _bodies(writer: Writer, items: Sequence[ItemOut], more: str) -> list[bytes]:
    """Of calls that write the items with `more` behind their texts; with vectors where there is no more."""
    items = [{**item, "text": f"{item['text']}{more}"} for item in items]
    return [
        writer.body(items[start : start + _TOGETHER], vectors=not more) for start in range(0, len(items), _TOGETHER)
    ]


def _measured(writer: Writer, args: argparse.Namespace) -> Measured:
    return drive(writer.url, _TARGET, _USERS, _CLIENTS, args.seconds, rate=args.rate)


def _row(name: str, measured: Measured, rounds: int) -> dict[str, Any]:
    return {
        "row": name,
        "rps": round(measured.rps),
        "p50_ms": round(measured.p50_ms, 2),
        "p99_ms": round(measured.p99_ms, 2),
        "errors": measured.errors,
        "rounds": rounds,
    }


@contextmanager
def _repeated(step: Callable[[], None]) -> Iterator[Callable[[], int]]:
    """Repeat `step` in a thread. Yield how often it has ended so far."""
    over, count, failed = threading.Event(), 0, []

    def run() -> None:
        nonlocal count
        while not over.is_set():
            try:
                step()
            except BaseException as error:  # noqa: BLE001 - raised in the thread that measures
                failed.append(error)
                return
            count += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield lambda: count
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def _show(result: dict[str, Any]) -> None:
    console = Console(width=110)
    for one in result["visible"]:
        each = ", ".join(f"{taken:.2f}" for taken in one["each_s"])
        console.print(f"1,000 items with {one['kind']} visible after {one['median_s']:.3f} s (each {each})")
    table = Table(
        "row", "requests/s", "p50 ms", "p99", "p99 / before", "errors", "rounds",
        title=f"a tenth of {result['items']:,} items erased and written again, {result['rate']:g} requests/s",
    )  # fmt: skip
    for row in result["serving"]:
        share = row.get("p99_vs_before")
        table.add_row(
            row["row"], f"{row['rps']:,}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}",
            "" if share is None else f"{share:.2f}", str(row["errors"]), str(row["rounds"]),
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
