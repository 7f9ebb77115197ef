"""Keys, keyboards and readers: who may do what, by whatever means they ask."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_without_a_key_the_page_asks_for_one(visit, watched):
    page = await visit("#/try", key="admin")
    await expect(page.locator(".card").first).to_be_visible()
    stored = "[localStorage.length, sessionStorage.length, document.cookie]"
    assert await page.evaluate(stored) == [0, 0, ""]


async def test_a_wrong_key_is_told(visit, console, watched):
    page = await visit("#/try")
    watched.expected.append("401")
    await page.goto("about:blank")
    await page.goto(f"{console.keyed_url}/console")
    watched.expected.append(console.keyed_url)
    await page.get_by_label("Key", exact=True).fill("recsys_wrong")
    await page.get_by_role("button", name="Use this key").click()
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("unknown or has expired")


async def test_a_key_that_reads_may_look_and_nothing_else(visit, watched):
    watched.expected.append("403")
    page = await visit("#/try?user=user-1", key="reader")
    await expect(page.get_by_text("Read only")).to_be_visible()
    await expect(page.locator(".card").first.get_by_role("button", name="Like", exact=False).first).to_be_disabled()


async def test_by_keyboard_alone(visit, console):
    """From the address to a like, without a pointer."""
    page = await visit("#/try?user=typist")
    await expect(page.locator(".card").first).to_be_visible()
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the page"
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"
    for _ in range(60):
        await page.keyboard.press("Tab")
        label = await page.evaluate("document.activeElement.getAttribute('aria-label') || ''")
        if label.startswith("Like: "):
            break
    assert label.startswith("Like: ")
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await page.keyboard.press("Enter")
    await expect(page.locator(".note.good")).to_contain_text(f"You like {label.removeprefix('Like: ')}")


async def test_the_first_paint_needs_little(visit):
    """Under 300 KB before anything is seen, all of it from here."""
    page = await visit("#/try")
    await expect(page.locator(".card").first).to_be_visible()
    sizes = await page.evaluate(
        "performance.getEntriesByType('resource').filter(e => e.name.includes('/console/')).map(e => e.decodedBodySize)"
    )
    assert 0 < sum(sizes) < 300_000
