"""Operations, in a real browser: versions are switched and deployments scaled by who may, and the page follows."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.support.world import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_version_is_promoted_and_rolled_back(visit, console):
    page = await visit("#/operations", key="admin")
    before = console.world.store.current()
    await page.get_by_role("button", name="Promote").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Promote").click()
    await expect(dialog).to_have_count(0)
    after = console.world.store.current()
    assert after != before
    served = page.get_by_text(f"Served: {after}", exact=True)
    await expect(served).to_be_visible()
    await page.get_by_role("button", name="Roll back").click()
    await page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    await expect(page.get_by_text(f"Served: {before}", exact=True)).to_be_visible()
    assert console.world.store.current() == before


async def test_without_the_admin_scope_nothing_is_switched_or_scaled(visit, console, watched):
    watched.expected.append("403")
    page = await visit("#/operations", key="reader")
    await expect(page.get_by_text("Read only", exact=True)).to_be_visible()
    for name in ("Roll back", "Hold all", "Scale shard-0", "Hold shard-0"):
        await expect(page.get_by_role("button", name=name)).to_be_disabled()
    ask = "async (url) => (await fetch(url, {method: 'POST', headers: {authorization: 'Bearer ' + KEY}})).status"
    refused = await page.evaluate(
        ask.replace("KEY", f"'{console.keys['reader']}'"), f"{console.keyed_url}/v1/admin/rollback"
    )
    assert refused == 403


async def test_a_deployment_is_scaled_and_its_replicas_come_and_go(visit, console):
    page = await visit("#/operations")
    line = page.locator(".deployments li", has_text="shard-1")
    await expect(line.locator(".pips i.on")).to_have_count(1)
    for count in (3, 1):
        await line.get_by_label("Most replicas of shard-1").fill(str(max(count, 3)))
        await line.get_by_label("Fewest replicas of shard-1").fill(str(count))
        await line.get_by_role("button", name="Scale shard-1").click()
        await expect(line.locator(".pips i.on")).to_have_count(count)
        replicas = page.locator(".replica", has_text="shard-1")
        await expect(replicas).to_have_count(count)
        assert len(console.world.clients[1].replicas) == count


async def test_a_deployment_is_held_and_released(visit):
    page = await visit("#/operations")
    line = page.locator(".deployments li", has_text="shard-0")
    await line.get_by_role("button", name="Hold shard-0").click()
    await expect(line.locator(".chip", has_text="held")).to_be_visible()
    await line.get_by_role("button", name="Release shard-0").click()
    await expect(line.locator(".chip", has_text="held")).to_have_count(0)


async def test_a_bound_that_is_wrong_is_told(visit, watched):
    watched.expected.append("422")
    page = await visit("#/operations")
    line = page.locator(".deployments li", has_text="shard-0")
    await line.get_by_label("Fewest replicas of shard-0").fill("5")
    await line.get_by_role("button", name="Scale shard-0").click()
    await expect(page.get_by_role("alert")).to_contain_text("1 <= MIN <= MAX")


async def test_measurements_arrive_by_themselves(visit, console):
    page = await visit("#/operations")
    await expect(page.get_by_text("All is well")).to_be_visible()
    chart = page.get_by_role("img", name="Requests a second")
    await expect(chart.locator("canvas")).to_be_visible()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    before = console.world.gateway.timeline.ticks
    assert await eventually(lambda: console.world.gateway.timeline.ticks > before + 3)
    assert asked == []  # nothing polls


async def test_hundreds_of_replicas_are_a_list_of_few_lines(visit, console):
    """What is not in sight is not drawn."""
    page = await visit("#/operations")
    await expect(page.locator(".replica").first).to_be_visible()
    drawn = await page.evaluate(
        """async () => {
          const { html, render } = await import('/console/vendor/htm-preact.js');
          const { Replicas } = await import('/console/pages/operations/replicas.js');
          const box = document.createElement('div');
          document.body.append(box);
          const one = (_, n) => ({ id: `r${n}`, deployment: `shard-${n % 40}`, busy_ratio: 0.5 });
          const replicas = Array.from({ length: 400 }, one);
          const status = { index_version: 'v', shards: [], composers: [] };
          render(html`<${Replicas} frame=${{ status, replicas }} />`, box);
          return [box.querySelectorAll('.replica').length, box.querySelector('h2').textContent];
        }"""
    )
    assert drawn[0] < 40
    assert drawn[1] == "400 replicas"
