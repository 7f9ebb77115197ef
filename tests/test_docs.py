"""The README and the pages in docs/ do what they say: their commands exist, and their calls are made and answered."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import typer

from deployments.cli import make_cli
from deployments.cli.commands import load
from tests.support.live import REPOSITORY, Live

README = REPOSITORY / "README.md"
PAGES = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]
API = "localhost:8000"
page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@dataclass(frozen=True)
class Call:
    """A curl command of a page, and the JSON printed below it; None: nothing is."""

    method: str
    url: str
    headers: dict[str, str]
    body: str | None
    printed: Any


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks, in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell block: lines joined at backslashes, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def calls(page: Path) -> Iterator[Call]:
    found = blocks(page)
    for (language, text), (after, printed) in zip_longest(found, found[1:], fillvalue=("", "")):
        curls = [words for words in commands(text) if words[0] == "curl"] if language == "sh" else []
        for number, words in enumerate(curls, 1):
            shows = after == "json" and number == len(curls)
            yield curl(words[1:], orjson.loads(printed) if shows else None)


def curl(words: list[str], printed: Any) -> Call:
    method, body, headers, urls = "GET", None, {}, []
    rest = iter(words)
    for word in rest:
        match word:
            case "-s" | "-sS":
                pass
            case "-X":
                method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(":")
                headers[name] = value.strip()
            case "-d":
                body = next(rest)
            case _:
                urls.append(word)
    [url] = urls
    assert url.removeprefix("http://").startswith(API), url
    if body is not None:  # as curl does it
        method = "POST" if method == "GET" else method
        headers = {"content-type": "application/x-www-form-urlencoded"} | {k.lower(): v for k, v in headers.items()}
    return Call(method, url.removeprefix("http://").removeprefix(API), headers, body, printed)


def make_targets(file: Path) -> set[str]:
    return set(re.findall(r"^([a-z-]+):", file.read_text(), re.MULTILINE))


@cache
def recsys_commands() -> dict[str, set[str]]:
    """The options of each command, by its name, such as `import items`."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
        given = {o for parameter in command.params for o in (*parameter.opts, *parameter.secondary_opts)}
        yield name, given | {"--help"}
        for part, inner in getattr(command, "commands", {}).items():
            yield from walk(inner if name else load(part), f"{name} {part}".strip())

    return dict(walk(typer.main.get_command(make_cli()), ""))


def written(page: Path, program: str) -> list[list[str]]:
    """Each use of a program in the page, in shell blocks and in `code`, as the words after its name."""
    text = page.read_text()
    lines = [" ".join(words) for language, block in blocks(page) if language == "sh" for words in commands(block)]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    found = [re.match(rf"(?:\S*/)?{program} (.+)", line) for line in lines]
    return [match[1].split() for match in found if match]


def test_the_readme_starts_with_two_commands() -> None:
    assert {words[0] for words in written(README, "make")} >= {"demo", "test", "down"}


@page
def test_every_make_target_exists(page: Path) -> None:
    known = make_targets(REPOSITORY / "Makefile")
    assert {words[0] for words in written(page, "make")} <= known


@page
def test_every_recsys_command_and_option_exists(page: Path) -> None:
    known = recsys_commands()
    for words in written(page, "recsys"):
        if words == ["--help"]:
            continue
        name = next((n for n in (" ".join(words[:2]), words[0]) if n in known), None)
        assert name is not None, f"recsys {' '.join(words)}"
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known[name]


def test_the_readme_shows_recsys_commands() -> None:
    assert {words[0] for words in written(README, "recsys")} >= {"build", "up", "import"}


@page
def test_every_link_within_the_repository_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


NAMED = re.compile(r"`((?:\w+/)*\w+\.py)`")
SOURCES = [p for name in ("recsys", "deployments", "load_tests") for p in sorted((REPOSITORY / name).rglob("*.py"))]


def lost(file: Path) -> list[str]:
    """Names in backticks of Python files that are not there, as seen from the repository, from recsys/, from the file's
    own package and folder, or from the folder of the name before it in the line.
    """
    package = REPOSITORY / file.relative_to(REPOSITORY).parts[0]
    wrong = []
    for line in file.read_text().splitlines():
        folders = [REPOSITORY, REPOSITORY / "recsys", package, file.parent]
        for name in NAMED.findall(line):
            there = next((folder for folder in folders if (folder / name).is_file()), None)
            if there is None:
                wrong.append(name)
            else:
                folders.insert(0, (there / name).parent)
    return wrong


@page
def test_every_file_that_is_named_exists(page: Path) -> None:
    assert lost(page) == []


def test_every_file_that_a_comment_names_exists() -> None:
    assert {str(file): names for file in SOURCES if (names := lost(file))} == {}


def test_a_name_of_a_file_that_moved_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_docs.REPOSITORY", tmp_path)
    (tmp_path / "recsys" / "shard").mkdir(parents=True)
    (tmp_path / "recsys" / "shard" / "shard.py").write_text("# see `search.py`, `shard.py`, `recsys/shard.py`")
    assert lost(tmp_path / "recsys" / "shard" / "shard.py") == ["search.py", "recsys/shard.py"]


@page
def test_every_json_block_is_json(page: Path) -> None:
    for language, text in blocks(page):
        if language == "json":
            assert orjson.loads(text)


def alike(answer: Any, printed: Any) -> bool:
    """Whether it has the keys that are printed, and no others; so too what its lists hold."""
    if isinstance(printed, dict):
        lists = [key for key, value in printed.items() if isinstance(value, list) and value]
        return answer.keys() == printed.keys() and all(alike(answer[key], printed[key]) for key in lists)
    if isinstance(printed, list) and isinstance(printed[0], dict):
        return bool(answer) and all(one.keys() == printed[0].keys() for one in answer)
    return True


@pytest.mark.cluster
def test_the_calls_of_the_pages_are_answered_as_printed(live: Live) -> None:
    """In the order in which a reader makes them."""
    made = [(page.name, call) for page in PAGES for call in calls(page)]
    assert len([call for name, call in made if name == README.name]) >= 4
    assert any(call.printed is not None for _, call in made)
    try:
        for name, call in made:
            answer: httpx.Response = live.http.request(
                call.method, call.url, headers=call.headers, content=call.body.encode() if call.body else None
            )
            assert answer.status_code == 200, f"{name}: {call.method} {call.url}: {answer.text}"
            if call.printed is not None:
                assert alike(answer.json(), call.printed), f"{name}: {call.url}: {answer.text}"
    finally:
        for _, call in made:
            if call.method == "PUT":
                live.http.delete(call.url)
