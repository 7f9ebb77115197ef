"""The options of every command that reads files."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import typer

from recsys.errors import BadInput
from recsys.reading.dialect import BadAttributes, Condition, DefaultTime, ReadOptions, TimeUnit

DETECTED = ReadOptions()
"""No option is given: everything is detected."""
_PANEL = "How files are written (detected where nothing is said)"
_PARAMETER = "options"


def _option(*names: str, says: str) -> Any:
    return typer.Option(*names, help=says, rich_help_panel=_PANEL, show_default=False)


_OPTIONS: dict[str, Any] = {
    "mapping": Annotated[
        list[str] | None,
        _option(
            "--map",
            says="Column names, as field=column, such as item_id=sku. Repeatable; of several for one field each file "
            "is read by the first that it has.",
        ),
    ],
    "separator": Annotated[str | None, _option("--separator", says="Between cells, such as ; or :: or tab.")],
    "encoding": Annotated[str | None, _option("--encoding", says="Such as cp1252, latin-1, utf-16, shift_jis.")],
    "no_header": Annotated[bool, _option("--no-header", says="The first line is a row; columns are named 1, 2, 3.")],
    "header": Annotated[bool, _option("--header", says="The first line holds names.")],
    "list_separator": Annotated[
        str | None, _option("--list-separator", says="Between the entries of one cell, such as ','.")
    ],
    "time_unit": Annotated[TimeUnit | None, _option("--time-unit", says="Of times that are numbers.")],
    "time_format": Annotated[
        str | None, _option("--time-format", says="As strptime knows it, such as '%d/%m/%Y %H:%M'.")
    ],
    "default_time": Annotated[
        DefaultTime | None,
        _option("--default-time", says="For events without a time: the order of the rows, or now."),
    ],
    "type_map": Annotated[
        list[str] | None, _option("--type-map", says="Event types, as theirs=ours, such as addtocart=cart. Repeatable.")
    ],
    "where": Annotated[
        list[str] | None, _option("--where", says="Rows that are read, such as clicked=1 or price>0. Repeatable.")
    ],
    "text_from": Annotated[
        str | None, _option("--text-from", says="Columns that make up the text: title,brand,description.")
    ],
    "bad_attributes": Annotated[
        BadAttributes,
        _option(
            "--bad-attributes", says="Whether an optional value that does not fit is dropped, or its item refused."
        ),
    ],
}
_DEFAULTS = {"no_header": False, "header": False, "bad_attributes": "drop"}


def reads_files(command: Callable[..., Any]) -> Callable[..., Any]:
    """Replace the parameter `options` of a command by these options. The command gets them as one `ReadOptions`."""
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name == _PARAMETER:
            parameters += [
                inspect.Parameter(one, parameter.KEYWORD_ONLY, default=_DEFAULTS.get(one), annotation=kind)
                for one, kind in _OPTIONS.items()
            ]
        else:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def wrapped(**given: Any) -> Any:
        own = {name: given.pop(name) for name in _OPTIONS}
        return command(**given, **{_PARAMETER: options_of(**own)})

    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def options_of(
    *,
    mapping: Sequence[str] | None = None,
    no_header: bool = False,
    header: bool = False,
    type_map: Sequence[str] | None = None,
    where: Sequence[str] | None = None,
    text_from: str | None = None,
    **others: Any,
) -> ReadOptions:
    """Return the options as one object. Raises BadInput for an invalid value."""
    if header and no_header:
        raise BadInput("say --header or --no-header, not both", field="header")
    columns: dict[str, list[str]] = {}
    for name, column in _pairs("--map", "field=column, such as item_id=sku", mapping or ()):
        columns.setdefault(name, []).append(column)
    return ReadOptions(
        mapping={name: first for name, (first, *_) in columns.items()},
        also={name: tuple(others) for name, (_, *others) in columns.items() if others},
        header=True if header else False if no_header else None,
        type_map=dict(_pairs("--type-map", "theirs=ours, such as addtocart=cart", type_map or ())),
        where=tuple(map(Condition.parse, where or ())),
        text_from=tuple(name.strip() for name in (text_from or "").split(",") if name.strip()),
        **others,
    )


def _pairs(option: str, form: str, pairs: Sequence[str]) -> Iterator[tuple[str, str]]:
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or not value:
            raise typer.BadParameter(f"{option} {pair}: write it as {form}")
        yield name, value
