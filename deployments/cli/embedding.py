"""recsys embed: a catalogue and its vectors as Parquet, made on Ray Data."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.batch.embed_client import embedded
from deployments.cli.bad_rows import BadRows
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Files, Json, out, print_json
from deployments.cli.progress import bars
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.machine.serve_config import read_config
from recsys.config import Platform
from recsys.data.dialect import ReadOptions
from recsys.data.embedding_plan import Plan, alone, plan
from recsys.encoders.catalogue import Progress, WhenNeeded
from recsys.jobs.item_files import read_catalogue


def add_to(cli: typer.Typer) -> None:
    cli.command()(reads_files(embed))


def embed(
    files: Files,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the Parquet files; shared by all nodes.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Encoders side by side, each with a core; default: a core each.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="host:port of a Ray cluster; default: a Ray of its own on this machine.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    json: Json = False,
) -> None:
    """Encode whole item files into a folder of Parquet, for `recsys build FOLDER`: on a pool of Ray actors.

    A run that died goes on behind the chunks that it finished. A later run with other items into the same folder
    encodes only texts that have no vector there.
    """
    known, console = read_config(config), out(quiet=json)
    platform, bad_rows = known.platform, BadRows(console)
    with bars(console) as report:
        items = read_catalogue(files, known, options, report, bad_rows)
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        fingerprint = WhenNeeded(platform, os.cpu_count() or 1, report).fingerprint
        with alone(folder):
            todo = plan(folder, items, fingerprint, platform.attributes)
            done = _run(todo, platform, address, workers, report)
            todo.finish()
    done |= {
        "items": todo.items,
        "kept": todo.items - done["encoded"],
        "files": len(todo.chunks),
        "bad_rows": bad_rows.count,
    }
    _tell(done, folder, console, json=json)


def _run(todo: Plan, platform: Platform, address: str | None, workers: int | None, report: Progress) -> dict[str, Any]:
    """Seconds and speed are from the start of the workers on, which includes that each loads the model."""
    report("embed", 0, todo.waiting)
    done = encoded = used = 0
    start = time.perf_counter()
    if todo.todo:
        for step in embedded(todo, platform, address, workers, workers or os.cpu_count() or 1):
            if step.written is None:
                start, used = time.perf_counter(), step.workers
            else:
                done, encoded = done + step.written.items, encoded + step.written.encoded
                report("embed", done, todo.waiting)
    seconds = time.perf_counter() - start
    speed = round(encoded / seconds, 1) if encoded else None
    return {"encoded": encoded, "workers": used, "seconds": round(seconds, 1), "items_per_s": speed}


def _tell(done: dict[str, Any], folder: Path, console: Console, *, json: bool) -> None:
    if json:
        print_json(done)
        return
    speed = f", {done['items_per_s']} items/s on {done['workers']} workers" if done["items_per_s"] else ""
    console.print(
        f"{done['items']} items in {done['files']} files: {done['encoded']} encoded, {done['kept']} kept, "
        f"{done['bad_rows']} bad rows, {done['seconds']} s{speed}"
    )
    console.print(f"build a version of it with: recsys build {folder}", soft_wrap=True)
