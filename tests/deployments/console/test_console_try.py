"""Try it, in a real browser: what is liked leaves the list, and the list says what moved."""

from __future__ import annotations

import httpx
import pytest
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def titles(page):
    return await page.locator(".card h2 a").all_inner_texts()


async def test_the_root_leads_to_the_console(visit, console):
    page = await visit()
    await page.goto(console.open_url)
    await expect(page.get_by_role("heading", name="Try it")).to_be_visible()
    assert page.url.startswith(f"{console.open_url}/console")


async def test_an_item_that_is_liked_leaves_the_list_and_the_list_changes(visit):
    page = await visit("#/try?user=newcomer")
    first = page.locator(".card").first
    await expect(first).to_be_visible()
    before = await titles(page)
    await first.get_by_role("button", name=f"Like: {before[0]}", exact=True).click()
    await expect(page.locator(".note.good")).to_contain_text(f"You like {before[0]}")
    after = await titles(page)
    assert before[0] not in after
    assert after != before[1:]
    await expect(page.locator(".note.good")).to_contain_text(f"{before[0]} left the list")
    await expect(page.locator(".card .chip", has_text="new here").first).to_be_visible()


async def test_what_is_hidden_comes_back(visit):
    page = await visit("#/try?user=hider")
    first = page.locator(".card").first
    await first.get_by_role("button", name="Hide").click()
    await expect(page.get_by_text("1 item hidden here.")).to_be_visible()
    await page.get_by_role("button", name="Show again").click()
    await expect(page.get_by_text("hidden here")).to_have_count(0)


async def test_a_search_answers_as_one_types(visit):
    page = await visit("#/try")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_label("What is searched for").press_sequentially("oak fern moss", delay=15)
    await expect(page.locator(".card h2").first).to_contain_text("Forest")


async def test_similar_items_follow_from_a_card(visit):
    page = await visit("#/try?user=user-1")
    card = page.locator(".card").first
    title = await card.locator("h2 a").inner_text()
    await card.get_by_role("button", name="Similar").click()
    await expect(page.locator(".reasons").first).to_contain_text("Similar to")
    assert title


async def test_a_filter_is_built_of_declared_attributes(visit):
    page = await visit("#/try?user=user-1")
    await page.get_by_text("Filter, context, basket and more").click()
    await page.get_by_role("button", name="Add a condition").click()
    await page.get_by_label("Attribute").select_option("topic")
    await page.get_by_label("Value").fill("kitchen")
    await expect(page.locator(".card h2 a").first).to_contain_text("Kitchen")
    assert all("Kitchen" in title for title in await titles(page))
    await page.get_by_label("Value").fill("nowhere")
    await expect(page.get_by_text("No item matches the filter.")).to_be_visible()


async def test_a_basket_counts_for_the_answers_alone(visit, console):
    page = await visit("#/try?user=shopper")
    await page.locator(".card").first.get_by_role("button", name="Basket").click()
    await expect(page.get_by_text("1 item in the basket")).to_be_visible()
    assert await console.world.gateway.user_records.history("shopper") == []


async def test_two_answers_stand_side_by_side(visit):
    page = await visit("#/try?user=user-1")
    await page.get_by_role("button", name="Compare two side by side").click()
    await expect(page.get_by_role("region", name="Second answer").locator(".card").first).to_be_visible()
    await page.get_by_role("button", name="Close this column").click()
    await expect(page.get_by_role("region", name="Second answer")).to_have_count(0)


async def test_the_variants_of_an_experiment_stand_side_by_side(visit, console):
    """Each column is answered by the one that is chosen, whoever the person is, and the program says so."""
    variants = {
        topic: {"settings": {"filter": {"must": [{"key": "topic", "eq": topic}]}}} for topic in ("kitchen", "forest")
    }
    async with httpx.AsyncClient(base_url=console.open_url) as http:
        begun = {"scenario": "home", "experiment": {"name": "rooms", "variants": variants, "share": 0.01}}
        (await http.post("/v1/admin/experiments", json=begun)).raise_for_status()
        try:
            page = await visit("#/try?user=user-1")
            await page.get_by_role("button", name="Compare two side by side").click()
            for region, topic in (("Answer", "Kitchen"), ("Second answer", "Forest")):
                column = page.get_by_role("region", name=region, exact=True)
                await column.get_by_label("Answered by").select_option(label=f"Variant {topic.lower()} of rooms")
                await expect(column.locator(".card h2 a").first).to_contain_text(topic)
            first = page.get_by_role("region", name="Answer", exact=True)
            assert all("Kitchen" in title for title in await first.locator(".card h2 a").all_inner_texts())
            await page.get_by_text("This call as a program").click()
            await expect(page.locator("pre")).to_contain_text('"variant":"rooms/kitchen"')
        finally:
            (await http.post("/v1/admin/experiments/rooms/stop", json={})).raise_for_status()


async def test_the_list_goes_on_page_by_page(visit):
    page = await visit("#/try?user=user-1")
    await expect(page.locator(".card").first).to_be_visible()
    before = await page.locator(".card").count()
    await page.get_by_role("button", name="Next page").click()
    await expect(page.locator(".card").nth(before)).to_be_visible()
    shown = await titles(page)
    assert len(shown) == len(set(shown)) > before


async def test_the_call_stands_there_as_a_program(visit, console):
    page = await visit("#/try?user=user-1")
    await page.get_by_text("This call as a program").click()
    code = page.locator("pre")
    await expect(code).to_contain_text(f"curl -s -X POST '{console.open_url}/v1/recommendations'")
    await page.get_by_role("button", name="Python").click()
    await expect(code).to_contain_text("httpx.post(")
    await page.get_by_role("button", name="JavaScript").click()
    await expect(code).to_contain_text("await fetch(")
