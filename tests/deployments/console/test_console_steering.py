"""Scenarios, explanations, people and items, and quality, in a real browser."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect

from tests.support.world import event

MINUS = "\u2212"
"""As numbers are printed on the page."""

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_scenario_is_edited_previewed_saved_and_undone(visit, console):
    settings = console.world.gateway
    before = settings.settings.scenarios["home"].diversity
    page = await visit("#/scenarios?name=home")
    await expect(page.get_by_role("heading", name="home", exact=True)).to_be_visible()
    await page.get_by_text("All settings as JSON").click()
    area = page.get_by_label("Settings of home")
    scenario = json.loads(await area.input_value())
    await area.fill(json.dumps(scenario | {"filter": {"must": [{"key": "topic", "eq": "sea"}]}, "diversity": 0.3}))
    preview = page.get_by_role("region", name="Preview")
    await expect(preview.locator("tbody tr").first).to_be_visible()
    await expect(preview.locator("tbody td:last-child").first).to_contain_text("Sea")
    assert settings.settings.scenarios["home"].diversity == before
    await page.get_by_label("Comment, for the history").fill("only the sea")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("home is saved")).to_be_visible()
    await expect(page.locator(".history")).to_contain_text("only the sea")
    assert settings.settings.scenarios["home"].diversity == 0.3
    await page.get_by_role("button", name="Undo the last edit").click()
    await page.get_by_role("dialog").get_by_role("button", name="Undo").click()
    await expect(page.get_by_text("The last edit is undone.")).to_be_visible()
    assert settings.settings.scenarios["home"].diversity == before


async def test_a_setting_that_is_wrong_is_told_before_it_is_saved(visit, watched):
    watched.expected.append("422")
    page = await visit("#/scenarios?name=home")
    await page.get_by_text("All settings as JSON").click()
    area = page.get_by_label("Settings of home")
    await area.fill('{"diversity": 7}')
    await expect(page.get_by_role("alert")).to_contain_text("diversity")
    await expect(page.get_by_role("button", name="Save")).to_be_disabled()
    await area.fill('{"diversity": ')
    await expect(page.get_by_text("This is no JSON yet")).to_be_visible()


async def test_why_an_item_is_there(visit):
    page = await visit("#/try?user=user-1")
    card = page.locator(".card").nth(1)
    title = await card.locator("h2 a").inner_text()
    await card.get_by_role("link", name="Why ").click()
    shown = page.get_by_role("article")
    await expect(shown.get_by_role("heading")).to_contain_text(f"{title} is 2nd of")
    parts = [float(text.replace(MINUS, "-")) for text in await shown.locator("td:last-child").all_inner_texts()]
    score = float((await shown.locator("p").first.inner_text()).split("score of ")[1].rstrip(".").replace(MINUS, "-"))
    assert sum(parts) == pytest.approx(score, abs=0.002)


async def test_what_would_be_without_a_like(visit, console):
    """Of each like that adds to an item, the place that it would have without it; nothing is stored for that."""
    likes = [event("torn", "kitchen-1"), *(event("torn", f"space-{n}") for n in range(3))]
    await console.world.gateway.record(likes)
    await console.world.counted()
    page = await visit("#/explain?user=torn&item=space-11")  # nobody likes it: only what is near brings it
    evidence = page.get_by_role("region", name="What speaks for it")
    await expect(evidence.locator("li", has_text="Space no.").first).to_contain_text("Without this like it would")
    await expect(evidence).to_contain_text("it would not be there: Space no.")
    assert len(await console.world.gateway.user_records.history("torn")) == len(likes)


async def test_which_step_left_an_item_out(visit, console):
    await console.world.gateway.record([event("seer", "kitchen-3")])
    page = await visit("#/explain?user=seer&item=kitchen-3")
    await expect(page.locator(".stages .here")).to_contain_text("Seen items")
    await expect(page.get_by_text('{"include_seen":true}')).to_be_visible()


async def test_an_item_that_there_is_not_is_told(visit):
    page = await visit("#/explain?user=seer&item=none")
    await expect(page.locator(".stages .here")).to_contain_text("Catalogue")


async def test_somebody_in_words(visit, console):
    await console.world.gateway.record([event("reader", f"forest-{n}") for n in range(3)])
    await console.world.gateway.record([event("reader", "sea-1", type="dislike")])
    page = await visit("#/people?user=reader")
    words = page.get_by_role("region", name="reader in words")
    await expect(words).to_contain_text("Likes 3 items, most of all forest")
    await expect(words).to_contain_text("Does not like Sea no. 1")
    history = page.get_by_role("region", name="History")
    await expect(history.locator("li")).to_have_count(4)
    await history.get_by_role("button", name="Delete the dislike").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(history.locator("li")).to_have_count(3)


async def test_an_item_with_its_neighbours(visit):
    page = await visit("#/people?item=sea-2")
    await expect(page.get_by_role("heading", name="Sea no. 2", exact=True)).to_be_visible()
    neighbours = page.get_by_role("region", name="Neighbours")
    await expect(neighbours.locator("li").first).to_contain_text("Sea")
    await neighbours.get_by_role("button").first.click()
    await expect(page.get_by_role("article").locator("code")).not_to_have_text("sea-2")


async def test_the_catalogue_is_found_by_meaning(visit):
    page = await visit("#/people?at=items")
    await expect(page.get_by_role("button", name="Kitchen").first).to_be_visible()
    await page.get_by_label("Search by meaning").fill("bread oven")
    await expect(page.locator("button.item").first).to_contain_text("Kitchen")
