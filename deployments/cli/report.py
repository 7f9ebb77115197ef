"""recsys report: what came of the answers."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from deployments.cli.client import Client
from deployments.cli.options import Json, print_json
from deployments.cli.platform_choice import AnyConfig, running

_COLUMNS = {
    "answers": "answers",
    "items": "items",
    "impressions": "seen",
    "clicks": "clicked",
    "conversions": "bought",
    "value": "value",
    "click_through": "clicked of items",
    "click_through_seen": "clicked of seen",
    "answer_click_through": "answers clicked",
    "conversion": "answers bought",
    "value_per_answer": "value an answer",
}
"""Measure -> its words in the table."""
_RATIOS = ("click_through", "click_through_seen", "answer_click_through", "conversion")
_WIDTH = 140
"""Columns below which the cells would be cut."""
_NOTES = {
    "repeated_answers": "answers have the request_id of a later one, which counts",
    "lost_answers": "answers are not in the log: it was full, or Redis was away for long",
    "lost_outcomes": "outcomes are not in the log: it was full",
    "unknown": "events name an answer that is not in the log",
    "untimely": "events lie before their answer, or too long after it",
    "elsewhere": "events are about an item that their answer does not have",
}


def add_to(cli: typer.Typer) -> None:
    cli.command()(report)


def report(
    by: Annotated[
        str, typer.Option(help="Any of scenario, day, position, source, version, variant, with commas between.")
    ] = "scenario",
    since: Annotated[
        str | None, typer.Option("--from", help="RFC 3339 or Unix seconds; by default a day before --to.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="The same; by default now.")] = None,
    window_s: Annotated[
        float | None, typer.Option(help="Seconds after an answer in which events count; by default slate_log.window_s.")
    ] = None,
    config: AnyConfig = None,
    json: Json = False,
) -> None:
    """Say what came of the answers of a period: impressions, clicks, conversions, value.

    docs/outcomes.md says what each number counts.
    """
    given: dict[str, Any] = {"by": by, "from": since, "to": until, "window_s": window_s}
    instance = running(config)
    with Client(instance.api_url, instance.certificate) as client:
        outcome = client.call("GET", "/v1/metrics/outcomes", **{k: v for k, v in given.items() if v is not None})
    if json:
        print_json(outcome)
    else:
        console = Console(highlight=False, width=max(_WIDTH, Console().width))
        show(outcome, [name.strip() for name in by.split(",") if name.strip()], console)


def show(outcome: dict[str, Any], by: list[str], console: Console) -> None:
    """As a table, with a line for everything that keeps answers and events from it."""
    dimensions = [Column(name, no_wrap=True) for name in by]
    table = Table(*dimensions, *(Column(words, justify="right") for words in _COLUMNS.values()), box=SIMPLE_HEAD)
    for group in outcome["groups"]:
        table.add_row(*(str(group[name] or "") for name in by), *(_cell(group, name) for name in _COLUMNS))
    if outcome["groups"]:
        table.add_section()
    if by:
        table.add_row("all", *[""] * (len(by) - 1), *(_cell(outcome["total"], name) for name in _COLUMNS))
    else:
        table.add_row(*(_cell(outcome["total"], name) for name in _COLUMNS))
    console.print(table)
    for name, words in _NOTES.items():
        if outcome[name]:
            console.print(f"{outcome[name]:,} {words}", markup=False, soft_wrap=True)


def _cell(measures: dict[str, Any], name: str) -> str:
    value = measures[name]
    if value is None:
        return "-"
    if name in _RATIOS:
        return f"{value:.2%}"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
