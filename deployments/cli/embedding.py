"""recsys embed: writes a catalogue with its vectors as Parquet, on Ray Data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

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
    RayAddress,
    out,
    print_json,
    typed,
)
from deployments.cli.progress import bars
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.machine.serve_config import read_config
from recsys.data.embedding_plan import Plan
from recsys.jobs import embed as jobs
from recsys.jobs.embed import Embedded, Step
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
    address: RayAddress = None,
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
    serve_config, console = read_config(config), out(quiet=json)
    left_out, folder = LeftOut(console, allow_bad, "items"), folder.resolve()

    def run(todo: Plan) -> Iterator[Step]:
        return embedded(todo, serve_config.platform, address, workers, workers or os.cpu_count() or 1)

    with left_out.reported(json=json), bars(console) as report:
        items = list(read_catalogue(files, serve_config, options, report, left_out["items"]))
        texts = jobs.texts_to_encode(items, folder, serve_config, report) if dry_run else 0
    if dry_run:
        _show_planned({"items": len(items), "texts": texts}, folder, left_out, console, json=json)
        return
    with bars(console) as report:
        done = jobs.embed(items, folder, serve_config, report, run)
    left_out.say()
    _show(done, left_out, console, typed(config, "build", str(folder)), json=json)
    left_out.end()


def _show_planned(planned: dict[str, int], folder: Path, left_out: LeftOut, console: Console, *, json: bool) -> None:
    left_out.say()
    if json:
        print_json({"dry_run": True, **planned, **left_out.as_json()})
    else:
        console.print(
            f"would encode {planned['texts']} texts of {planned['items']} items into {folder}. Nothing was changed.",
            soft_wrap=True,
        )
    left_out.end()


def _show(done: Embedded, left_out: LeftOut, console: Console, step: str, *, json: bool) -> None:
    """`step`: what to type next."""
    if json:
        speed = {"seconds": round(done.seconds, 1), "items_per_s": done.items_per_s, "workers": done.workers}
        counts = {"items": done.items, "encoded": done.encoded, "kept": done.kept, "files": done.files}
        print_json({**counts, **speed, **left_out.as_json()})
        return
    pace = f", {done.items_per_s} items/s on {done.workers} workers" if done.items_per_s else ""
    console.print(
        f"{done.items} items in {done.files} files: {done.encoded} encoded, {done.kept} kept, "
        f"{left_out.bad_rows} bad rows, {done.seconds:.1f} s{pace}"
    )
    console.print(f"build a version of it with: {step}", markup=False, soft_wrap=True)
