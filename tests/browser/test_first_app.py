"""docs/first-app.md to the letter: what it types in terminals, then what it does in the browser."""

import asyncio
import re
from pathlib import Path

from playwright.async_api import Page, Route, expect

from tests.browser.visits import Visits
from tests.terminals import ROOT, Stage, stage
from tests.transcripts import Play, parse

STEPS = 7
_ROW = re.compile(r"^\d+\. ", re.MULTILINE)


def typed(where: Stage, text: str) -> None:
    """Type what the page shows in its terminals, and see that it prints what the page shows."""
    played = Play(where, writing=False)
    for block in parse(text):
        played.block(block)


async def signed_in(
    browser: Visits, address: str, name: str, password: str, page: Page | None = None
) -> Page:
    page = page or await browser.open(address)
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("main")).to_contain_text(f"{name} online")
    return page


async def signed_in_late(browser: Visits, address: str, name: str, password: str) -> Page:
    """Meanwhile the backend has no token to give, and the page says so for as long."""
    page = await browser.open(address)
    browser.expect("502")
    reason = "there is no token to be had"

    async def refuse(route: Route) -> None:
        await route.fulfill(status=502, json={"error": reason})

    await page.route("**/token", refuse)
    signing_in = asyncio.create_task(signed_in(browser, address, name, password, page))
    await expect(page.locator("#trouble")).to_have_text(reason)
    await page.unroute("**/token")
    await signing_in
    await expect(page.locator("#trouble")).to_have_text("")
    return page


async def add(page: Page, text: str) -> None:
    await page.get_by_label("To do").fill(text)
    await page.get_by_role("button", name="Add").click()


async def has(page: Page, *texts: str) -> None:
    await expect(page.locator("#items label")).to_have_text([f" {text}" for text in texts])


async def shared(alice: Page, bob: Page) -> None:
    """Steps 3 to 5."""
    await alice.get_by_role("button", name="New list").click()
    await add(alice, "Milk")
    await add(alice, "Bread")
    await alice.get_by_label("Invite").fill("bob")
    await alice.get_by_role("button", name="Invite").click()
    await bob.get_by_role("button", name="Accept an invitation").click()
    await has(bob, "Milk", "Bread")
    await bob.get_by_role("checkbox", name="Milk").check()
    await expect(alice.get_by_role("checkbox", name="Milk")).to_be_checked()


async def offline_and_back(alice: Page, bob: Page) -> None:
    """Step 6."""
    for page in (alice, bob):
        await page.get_by_label("Work offline").check()
        await expect(page.locator("#state")).to_have_text("offline")
    await add(alice, "Salt")
    await add(bob, "Pepper")
    await has(alice, "Milk", "Bread", "Salt")
    await has(bob, "Milk", "Bread", "Pepper")
    for page in (alice, bob):
        await page.get_by_label("Work offline").uncheck()
    for page in (alice, bob):
        await has(page, "Milk", "Bread", "Salt", "Pepper")


async def cut_off(alice: Page, bob: Page) -> None:
    """Step 7. Only who made the list can do it."""
    await expect(bob.locator("#people li")).to_have_count(2)
    await expect(bob.locator("#people button")).to_have_count(0)
    await alice.locator("#people").get_by_role("button", name="Remove").click()
    await expect(alice.locator("#people li")).to_have_count(1)
    await expect(bob.locator("#state")).to_have_text("online, but removed from this list")
    await add(alice, "A present for bob")
    await has(alice, "Milk", "Bread", "Salt", "Pepper", "A present for bob")
    await add(bob, "Are you there?")
    await has(bob, "Milk", "Bread", "Salt", "Pepper", "Are you there?")
    await has(alice, "Milk", "Bread", "Salt", "Pepper", "A present for bob")


async def test_the_page_is_walked_to_the_letter(browser: Visits, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "first-app.md").read_text()
    steps = text.partition("## 3. Two people")[2].partition("## 4. ")[0]
    assert len(_ROW.findall(steps)) == STEPS
    with stage(tmp_path) as where:
        typed(where, text)
        address = where.typed("http://127.0.0.1:8080")
        browser.origins.add(where.typed("http://127.0.0.1:5379").removeprefix("http://"))
        alice = await signed_in(browser, address, "alice", "rabbit")
        bob = await signed_in_late(browser, address, "bob", "hatter")
        await shared(alice, bob)
        await offline_and_back(alice, bob)
        await cut_off(alice, bob)
        await browser.picture(alice, "alice")
        await alice.close()
        await bob.close()
