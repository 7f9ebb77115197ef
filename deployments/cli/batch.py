"""recsys batch: writes recommendations for all users as Parquet, on Ray Data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from deployments.batch.answer_client import answered
from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, DryRun, Json, RayAddress, out, print_json
from deployments.cli.progress import bars
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_config
from recsys.data.answer_plan import AnswerPlan
from recsys.errors import RuntimeFailure
from recsys.jobs import batch as jobs
from recsys.jobs.batch import Answered, Asked, Step


def add_to(cli: typer.Typer) -> None:
    cli.command()(batch)


def batch(
    folder: Annotated[Path, typer.Option("--out", help="Folder of the Parquet files; shared by all nodes.")],
    scenario: Annotated[str, typer.Option(help="A scenario for recommendations.")] = "home",
    k: Annotated[int, typer.Option(min=1, help="Items for each user.")] = 10,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers side by side, each with a core; default: a core each.")
    ] = None,
    address: RayAddress = None,
    config: ConfigFile = DEFAULT_CONFIG,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write recommendations for all users who have a history, as Parquet: on a pool of Ray actors.

    They come from the shards of the platform that runs, under the scenarios in force, and are logged as other answers
    are: an event may name the `request_id` of a row. A run that died goes on behind the chunks that it finished.
    """
    serve_config, console = read_config(config), out(quiet=json)
    folder, request = folder.resolve(), Asked(scenario, k)
    url = Runtime.of(serve_config).running_redis(serve_config)
    if url is None:
        raise RuntimeFailure("the platform is not up, so nobody can be answered; start it with: recsys up")
    if dry_run:
        with bars(console) as report:
            users = jobs.foreseen(folder, request, url, serve_config, report)
        if json:
            print_json({"dry_run": True, "users": users})
        else:
            console.print(f"would answer {users} users into {folder}. Nothing was changed.", soft_wrap=True)
        return

    def run(plan: AnswerPlan) -> Iterator[Step]:
        return answered(plan, request, serve_config, url, address, workers, workers or os.cpu_count() or 1)

    with bars(console) as report:
        done = jobs.batch(folder, request, url, serve_config, report, run)
    _show(done, folder, json=json)


def _show(done: Answered, folder: Path, *, json: bool) -> None:
    if json:
        counts = {"users": done.users, "files": done.files, "answered": done.answered}
        lacking = {"degraded": done.degraded, "empty": done.empty}
        speed = {"seconds": round(done.seconds, 1), "users_per_s": done.users_per_s, "workers": done.workers}
        print_json({**counts, **lacking, **speed})
        return
    console = out()
    pace = f", {done.users_per_s} users/s on {done.workers} workers" if done.users_per_s else ""
    console.print(
        f"{done.users} users in {done.files} files in {folder}: {done.answered} answered in {done.seconds:.1f} s{pace}",
        soft_wrap=True,
    )
    if done.degraded:
        console.print(f"{done.degraded} answers lack a part: see their column `degraded`", style="yellow")
    if done.empty:
        console.print(f"{done.empty} answers have no items: see their column `notes`", style="yellow")
