"""Every page, dark and light, wide and narrow: axe finds nothing serious, nothing runs out of the window, and where
$RECSYS_SCREENS names a folder, pictures of all of it are left there to be looked at.
"""

from __future__ import annotations

import httpx
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from recsys.datatypes import RecQuery
from tests.support.world import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

WIDE, NARROW = 1440, 390
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PAGES = {
    "try": ("try?user=user-1", ".card"),
    "compare": ("try?user=user-2", ".card"),
    "explain": ("explain?user=user-1&item=FIRST", ".around"),
    "left-out": ("explain?user=user-1&item=space-1", ".stages"),
    "person": ("people?user=user-1", ".event"),
    "item": ("people?item=sea-3", ".neighbours"),
    "quality": ("quality", ".experiment, .empty"),
    "operations": ("operations", "canvas"),
    "scenarios": ("scenarios?name=home", ".editing section summary"),
}
"""Name of the picture -> the address, and what is there when the page is whole. FIRST: what is first for user-1."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def visited(console):
    """Answers were given, and some of their items clicked."""
    async with httpx.AsyncClient(base_url=console.open_url) as http:
        for n in range(40):
            user = f"user-{n % 5}"
            slate = (await http.get(f"/v1/users/{user}/recommendations?k=5")).json()
            if n % 3 == 0:
                clicked = {"event_id": f"c{n}", "user_id": user, "item_id": slate["items"][n % 4]["item_id"]}
                clicked |= {"type": "click", "request_id": slate["request_id"]}
                await http.post("/v1/events", json={"events": [clicked]})


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_clear_to_everyone(visit, visited, console, screens, name):
    address, whole = PAGES[name]
    first = (await console.world.gateway.recommend(RecQuery(k=1, user_id="user-1"))).items[0].item_id
    address = address.replace("FIRST", first)
    page = await visit(f"#/{address}", color_scheme="light", viewport={"width": WIDE, "height": 900})
    await expect(page.locator(whole).first).to_be_visible()
    if name == "compare":
        await page.get_by_role("button", name="Compare two side by side").click()
        await page.get_by_role("region", name="Second answer").locator(".card").first.wait_for()
        await page.get_by_text("Filter, context, basket and more").click()
        await page.get_by_role("button", name="Add a condition").click()
    for scheme in ("light", "dark"):
        await page.set_viewport_size({"width": WIDE, "height": 900})
        await page.emulate_media(color_scheme=scheme)
        await page.evaluate(SETTLED)
        assert await eventually(lambda: cleared(page)), await serious(page)
        for width in (WIDE, NARROW):
            await page.set_viewport_size({"width": width, "height": 900})
            await page.wait_for_function(f"document.documentElement.scrollWidth <= {width}")
            if screens is not None:
                await page.screenshot(path=screens / f"{name}-{width}-{scheme}.png", full_page=True)


SETTLED = """() => Promise.all(document.getAnimations()
    .filter((one) => one.effect.getComputedTiming().endTime < Infinity)
    .map((one) => one.finished.catch(() => null)))"""
"""Once colours have changed, which takes some frames."""


async def cleared(page):
    return not await serious(page)


async def serious(page):
    """What axe finds that keeps somebody out: rules, and the first elements that break each."""
    found = await Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
    return [
        (one["id"], [node["html"] for node in one["nodes"]][:3])
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
