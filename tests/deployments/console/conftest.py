"""A browser, and the console before a platform of 48 items in two versions."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from load_tests.chaos.namespaces import steady
from recsys.state import slate_stream
from tests.support.console import Console, running_console
from tests.support.own_valkey import Valkey
from tests.support.world import catalogue, event

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
"""The shell is the same engine without what draws windows, and takes less CPU."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium-headless-shell")
    expect.set_options(timeout=60_000)  # 5 s by default, which a slow machine may take for a page
    async with async_playwright() as playwright:
        sandbox = [] if os.getuid() else ["--no-sandbox"]  # Chromium has none for root
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*sandbox, "--disable-gpu"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    valkey = Valkey()
    valkey.start()
    root = tmp_path_factory.mktemp("console")
    with pytest.MonkeyPatch.context() as environment:
        environment.setattr(slate_stream, "SLOT_MS", 200)
        items = [replace(item, title=item.item_id.replace("-", " no. ").capitalize()) for item in catalogue()]
        async with running_console(root / "versions", valkey.url, environment, shards=2, items=items) as console:
            console.world.publish()  # another version, to be promoted
            likes = [event(f"user-{n % 5}", f"{topic}-{n}") for n in range(10) for topic in ("space", "sea")]
            await console.world.gateway.record(likes)
            await console.world.counted()
            yield console
    valkey.remove()


class Watched:
    """What pages said and asked for meanwhile that they should not have."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.expected: list[str] = []
        """Parts of faults that a test is about."""

    def watch(self, page: Page, url: str) -> None:
        page.on("console", lambda said: said.type in ("error", "warning") and self.faults.append(said.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on(
            "request", lambda asked: None if asked.url.startswith((url, "data:")) else self.faults.append(asked.url)
        )

    def unexpected(self) -> list[str]:
        return [fault for fault in self.faults if not any(part in fault for part in self.expected)]


@pytest_asyncio.fixture(loop_scope="session")
async def watched() -> AsyncIterator[Watched]:
    """After the test: no error was written to the console, and nothing was asked of another host."""
    watched = Watched()
    with steady():
        yield watched
    assert watched.unexpected() == []


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, console: Console, watched: Watched) -> AsyncIterator[Callable[..., Any]]:
    """Open a page of the console: `await visit("#/try")`. `key`: one by its name, where keys are asked for."""
    contexts = []

    async def open_page(address: str = "", key: str | None = None, **options: Any) -> Page:
        context = await browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = await context.new_page()
        url = console.open_url if key is None else console.keyed_url
        watched.watch(page, url)
        await page.goto(f"{url}/console{address}")
        if key:
            watched.expected.append("401")  # before the key is given
            await page.get_by_label("Key", exact=True).fill(console.keys[key])
            await page.get_by_role("button", name="Use this key").click()
        return page

    yield open_page
    for context in contexts:
        await context.close()


@pytest.fixture(scope="session")
def screens() -> Path | None:
    """Where pictures of the pages are left: $RECSYS_SCREENS; None: nowhere, for they take a seventh of the time."""
    if "RECSYS_SCREENS" not in os.environ:
        return None
    folder = Path(os.environ["RECSYS_SCREENS"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder
