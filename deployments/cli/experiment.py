"""recsys experiment: starts, widens, stops and reads experiments of the running platform."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from deployments.cli.client import Client
from deployments.cli.options import DryRun, Json, out, print_json
from deployments.cli.platform_choice import AnyConfig, running
from recsys.errors import BadInput

_WORDS = {
    "better": "better than the control",
    "worse": "worse than the control",
    "undecided": "not decided yet",
    "too_few_users": "too few users to say anything",
    "mismatch": "not to be believed: the numbers of users do not fit",
}
_WIDTH = 120

Name = Annotated[str, typer.Argument(help="Of the experiment.")]


def add_to(cli: typer.Typer) -> None:
    group = typer.Typer(help="Experiments of the running platform: docs/experiments.md.", no_args_is_help=True)
    for command in (start, ramp, stop, report):
        group.command()(command)
    group.command("list")(listed)
    group.command("off-policy")(off_policy)
    cli.add_typer(group, name="experiment")


def start(
    name: Annotated[str, typer.Argument(help="A name that no experiment had before.")],
    variant: Annotated[
        list[str],
        typer.Option(
            help="NAME=JSON, what differs from the scenario, such as spread='{\"diversity\": 0.5}'. Repeatable; the "
            "control is the scenario as it is."
        ),
    ],
    scenario: Annotated[str, typer.Option(help="Whose requests are in it.")] = "home",
    share: Annotated[float, typer.Option(help="Of the users.")] = 1.0,
    interleave: Annotated[bool, typer.Option("--interleave", help="Slates of the control and one variant.")] = False,
    metric: Annotated[
        str, typer.Option(help="click_through, answer_click_through, conversion or value_per_answer.")
    ] = "click_through",
    effect: Annotated[float, typer.Option(help="The relative difference that is worth finding.")] = 0.05,
    layer: Annotated[str | None, typer.Option(help="Experiments of a layer have no user in common.")] = None,
    begins: Annotated[float, typer.Option(help="Where its part of the layer begins, 0 to 1.")] = 0.0,
    p99_ms: Annotated[float | None, typer.Option(help="Milliseconds past which a variant is stopped.")] = None,
    author: Annotated[str, typer.Option(help="Who starts it.")] = "",
    config: AnyConfig = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Start an experiment: the scenario as it is, against variants of it."""
    variants: dict[str, Any] = {"control": {}}
    for one in variant:
        word, _, settings = one.partition("=")
        variants[word] = {"settings": _settings(word, settings)}
    experiment = {
        "name": name,
        "kind": "interleaving" if interleave else "split",
        "variants": variants,
        "share": share,
        "metric": metric,
        "effect": effect,
        "layer": layer,
        "begins": begins,
        "guardrails": {"p99_ms": p99_ms},
    }
    body = {"scenario": scenario, "experiment": experiment, "author": author, "dry_run": dry_run}
    answer = _call(config, "POST", "/v1/admin/experiments", body)
    if json:
        print_json(answer)
        return
    sentence = f"would start {name}; nothing was changed." if dry_run else f"{name} runs on {scenario}."
    out().print(f"{sentence} {_needs(answer)}", markup=False, soft_wrap=True)


def _settings(name: str, text: str) -> dict[str, Any]:
    try:
        settings = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"variant: the settings of {name!r} are no JSON: {error}", field="variant") from None
    if not isinstance(settings, dict):
        raise BadInput(f"variant: the settings of {name!r} must be an object with named fields", field="variant")
    return settings


def _needs(plan: dict[str, Any]) -> str:
    if plan["users_needed"] is None:
        return "How many users it needs cannot be said yet: the scenario has too few outcomes."
    return (
        f"It needs about {plan['users_needed']:,} users; {plan['users_lately']:,} came in the last "
        f"{plan['days_lately']:.0f} days."
    )


def ramp(
    name: Name,
    share: Annotated[float, typer.Argument(help="Of the users; more than now.")],
    author: Annotated[str, typer.Option(help="Who does.")] = "",
    config: AnyConfig = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take in more users. Nobody who is in it changes the variant."""
    if dry_run:
        _would(_of(config, name), f"take {share:.0%} of the users into {name}", json=json)
        return
    answer = _call(config, "PATCH", f"/v1/admin/experiments/{name}", {"share": share, "author": author})
    _tell(answer, f"{name} has {share:.0%} of the users.", json=json)


def stop(
    name: Name,
    keep: Annotated[str | None, typer.Option(help="The variant whose settings stay; none: the control's.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    author: Annotated[str, typer.Option(help="Who does.")] = "",
    config: AnyConfig = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """End an experiment; its report can still be read."""
    kept = f"the settings of {keep}" if keep else "its own settings"
    if dry_run:
        record = _of(config, name)
        _would(record, f"end {name}; {record['scenario']} would have {kept}", json=json)
        return
    body = {"keep": keep, "reason": reason, "author": author}
    answer = _call(config, "POST", f"/v1/admin/experiments/{name}/stop", body)
    _tell(answer, f"{name} has ended; {answer['scenario']} has {kept}.", json=json)


def listed(config: AnyConfig = None, json: Json = False) -> None:
    """List all experiments, newest first."""
    answer = _call(config, "GET", "/v1/admin/experiments")
    if json:
        print_json(answer)
        return
    table = Table("name", "scenario", "variants", "began", "ended", "reason", box=SIMPLE_HEAD)
    for one in answer["experiments"]:
        table.add_row(
            one["name"],
            one["scenario"],
            ", ".join(one["experiment"]["variants"]),
            _when(one["started_at"]),
            _when(one["ended_at"]),
            one["reason"],
        )
    Console(highlight=False, width=max(_WIDTH, Console().width)).print(table)


def report(
    name: Name,
    plot: Annotated[Path | None, typer.Option(help="A picture of the difference over time, such as x.png.")] = None,
    config: AnyConfig = None,
    json: Json = False,
) -> None:
    """Say what an experiment tells so far: docs/experiments.md says what each number means."""
    answer = _call(config, "GET", f"/v1/admin/experiments/{name}")
    if plot is not None:
        from deployments.cli.experiment_plot import draw  # noqa: PLC0415 - slow, and only a plot needs it

        draw(answer, plot)
    if json:
        print_json(answer)
    else:
        show(answer, Console(highlight=False, width=max(_WIDTH, Console().width)))


def show(answer: dict[str, Any], console: Console) -> None:
    """As tables, and a sentence for each variant."""
    experiment = answer["experiment"]
    right = [Column(word, justify="right") for word in ("users", "answers", experiment["metric"], "95 %")]
    table = Table("variant", *right, box=SIMPLE_HEAD)
    for side in answer["variants"]:
        metric = side["metric"]
        value, bounds = ("-", "-") if metric is None else (f"{metric['value']:.4f}", _bounds(metric))
        table.add_row(side["variant"], f"{side['users']:,}", f"{side['answers']:,}", value, bounds)
    console.print(table)
    for one in answer["compared"]:
        console.print(_sentence(one, experiment), markup=False, soft_wrap=True)
        stopped = experiment["variants"].get(one["variant"], {}).get("stopped")
        if stopped:
            console.print(f"  a guardrail has stopped it: {stopped}", markup=False, soft_wrap=True)
    if answer["sample_ratio_p"] < 0.001:
        console.print(
            "The numbers of users would differ so much by chance once in "
            f"{1 / max(answer['sample_ratio_p'], 1e-9):,.0f} times: something moves users between the variants. Find "
            "it before anything else.",
            markup=False,
            soft_wrap=True,
        )
    if answer["a_a"] is not None and answer["a_a"] > 0.1:
        console.print(
            f"{answer['a_a']:.0%} of random halves of the control seem to differ, and 5 % should: a few users weigh "
            "too much in this metric.",
            markup=False,
            soft_wrap=True,
        )


def _sentence(one: dict[str, Any], experiment: dict[str, Any]) -> str:
    words = [f"{one['variant']}: {_WORDS[one['verdict']]}"]
    if one["always"] is not None:
        kind = "share of the clicks beyond one half" if experiment["kind"] == "interleaving" else "difference"
        words.append(f"{kind} {one['always']['value']:+.4f}, at any time within {_bounds(one['always'])}")
    if one["lift"] is not None:
        words.append(f"lift {one['lift']:+.1%}")
    if one["p_value"] is not None:
        words.append(f"p {one['p_value']:.4f}")
    if one["cuped"] is not None and one["cuped"]["difference"] is not None:
        cuped = one["cuped"]
        words.append(f"with CUPED {cuped['difference']['value']:+.4f} {_bounds(cuped['difference'])} for one look")
    if one["users_needed"] is not None:
        words.append(f"{experiment['effect']:.0%} needs {one['users_needed']:,} users")
    return "; ".join(words)


def off_policy(
    temperature: Annotated[float, typer.Argument(help="What to judge; 0: the best comes first.")],
    scenario: Annotated[str, typer.Option(help="Whose answers; it must have had a temperature.")] = "home",
    since: Annotated[str | None, typer.Option("--from", help="RFC 3339 or Unix seconds; 30 days before --to.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="The same; by default now.")] = None,
    config: AnyConfig = None,
    json: Json = False,
) -> None:
    """Estimate what another temperature would bring, from answers whose order was drawn."""
    given = {"scenario": scenario, "temperature": temperature, "from": since, "to": until}
    query = {name: value for name, value in given.items() if value is not None}
    answer = _call(config, "GET", "/v1/admin/off-policy", None, **query)
    if json:
        print_json(answer)
        return
    console = Console(highlight=False, width=max(_WIDTH, Console().width))
    for method, estimate in answer["estimates"].items():
        text = (
            f"no estimate: {estimate['refused']}"
            if "refused" in estimate
            else f"{estimate['value']:.4f} {_bounds(estimate)}"
        )
        console.print(f"{method}: {text}", markup=False, soft_wrap=True)


def _bounds(estimate: dict[str, float]) -> str:
    return f"{estimate['low']:.4f} to {estimate['high']:.4f}"


def _when(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _call(
    config: Path | None, method: str, path: str, body: dict[str, Any] | None = None, **query: Any
) -> dict[str, Any]:
    instance = running(config)
    with Client(instance.api_url, instance.certificate) as client:
        return client.call(method, path, body, **query)


def _of(config: Path | None, name: str) -> dict[str, Any]:
    """The record of an experiment that runs. Raises BadInput."""
    records: list[dict[str, Any]] = _call(config, "GET", "/v1/admin/experiments")["experiments"]
    record = next((one for one in records if one["name"] == name and one["ended_at"] is None), None)
    if record is None:
        raise BadInput(f"name: no experiment {name!r} runs", field="name")
    return record


def _would(record: dict[str, Any], words: str, *, json: bool) -> None:
    if json:
        print_json({"dry_run": True, "experiment": record})
    else:
        out().print(f"would {words}. Nothing was changed.", markup=False, soft_wrap=True)


def _tell(answer: dict[str, Any], words: str, *, json: bool) -> None:
    if json:
        print_json(answer)
    else:
        out().print(words, markup=False, soft_wrap=True)
