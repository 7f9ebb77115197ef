"""The console's files: complete, of this host alone, open, and as they were published."""

from __future__ import annotations

import hashlib
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

FOLDER = Path(str(files("deployments") / "console"))
OURS = sorted(
    path for path in FOLDER.rglob("*") if path.suffix in (".js", ".css", ".html") and "vendor" not in path.parts
)


asking = pytest.mark.asyncio(loop_scope="module")


@asking
async def test_the_root_leads_to_the_console(standing_http):
    answer = await standing_http.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/console")


@asking
async def test_the_page_may_load_from_here_alone(standing_http):
    answer = await standing_http.get("/console")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]


@asking
async def test_what_the_page_names_is_there(standing_http):
    page = (await standing_http.get("/console")).text
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert named
    for path in named:
        assert (await standing_http.get(f"/{path}")).status_code == 200, path


@asking
async def test_nothing_else_is_served(standing_http, subtests):
    for path in ("/console/none.js", "/console/../api/app.py", "/console/vendor/uPlot.LICENSE", "/console/"):
        with subtests.test(path):
            assert (await standing_http.get(path)).status_code == 404


def test_every_import_leads_to_a_file():
    for path in (p for p in OURS if p.suffix == ".js"):
        for name in re.findall(r"""(?:\bfrom |import\()'(\.[^']+)'""", path.read_text()):
            assert (path.parent / name).is_file(), f"{path}: {name}"


def test_ours_name_no_other_host():
    for path in OURS:
        text = path.read_text().replace("http://www.w3.org/", "")
        assert not re.search(r"https?://", text), path


def test_vendored_files_are_those_that_were_published():
    """By the checksums of their packages' files, and each with its licence."""
    lines = (FOLDER / "vendor" / "checksums.txt").read_text().split("\n")
    listed = {line.split()[1]: line.split()[0] for line in lines if line and not line.startswith("#")}
    there = {p.name for p in (FOLDER / "vendor").iterdir() if p.suffix in (".js", ".css")}
    assert set(listed) == there
    for name, digest in listed.items():
        assert hashlib.sha256((FOLDER / "vendor" / name).read_bytes()).hexdigest() == digest
    assert {p.name for p in (FOLDER / "vendor").glob("*.LICENSE")} == {"htm.LICENSE", "preact.LICENSE", "uPlot.LICENSE"}


def test_the_wheel_has_them():
    """All that is served, by the globs of the package's data."""
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())
    globs = project["tool"]["setuptools"]["package-data"]["deployments"]
    packed = {path for glob in globs for path in FOLDER.parent.glob(glob) if path.is_file()}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == packed


def test_files_hold_one_idea():
    assert [path for path in OURS if len(path.read_text().split("\n")) > 160] == []
