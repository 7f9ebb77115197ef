"""recsys tune: the cheapest index that meets a target."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError

from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Json, out, print_json
from deployments.cli.progress import bars
from deployments.cli.tuning_front import as_json, costs, rows, show
from deployments.cli.tuning_plot import draw
from deployments.machine.config_tuned import write_tuned
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.data.interactions import Interactions
from recsys.encoders.catalogue import Progress
from recsys.errors import BadInput
from recsys.jobs.train import EventFiles, Lessons
from recsys.jobs.tune import Report, Tuning, live_histories, version_of
from recsys.reading.judgement import FileTallies
from recsys.tuning.halving import Target
from recsys.tuning.measuring import RECALL_FLOOR

_MILLISECONDS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}


def add_to(cli: typer.Typer) -> None:
    cli.command()(tune)


def tune(
    recall: Annotated[
        float, typer.Option(min=RECALL_FLOOR, max=1, help="Recall@10 of every group of queries, see below.")
    ] = RECALL_FLOOR,
    memory: Annotated[
        str | None, typer.Option(help="Of the process of one shard, such as 2GiB; none: any.", show_default=False)
    ] = None,
    p99: Annotated[str | None, typer.Option(help="Of one search alone, such as 2ms; none: any.")] = None,
    version: Annotated[
        str | None, typer.Option(help="Whose vectors it is tried on; none: the served one, else the newest.")
    ] = None,
    events: Annotated[
        list[Path] | None,
        typer.Option("--events", help="Event files for the tastes of users; none: the platform's. Repeatable."),
    ] = None,
    engines: Annotated[
        str | None, typer.Option(help="Which to try, such as hnsw,faiss:IVF64,SQ8 (a kind last); none: all here.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    write: Annotated[bool, typer.Option(help="Whether the config file is changed.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of what was tried here.")] = None,
    seed: Annotated[int, typer.Option(help="Of samples and queries.")] = 7,
    json: Json = False,
) -> None:
    """Find the cheapest index that meets a target on your own vectors, and write it into the config file.

    Engines and their settings are tried by successive halving, in processes of their own. Queries are texts, tastes of
    users, items, and tastes with filters of several widths; each of these groups must find `--recall` of the ten
    exactly nearest. What is chosen is asked other queries before it is written. The next build takes it.
    """
    console, serve_config = out(quiet=json), read_config(config)
    target = Target(recall, _bytes(memory), _milliseconds(p99))
    store, manifest = version_of(serve_config, version)
    with bars(console) as report:
        work = Tuning.of(serve_config, store, manifest, seed)
        histories = _histories(serve_config, events or [], work.item_ids, report)
        tuned = work.asked_by(histories).run(target, _names(engines), report)
    choice = tuned.outcome.choice
    if plot is not None:
        draw(tuned, target, plot)
    if choice is not None and write:
        write_tuned(config, choice.trial.spec, choice.point.ef_search)
    if json:
        print_json(as_json(tuned, written=choice is not None and write))
    else:
        show(tuned)
    if choice is None:
        raise BadInput(_nothing(tuned, target))
    if not json:
        changed = f"{config} says so; `recsys build --from-live` makes it" if write else "nothing was written"
        console.print(f"{costs(tuned, choice)}\n{changed}", markup=False, soft_wrap=True)


def _histories(config: ServeConfig, events: list[Path], item_ids: list[str], report: Progress) -> Interactions | None:
    """None: there are none."""
    if events:
        lessons = Lessons(events)
        return EventFiles.open(lessons, lessons.options, config.serving).read(item_ids, report, FileTallies())
    with Runtime.of(config).redis_if_used(config) as url:
        live = None if url is None else asyncio.run(live_histories(config, url, item_ids, report))
    return live if live is not None and len(live) else None


def _names(engines: str | None) -> list[str]:
    """A kind may hold commas, so what follows one without being an engine's name belongs to it."""
    names: list[str] = []
    for part in (engines or "").split(","):
        if names and ":" in names[-1] and not re.match(r"[a-z_0-9]+(:|$)", part):
            names[-1] += f",{part}"
        elif part:
            names.append(part)
    return names


def _bytes(given: str | None) -> float | None:
    try:
        return None if given is None else float(TypeAdapter(ByteSize).validate_python(given))
    except ValidationError:
        raise BadInput(f"--memory {given}: write it as 800MiB or 2GiB", field="memory") from None


def _milliseconds(given: str | None) -> float | None:
    if given is None:
        return None
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(us|µs|ms|s)", given.strip())
    if parts is None:
        raise BadInput(f"--p99 {given}: write it as 2ms or 500us", field="p99")
    return float(parts[1]) * _MILLISECONDS[parts[2]]


def _nothing(report: Report, target: Target) -> str:
    best = max((row["recall"] for row in rows(report)), default=0.0)
    limits = [f"--recall {target.recall:g}"]
    limits += [] if target.shard_bytes is None else ["--memory"]
    limits += [] if target.p99_ms is None else ["--p99"]
    return f"no setting meets {', '.join(limits)}: the best recall was {best:.4f}; ask for less, or set engine: flat"
