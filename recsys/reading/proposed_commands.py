"""The commands that read files as proposed: one for all files of a sort, where one can say it all."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from recsys.reading.dialect import ReadOptions


@dataclass(frozen=True, slots=True)
class Proposal:
    """How one file is to be read."""

    path: Path
    sort: Literal["items", "events"]
    columns: frozenset[str]
    """All that the file has."""
    fields: Mapping[str, str]
    """Our field: the file's column, also where both have one name."""
    options: ReadOptions
    default_type: str | None = None
    """Of events without a type; None: the file names their types."""


def commands_of(proposals: Sequence[Proposal]) -> list[str]:
    """(proposals,) The command that reads each; files that one command reads have the same.

    A catalogue is built of the first item files. Those that need another command are sent behind it, as is all else.
    """
    groups: list[list[Proposal]] = []
    for one in proposals:
        group = next((group for group in groups if _together([*group, one]) is not None), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    built = next((group for group in groups if group[0].sort == "items"), None)
    commands = {one.path: _command(group, build=group is built) for group in groups for one in group}
    return [commands[one.path] for one in proposals]


def _together(group: Sequence[Proposal]) -> ReadOptions | None:
    """What is said of all files of the group at once; None: it would read one of them otherwise than proposed."""
    first = group[0]
    if len(group) == 1:
        return first.options
    if any(_beside_columns(one) != _beside_columns(first) for one in group):
        return None
    renamed = dict.fromkeys(name for one in group for name, column in one.fields.items() if name != column)
    columns: dict[str, list[str]] = {name: [] for name in renamed}
    types: dict[str, str] = {}
    for one in group:
        for name in renamed:
            if name in one.fields and one.fields[name] not in columns[name]:
                columns[name].append(one.fields[name])
        if any(types.setdefault(theirs, ours) != ours for theirs, ours in one.options.type_map.items()):
            return None
    joint = replace(
        first.options,
        mapping={name: listed[0] for name, listed in columns.items()},
        also={name: tuple(listed[1:]) for name, listed in columns.items() if listed[1:]},
        type_map=types,
    )
    return joint if all(_reads(joint, one) for one in group) else None


def _beside_columns(one: Proposal) -> tuple[str, str | None, ReadOptions]:
    """What must be one for all files of a command."""
    return one.sort, one.default_type, replace(one.options, mapping={}, also={}, type_map={})


def _reads(joint: ReadOptions, one: Proposal) -> bool:
    """Whether a file is read as proposed when all of this is said of it and of others."""
    mapping = joint.of_columns(one.columns, alone=False).mapping
    return all(
        mapping.get(name, name if name in one.columns else None) == one.fields.get(name) for name in joint.mapping
    )


def _command(group: Sequence[Proposal], *, build: bool) -> str:
    """What to type: `recsys build` for a catalogue, `recsys import` for all else."""
    first, options = group[0], _together(group) or ReadOptions()
    words = ["recsys", *(["build"] if build else ["import", first.sort]), *(str(one.path) for one in group)]
    for ours, column in options.mapping.items():
        words += [word for name in (column, *options.also.get(ours, ())) for word in ("--map", f"{ours}={name}")]
    for theirs, ours in options.type_map.items():
        words += ["--type-map", f"{theirs}={ours}"]
    if options.text_from:
        words += ["--text-from", ",".join(options.text_from)]
    for name, value in (
        ("--separator", options.separator),
        ("--encoding", options.encoding),
        ("--list-separator", options.list_separator),
        ("--time-unit", options.time_unit),
        ("--time-format", options.time_format),
        ("--default-time", options.default_time),
    ):
        words += [name, value] if value else []
    words += [] if options.header is None else ["--header" if options.header else "--no-header"]
    for one in options.where:
        words += ["--where", f"{one.column}{one.sign}{one.value}"]
    words += ["--type", first.default_type] if first.default_type else []
    return shlex.join([*words, *(["--promote"] if build else [])])
