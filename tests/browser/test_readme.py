"""The whole app of the client's README, in the browsers of two people."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Page, expect

from less_sync.storage import LocalBlobs
from tests.browser.static import static_server
from tests.browser.visits import Visits
from tests.js.readme import LINES_MAX, shown
from tests.live import live_server

POLICY = "default-src 'none'; script-src 'self' 'unsafe-inline'; connect-src *; img-src data:"
"""The page of the README has its script within."""


async def add(page: Page, what: str) -> None:
    await page.get_by_label("New item").fill(what)
    await page.get_by_role("button", name="Add").click()


async def test_two_people_share_the_list_of_the_readme_and_what_one_writes_offline_comes_later(
    browser: Visits, database_url: str, tmp_path: Path
) -> None:
    app = shown("page")
    assert len(app.splitlines()) <= LINES_MAX
    blobs = LocalBlobs.at(tmp_path)
    async with live_server(database_url, blobs=blobs) as live:

        def find(path: str) -> bytes | None:
            asked = parse_qs(urlsplit(path).query)
            if path == "/":
                return app.replace("127.0.0.1:5379", f"127.0.0.1:{live.port}").encode()
            return live.token(asked["user"][0], did=asked["did"][0]).encode() if "user" in asked else None

        browser.origins.add(f"127.0.0.1:{live.port}")
        with static_server(find, policy=POLICY) as address:
            alice, bob = await browser.person(), await browser.person()
            first = await browser.open(f"{address}/#alice", person=alice)
            second = await browser.open(f"{address}/#bob", person=bob)
            await expect(second.locator("#state")).to_contain_text("online")
            await first.get_by_label("Address of a person").fill(await second.locator("#me").inner_text())
            await first.get_by_role("button", name="Let in").click()
            for page in (first, second):
                await expect(page.locator("#state")).to_contain_text("shared, online")
            await add(first, "milk")
            await expect(second.locator("li")).to_have_text(["milk"])
            await add(second, "salt")
            await expect(first.locator("li")).to_have_text(["milk", "salt"])
            await browser.picture(second, "shared")

            browser.expect("ERR_INTERNET_DISCONNECTED")
            await alice.set_offline(True)
            await add(first, "yeast")
            await first.locator("li", has_text="milk").click()
            await expect(first.locator("li")).to_have_text(["salt", "yeast"])
            await alice.set_offline(False)
            await expect(second.locator("li")).to_have_text(["salt", "yeast"])
            again = await browser.open(f"{address}/#alice", person=alice)
            await expect(again.locator("li")).to_have_text(["salt", "yeast"])
    await blobs.aclose()
