"""recsys build, versions, promote, rollback."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from deployments.cli.options import DEFAULT_CONFIG, Config, Files, Json, Mapping, mapping_of, out, print_json
from deployments.cli.progress import bars
from deployments.serve_config import platform_of, serve_config, serving_of, tuning_of
from recsys.building import Build, Progress
from recsys.datatypes import Item
from recsys.encoder import load_encoder, prepare_encoder
from recsys.importing import read_items
from recsys.versions import Manifest, VersionStore


def add_to(cli: typer.Typer) -> None:
    for command in (build, versions, promote, rollback):
        cli.command()(command)


def build(
    files: Files,
    config: Config = DEFAULT_CONFIG,
    mapping: Mapping = [],
    promote: Annotated[bool, typer.Option("--promote", help="Serve the new version as soon as it is built.")] = False,
    json: Json = False,
) -> None:
    """Build an index version of whole item files: encode, index, measure recall, publish beside the others.

    Changes of items that were made over HTTP stay on top of it. Nothing is served before `recsys promote`.
    """
    console = out(quiet=json)
    with bars(console) as report:
        start = time.perf_counter()
        manifest, bad_rows = build_files(files, config, mapping_of(mapping), report, console)
        seconds = round(time.perf_counter() - start, 1)
    if promote:
        store_of(config).promote(manifest.version)
    if json:
        print_json({**_summary(manifest), "bad_rows": bad_rows, "seconds": seconds, "promoted": promote})
    else:
        recall = "-" if manifest.recall_at_10 is None else f"{manifest.recall_at_10:.4f}"
        console.print(
            f"version {manifest.version}: {manifest.items} items in {len(manifest.shards)} shards, "
            f"recall@10 {recall} against exact search, {bad_rows} bad rows, {seconds} s"
        )
        console.print("serving it" if promote else f"serve it with: recsys promote {manifest.version}")


def versions(config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """List the published versions and which one is served."""
    store = store_of(config)
    current = store.current()
    rows = [{**_summary(m), "current": m.version == current} for m in store.versions()]
    if json:
        print_json(rows)
        return
    table = Table(
        *(Column(name, no_wrap=True) for name in ("version", "served", "items", "shards", "recall@10", "built"))
    )
    for row in rows:
        recall = "-" if row["recall_at_10"] is None else f"{row['recall_at_10']:.4f}"
        shown = (row["version"], "yes" if row["current"] else "", row["items"], row["shards"], recall)
        table.add_row(*map(str, (*shown, row["created_at"])))
    Console().print(table)


def promote(version: str, config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """Serve a version from now on; a running platform switches live, without a failed request."""
    _served(store_of(config).promote(version), json=json)


def rollback(config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """Serve again the version that was served before."""
    _served(store_of(config).rollback(), json=json)


def store_of(config: Path) -> VersionStore:
    return VersionStore(platform_of(serve_config(config)).home() / "versions")


def build_files(
    files: list[Path], config: Path, mapping: dict[str, str], report: Progress, console: Console
) -> tuple[Manifest, int]:
    """Read, build and publish; the manifest and the number of rows that could not be read."""
    known = serve_config(config)
    platform, limits = platform_of(known), serving_of(known).limits
    items, bad = [], 0
    for batch in read_items(files, platform.attributes, limits, mapping):
        for row in batch.bad_rows:
            bad += 1
            if bad <= 20:
                console.print(f"{row.file}:{row.line}: {row.message}", markup=False)
        for record in batch.records:
            attributes = {key: value for key, value in record.attributes.items() if value is not None}
            items.append(Item(record.item_id, record.title, record.text, attributes, record.created_at))
        report("read", batch.bytes_read, batch.bytes_total)
    return publish(config, items, report), bad


def publish(config: Path, items: list[Item], report: Progress) -> Manifest:
    return build_of(config, report).publish(items, report)


def build_of(config: Path, report: Progress) -> Build:
    """What versions are built with; the encoder is loaded."""
    known = serve_config(config)
    platform = platform_of(known)
    threads = os.cpu_count() or 1
    models = platform.home() / "models"
    report("export", 0, 1)
    prepare_encoder(platform.encoder, models, threads=threads)
    report("export", 1, 1)
    encoder = load_encoder(platform.encoder, models, threads=threads)
    return Build(platform, store_of(config), encoder, threads, tuning_of(known, 0))


def _summary(manifest: Manifest) -> dict[str, object]:
    return {
        "version": manifest.version,
        "items": manifest.items,
        "shards": len(manifest.shards),
        "recall_at_10": manifest.recall_at_10,
        "fingerprint": manifest.fingerprint,
        "created_at": manifest.created_at.isoformat(timespec="seconds"),
    }


def _served(manifest: Manifest, *, json: bool) -> None:
    if json:
        print_json(_summary(manifest))
    else:
        out().print(f"serving version {manifest.version} with {manifest.items} items")
