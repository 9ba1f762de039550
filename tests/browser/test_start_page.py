"""The start page as two people use it, each in a tab: what they share, and what they do not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Locator, Page, expect

from less_sync.bins.dev import dev_start_secret
from tests.browser.visits import Visits
from tests.wire.process import ServerProcess


@asynccontextmanager
async def dev_server(data_dir: Path, database_url: str, listen: str = "") -> AsyncIterator[str]:
    """A server in dev mode; yields the address that it prints."""
    arguments = ["--dev", *(["--listen", listen] if listen else [])]
    settings = {
        "DATA_DIR": str(data_dir),
        "DATABASE_URL": database_url,
        "LOG_LEVEL": "off",
        # Some seconds otherwise, so that nobody sees who invites whom.
        "LIMIT_INVITATION_DELAY_MIN_S": "0.01",
        "LIMIT_INVITATION_DELAY_MAX_S": "0.02",
    }
    async with ServerProcess(settings, arguments) as running:
        yield f"http://127.0.0.1:{running.port}/#{dev_start_secret(data_dir)}"


@pytest.fixture
async def address(database_url: str, tmp_path: Path) -> AsyncIterator[str]:
    async with dev_server(tmp_path, database_url) as printed:
        yield printed


async def signed_in(browser: Visits, address: str, name: str, person: BrowserContext | None = None) -> Page:
    """A tab in which somebody is online."""
    page = await browser.open(address, person=person)
    await page.get_by_label("Your name").fill(name)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#state")).to_have_text("online")
    return page


async def shared(browser: Visits, address: str, person: BrowserContext | None = None) -> tuple[Page, Page]:
    """Alice and bob with one list, in two tabs of one browser."""
    person = person or await browser.person()
    alice = await signed_in(browser, address, "alice", person)
    bob = await signed_in(browser, address, "bob", person)
    await alice.get_by_role("button", name="Create").click()
    await alice.get_by_role("button", name="Invite").click()
    await expect(alice.locator("#said")).to_have_text("bob is invited, and sees it in a few seconds.")
    await bob.get_by_role("button", name="Accept").click()
    await expect(bob.get_by_role("heading", name="Shopping")).to_be_visible()
    return alice, bob


async def add(page: Page, text: str) -> None:
    """By keyboard."""
    await page.get_by_label("To do").fill(text)
    await page.get_by_label("To do").press("Enter")


def items(page: Page) -> Locator:
    return page.locator("#items label")


async def test_two_tabs_converge_and_a_person_who_is_removed_is_out_at_once(
    address: str, browser: Visits
) -> None:
    alice, bob = await shared(browser, address)
    await add(alice, "Milk")
    await add(alice, "Bread")
    await expect(items(bob)).to_have_text(["Milk", "Bread"])
    await bob.get_by_role("checkbox", name="Milk").check()
    await expect(alice.get_by_role("checkbox", name="Milk")).to_be_checked()
    await bob.get_by_role("button", name="Remove Bread").click()
    await expect(items(alice)).to_have_text(["Milk"])
    await expect(alice.locator("#people li span")).to_have_text(["alice · you", "bob · here now"])
    await alice.get_by_role("button", name="Remove bob from the list").click()
    await expect(bob.locator("#gone")).to_be_visible()
    await add(alice, "A present for bob")
    await expect(items(alice)).to_have_text(["Milk", "A present for bob"])
    await expect(alice.locator("#people li span")).to_have_text(["alice · you"])
    await expect(bob.get_by_label("To do")).to_be_disabled()
    await expect(items(bob)).to_have_text(["Milk"])


async def test_tabs_of_one_person_show_the_same_and_a_tab_can_become_somebody_else(
    address: str, browser: Visits
) -> None:
    person = await browser.person()
    first = await signed_in(browser, address, "alice", person)
    await first.get_by_role("button", name="Create").click()
    await add(first, "Milk")
    await expect(items(first)).to_have_text(["Milk"])
    second = await signed_in(browser, address, "alice", person)
    await expect(items(second)).to_have_text(["Milk"])
    await add(second, "Bread")
    await expect(items(first)).to_have_text(["Milk", "Bread"])
    await second.get_by_role("button", name="Sign out").click()
    await second.get_by_label("Your name").fill("carol")
    await second.get_by_role("button", name="Sign in").click()
    await expect(second.locator("#me")).to_have_text("carol")
    await expect(second.locator("#list")).to_be_hidden()
    await expect(items(first)).to_have_text(["Milk", "Bread"])


async def test_what_was_written_offline_comes_together(address: str, browser: Visits) -> None:
    alice, bob = await shared(browser, address)
    for page in (alice, bob):
        await page.get_by_label("Work offline").check()
        await expect(page.locator("#state")).to_contain_text("offline")
    await add(alice, "Salt")
    await add(bob, "Pepper")
    await expect(items(alice)).to_have_text(["Salt"])
    await expect(items(bob)).to_have_text(["Pepper"])
    await expect(alice.locator("#pending")).to_have_text("1 changed here, not sent yet")
    for page in (alice, bob):
        await page.get_by_label("Work offline").uncheck()
    for page in (alice, bob):
        await expect(items(page)).to_have_text(["Salt", "Pepper"])
        await expect(page.locator("#pending")).to_have_text("")


async def test_a_list_is_there_after_a_reload_and_after_a_restart_of_the_server(
    browser: Visits, database_url: str, tmp_path: Path
) -> None:
    person = await browser.person()
    async with dev_server(tmp_path, database_url) as address:
        alice = await signed_in(browser, address, "alice", person)
        await alice.get_by_role("button", name="Create").click()
        await add(alice, "Milk")
        await expect(items(alice)).to_have_text(["Milk"])
        await expect(alice.locator("#pending")).to_have_text("")
        await alice.reload()
        await expect(items(alice)).to_have_text(["Milk"])
    # Nobody is there meanwhile: that is what this is about.
    for part in ("Failed to load resource", "WebSocket connection", "ERR_CONNECTION"):
        browser.expect(part)
    await expect(alice.locator("#health")).to_have_text("does not answer")
    await add(alice, "Bread")
    await expect(items(alice)).to_have_text(["Milk", "Bread"])
    async with dev_server(tmp_path, database_url, address.removeprefix("http://").partition("/")[0]):
        await expect(alice.locator("#state")).to_have_text("online", timeout=30_000)
        await expect(alice.locator("#pending")).to_have_text("", timeout=30_000)


async def test_the_server_has_no_word_of_what_it_keeps(address: str, browser: Visits) -> None:
    alice = await signed_in(browser, address, "alice")
    await alice.get_by_role("button", name="Create").click()
    await add(alice, "A present for bob")
    await expect(alice.locator("#pending")).to_have_text("")
    await alice.get_by_text("What the server sees of this list").click()
    await expect(alice.locator("#sealed dd")).to_have_count(4)
    seen = await alice.locator("#sealed").inner_text()
    assert "present" not in seen
    assert b"present".hex() not in seen
    assert " bytes: 04" in seen  # what sealed records begin with


async def test_who_comes_without_the_secret_is_told_and_becomes_nobody(address: str, browser: Visits) -> None:
    browser.expect("403")
    page = await browser.open(address.partition("#")[0])
    for secret in ("", "wrong"):
        await page.evaluate(f"location.hash = '{secret}'")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("at the address that the server printed")
        await expect(page.locator("#signed-in")).to_be_hidden()


async def test_another_page_of_this_browser_becomes_nobody_even_with_the_secret(
    address: str, browser: Visits
) -> None:
    from tests.browser.static import static_server

    browser.expect("CORS policy")
    browser.expect("ERR_FAILED")
    here, _, secret = address.partition("/#")
    with static_server(policy="default-src * data:") as elsewhere:
        page = await browser.open(elsewhere)
        browser.origins.add(here.removeprefix("http://"))
        asked = f"""async () => {{
            const headers = {{ "Content-Type": "application/json", "X-Start-Secret": "{secret}" }};
            const body = JSON.stringify({{ name: "alice", did: "did:key:z" }});
            const answers = [];
            for (const more of [{{ headers }}, {{}}, {{ headers: {{ "Content-Type": "text/plain" }} }}]) {{
                const sent = fetch("{here}/start/token", {{ method: "POST", body, ...more }});
                answers.push(await sent.then((answer) => answer.status, (error) => error.name));
            }}
            const frame = document.createElement("iframe");
            frame.src = "{here}/#{secret}";
            document.body.append(frame);
            await new Promise((done) => frame.addEventListener("load", done));
            try {{
                answers.push(frame.contentWindow.document.title);
            }} catch (error) {{
                answers.push(error.name);
            }}
            return answers;
        }}"""
        browser.expect("frame")
        assert await page.evaluate(asked) == ["TypeError", "TypeError", "TypeError", "SecurityError"]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)])
async def test_the_page_fits_and_can_be_used_by_keyboard(
    width: int, dark: bool, address: str, browser: Visits
) -> None:
    person = await browser.person(width=width, dark=dark)
    alice, _bob = await shared(browser, address, person)
    await add(
        alice, "Something that is long enough to need more than one line on a small screen, or a large one"
    )
    await expect(items(alice)).to_have_count(1)
    assert await alice.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await alice.get_by_label("To do").focus()
    named = []
    for _ in range(4):
        await alice.keyboard.press("Tab")
        named.append(
            await alice.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent")
        )
    assert named[:2] == ["Add", ""]
    await alice.get_by_role("checkbox", name="Something").focus()
    await alice.keyboard.press("Space")
    await expect(alice.get_by_role("checkbox", name="Something")).to_be_checked()
    await expect(alice.get_by_role("checkbox", name="Something")).to_be_focused()
    await browser.picture(alice, f"{width}-{'dark' if dark else 'light'}")
