"""recsys inspect: shows the content of files, their faults, and the command that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from deployments.cli.options import DEFAULT_CONFIG, ConfigFile, Files, Json, config_words, print_json, typed
from deployments.cli.platform_choice import running_in
from deployments.cli.reading_options import DETECTED, reads_files
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.data.parquet_folders import files_of
from recsys.reading.dialect import ReadOptions
from recsys.reading.inspection import ROWS, Configured, Inspection, inspect

_SHARES = {
    "with_title": "have a title",
    "with_text": "have a text",
    "with_created_at": "have a time of creation",
}
_ENGLISH = 0.8
"""Least share of English texts. Below it a line warns that the default model is for English."""


def add_to(cli: typer.Typer) -> None:
    cli.command("inspect")(reads_files(inspect_files))


def inspect_files(
    files: Files,
    config: ConfigFile = DEFAULT_CONFIG,
    options: ReadOptions = DETECTED,
    json: Json = False,
) -> None:
    """Look at files before anything is done with them: format, columns, a profile, odd rows.

    Proposes the command that reads each file, and the attributes to declare. Item and event files that are named
    together are joined. Changes nothing.
    """
    serve_config = read_config(config) if config.exists() else None
    inspections = [
        replace(one, command=one.command + config_words(config)) if one.command else one
        for one in inspect(files_of(files), options, _configured(serve_config))
    ]
    if json:
        print_json([{**asdict(one), "path": str(one.path)} for one in inspections])
        return
    console = Console(highlight=False)
    for one in inspections:
        _show(one, console)
    attributes = {name: kind for one in inspections for name, kind in one.attributes.items()}
    if attributes:
        where = f"To filter by what is in them, add to args.attributes of {config} before you build:"
        console.print(where, markup=False, soft_wrap=True)
        for name, kind in attributes.items():
            console.print(f"  {name}: {kind}", markup=False)
    if steps := _steps(config, serve_config, inspections, declares=bool(attributes)):
        console.print("Then:" if attributes else "Next:")
        for step in steps:
            console.print(f"  {step}", markup=False, soft_wrap=True)


def _steps(
    config: Path, serve_config: ServeConfig | None, inspections: Sequence[Inspection], *, declares: bool
) -> list[str]:
    """Return what to type, in this order: build a catalogue, start the platform, send everything else to it.

    `declares`: whether attributes are to be declared, which takes a start.
    """
    commands = dict.fromkeys(one.command for one in inspections if one.command)
    builds = [command for command in commands if command.startswith("recsys build ")]
    runs = serve_config is not None and running_in(serve_config.platform.home()) is not None
    restart = [typed(config, "down")] if runs and declares else []
    start = [typed(config, "up")] if restart or not runs else []
    return [*builds, *restart, *start, *(command for command in commands if command not in builds)]


def _configured(config: ServeConfig | None) -> Configured:
    """Return the settings of the config file, or the defaults without one."""
    if config is None:
        return Configured()
    platform, serving = config.platform, config.serving
    return Configured(platform.attributes, serving.event_types, serving.limits, platform.encoder.max_tokens)


def _show(one: Inspection, console: Console) -> None:
    more = "" if one.complete else f", the first {ROWS:,} of more"
    rows = f"{one.rows:,} row{'' if one.rows == 1 else 's'}"
    console.print(f"[bold]{escape(str(one.path))}[/]: {escape(one.dialect)}; {rows}{more}", soft_wrap=True)
    table = Table(*(Column(name) for name in ("column", "holds", "read as", "missing", "distinct", "such as")))
    for column in one.columns:
        examples = ", ".join(column.examples)
        missing = f"{column.missing:.1%}" if column.missing else ""
        table.add_row(column.name, column.kind, column.field or "", missing, f"{column.distinct:,}", examples[:80])
    console.print(table, markup=False)
    for line in [*_facts(one), *one.notes, *_losses(one)]:
        console.print(f"  {line}", markup=False, soft_wrap=True)
    if one.problem:
        console.print(f"  cannot be read so: {one.problem}", style="yellow", markup=False, soft_wrap=True)
    for row in one.worst:
        console.print(f"  {row}", style="yellow", markup=False, soft_wrap=True)
    console.print()


def _facts(one: Inspection) -> list[str]:
    facts = one.facts
    if not facts:
        return []
    return _of_items(facts) if one.sort == "items" else _of_events(facts)


def _losses(one: Inspection) -> list[str]:
    """Return the line above the rows that would be refused or lose a value."""
    read = one.facts.get("read", {})
    if not (read.get("refused") or read.get("dropped_values")):
        return []
    refused, dropped = f"{read['refused']:,} would be refused", f"{read['dropped_values']:,} lose an optional value"
    return [f"of the first {read['rows']:,} rows {refused}, and {dropped}; such as:"]


def _of_items(facts: dict[str, Any]) -> list[str]:
    lines = [f"{facts['items']:,} items; {facts['doubled_ids']:,} rows repeat an id, {facts['without_id']:,} have none"]
    lines.append(", ".join(f"{facts[name]:.0%} {words}" for name, words in _SHARES.items()))
    if facts["equal_texts"]:
        lines.append(f"{facts['equal_texts']:,} items have title and text of another one, but for case and punctuation")
    if facts["cut_texts"]:
        lines.append(
            f"about {facts['cut_texts']:.0%} of the texts are longer than the {facts['max_tokens']} tokens that the "
            "encoder reads; the rest of them is cut"
        )
    languages = facts["languages"]
    if languages:
        most = ", ".join(f"{language} {share:.0%}" for language, share in list(languages.items())[:4])
        english = languages.get("English", 0.0)
        warning = "; the default model knows English: name another one under encoder" if english < _ENGLISH else ""
        lines.append(f"languages, about: {most}{warning}")
    return [*lines, *_span(facts, "created", "created")]


def _of_events(facts: dict[str, Any]) -> list[str]:
    lines = [f"{facts['users']:,} users, {facts['items']:,} items"]
    if facts["types"]:
        lines.append("types: " + ", ".join(f"{name} {count:,}" for name, count in facts["types"].items()))
    lines += _span(facts, "times", "times")
    if facts.get("tied"):
        lines.append(f"{facts['tied']:.1%} of the events have the same time as another one of their user")
    if facts.get("repeated"):
        lines.append(f"{facts['repeated']:,} events repeat another one, and count once")
    largest = facts.get("largest_user")
    if largest and largest["share"] > 0.01:
        lines.append(f"the largest user, {largest['user_id']!r}, has {largest['events']:,} ({largest['share']:.0%})")
    join = facts.get("join")
    if join:
        without = ", ".join(map(repr, join["examples_without"]))
        lines.append(f"{join['share']:.1%} name an item of the item files{f'; none has {without}' if without else ''}")
    return lines


def _span(facts: dict[str, Any], name: str, words: str) -> list[str]:
    if f"{name}_from" not in facts:
        return []
    return [f"{words}: {facts[f'{name}_from'][:10]} to {facts[f'{name}_to'][:10]}"]
