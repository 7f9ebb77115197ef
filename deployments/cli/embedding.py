"""recsys embed: a catalogue and its vectors as Parquet, made on Ray Data."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.batch.embed_client import embedded
from deployments.cli.left_out import LeftOut
from deployments.cli.options import (
    DEFAULT_CONFIG,
    AllowBad,
    ConfigFile,
    DryRun,
    Files,
    Json,
    out,
    print_json,
)
from deployments.cli.progress import bars
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.machine.serve_config import read_config
from recsys.config import Platform
from recsys.data.embedding_plan import Plan, alone, plan, to_encode
from recsys.encoders.catalogue import Progress, WhenNeeded
from recsys.jobs.item_files import read_catalogue
from recsys.reading.dialect import ReadOptions


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
    allow_bad: AllowBad = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Encode whole item files into a folder of Parquet, for `recsys build FOLDER`: on a pool of Ray actors.

    A run that died goes on behind the chunks that it finished. A later run with other items into the same folder
    encodes only texts that have no vector there.
    """
    known, console = read_config(config), out(quiet=json)
    platform, left_out, folder = known.platform, LeftOut(console, allow_bad, "items"), folder.resolve()
    with left_out.told(json=json), bars(console) as report:
        items = read_catalogue(files, known, options, report, left_out["items"])
        fingerprint = WhenNeeded(platform, os.cpu_count() or 1, report).fingerprint
        if dry_run:
            texts = to_encode(folder, items, fingerprint)
    if dry_run:
        _tell_planned({"items": len(items), "texts": texts}, folder, left_out, console, json=json)
        return
    with bars(console) as report:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            todo = plan(folder, items, fingerprint, platform.attributes)
            done = _run(todo, platform, address, workers, report)
            todo.finish()
    done |= {
        "items": todo.items,
        "kept": todo.items - done["encoded"],
        "files": len(todo.chunks),
        **left_out.as_json(),
    }
    left_out.say()
    _tell(done, folder, console, json=json)
    left_out.end()


def _tell_planned(planned: dict[str, int], folder: Path, left_out: LeftOut, console: Console, *, json: bool) -> None:
    left_out.say()
    if json:
        print_json({"dry_run": True, **planned, **left_out.as_json()})
    else:
        console.print(
            f"would encode {planned['texts']} texts of {planned['items']} items into {folder}. Nothing was changed.",
            soft_wrap=True,
        )
    left_out.end()


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
