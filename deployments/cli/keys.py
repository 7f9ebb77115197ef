"""recsys keys: creates API keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from deployments.cli.options import DryRun, Json, out, print_json
from recsys.access.api_keys import ApiKey, new_key, read_keys
from recsys.errors import BadInput
from recsys.files import replace


def add_to(cli: typer.Typer) -> None:
    group = typer.Typer(help="API keys of the platform.", no_args_is_help=True)
    group.callback()(lambda: None)  # without a callback typer would make the only command the group itself
    group.command("new")(new)
    cli.add_typer(group, name="keys")


def new(
    name: Annotated[str, typer.Argument(help="Who will use it: in logs and errors, never the key.")],
    scope: Annotated[list[str], typer.Option("--scope", help="read, write or admin. Repeatable.")],
    rate: Annotated[float | None, typer.Option(help="Requests/s at the most.")] = None,
    burst: Annotated[float | None, typer.Option(help="Requests at once; as --rate if not given.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends, such as 2027-01-31T00:00:00Z.")] = None,
    into: Annotated[
        Path | None, typer.Option(help="A key file to add the entry to; it is made if it is not there.")
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Make an API key. It is shown this once; what is kept of it is a hash."""
    key, digest = new_key()
    given = {"name": name, "sha256": digest, "scopes": scope, "rate": rate, "burst": burst, "expires": expires}
    entry = {field: value for field, value in given.items() if value is not None}
    try:
        ApiKey.model_validate(entry)
    except ValueError as error:
        raise BadInput(_first(error)) from None
    entries = None if into is None else _with(entry, into)
    if dry_run:
        _show_planned(entry, into, json=json)
        return
    if into is not None:
        replace(into, yaml.safe_dump({"keys": entries}, sort_keys=False).encode(), mode=0o600)
    if json:
        print_json({"key": key, "entry": entry})
        return
    typer.echo(key)
    console = out()
    console.print("This key is shown once; a caller sends it as Authorization: Bearer … or X-API-Key.")
    if into is not None:
        console.print(f"{into} has its entry; a running platform reads it within security.reload_s seconds.")
    else:
        console.print("Its entry for the file that security.keys_file names:\n")
        console.print(yaml.safe_dump({"keys": [entry]}, sort_keys=False), markup=False)


def _show_planned(entry: dict[str, Any], into: Path | None, *, json: bool) -> None:
    """Print the entry without the key's hash, since nobody was shown that key."""
    if json:
        print_json({"dry_run": True, "entry": {field: value for field, value in entry.items() if field != "sha256"}})
        return
    where = "" if into is None else f" and add its entry to {into}"
    out().print(
        f"would make a key {entry['name']} of scope {', '.join(entry['scopes'])}{where}. Nothing was changed.",
        markup=False,
        soft_wrap=True,
    )


def _with(entry: dict[str, Any], file: Path) -> list[Any]:
    """Return the entries of the key file with this one. Raises BadInput when the file has an entry of its name."""
    entries: list[Any] = []
    if file.exists():
        names = {key.name for key in read_keys(file).keys}
        if entry["name"] in names:
            raise BadInput(f"{file}: has a key {entry['name']} already; take another name, such as {entry['name']}-2")
        entries = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("keys") or []
    return [*entries, entry]


def _first(error: ValueError) -> str:
    first = error.errors(include_input=False)[0]  # type: ignore[attr-defined] # pydantic's
    return f"{'.'.join(map(str, first['loc'][:1]))}: {first['msg']}"
