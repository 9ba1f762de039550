"""The list at a real OpenID provider: two people sign in, share, and one is removed."""

import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.visits import Visits
from tests.node import CLIENT
from tests.oidc import EXAMPLE, Provider
from tests.ports import free_ports
from tests.wire.process import ServerProcess


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def served(directory: Path, port: int) -> Iterator[str]:
    """Files over HTTP, as the example's page has it done by Python's own server."""
    with ThreadingHTTPServer(("127.0.0.1", port), partial(_Files, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.shutdown()
            thread.join()


def put_together(directory: Path, issuer: str, server: str) -> None:
    """The app, as the example's README makes it, with the addresses of this test."""
    shutil.copytree(EXAMPLE.parent / "first-app" / "app", directory)
    shutil.copytree(EXAMPLE / "app", directory, dirs_exist_ok=True)
    shutil.copytree(CLIENT / "src", directory / "less-sync")
    account = directory / "account.js"
    text = account.read_text().replace("http://127.0.0.1:5400", issuer)
    account.write_text(text.replace("http://127.0.0.1:5379", server))


@pytest.fixture
async def address(database_url: str, tmp_path: Path, browser: Visits) -> AsyncIterator[str]:
    port, app_port = free_ports(2)
    app = f"http://127.0.0.1:{app_port}"
    async with Provider(port, app) as provider:
        settings = {
            "DATABASE_URL": database_url,
            "ISSUERS_FILE": str(provider.issuers_file(tmp_path)),
            "IDENTITY_HASH_KEY": secrets.token_hex(32),
            "DATA_DIR": str(tmp_path / "data"),
        }
        async with ServerProcess(settings) as server:
            put_together(tmp_path / "app", provider.issuer, f"http://127.0.0.1:{server.port}")
            browser.origins |= {f"127.0.0.1:{port}", f"127.0.0.1:{server.port}"}
            # The forms of the provider's library, which are none of ours, ask for an icon and a font.
            browser.expect("favicon.ico")
            browser.expect("fonts.googleapis.com")
            with served(tmp_path / "app", app_port):
                yield app


async def signed_in(browser: Visits, address: str, name: str) -> Page:
    page = await browser.open(f"{address}/")
    await page.get_by_role("button", name="Sign in at the provider").click()
    await at_the_provider(page, name)
    return page


async def at_the_provider(page: Page, name: str) -> None:
    await page.locator("input[name=login]").fill(name)
    await page.locator("input[name=password]").fill("any")
    await page.get_by_role("button", name="Sign-in").click()
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator("main")).to_contain_text(f"{name} online")


async def test_two_people_of_the_provider_share_a_list_and_one_is_removed(
    address: str, browser: Visits
) -> None:
    alice, bob = await signed_in(browser, address, "alice"), await signed_in(browser, address, "bob")
    await alice.get_by_role("button", name="New list").click()
    await alice.get_by_label("To do").fill("Milk")
    await alice.get_by_role("button", name="Add").click()
    await alice.get_by_label("Invite").fill("no address")
    await alice.get_by_role("button", name="Invite").click()
    await expect(alice.get_by_role("alert")).to_have_text("that is no address")
    await alice.get_by_label("Invite").fill(await bob.get_by_label("Your address").input_value())
    await alice.get_by_role("button", name="Invite").click()
    await bob.get_by_role("button", name="Accept an invitation").click()
    await bob.get_by_role("checkbox", name="Milk").check()
    await expect(alice.get_by_role("checkbox", name="Milk")).to_be_checked()
    await alice.locator("#people").get_by_role("button", name="Remove").click()
    await expect(alice.locator("#people li")).to_have_count(1)
    await alice.get_by_label("To do").fill("A present for bob")
    await alice.get_by_role("button", name="Add").click()
    await expect(alice.locator("#items label")).to_have_count(2)
    await expect(bob.locator("#items label")).to_have_count(1)
    await alice.close()
    await bob.close()


async def test_who_was_here_before_is_signed_in_again_without_the_provider(
    address: str, browser: Visits
) -> None:
    alice = await signed_in(browser, address, "alice")
    mine = await alice.get_by_label("Your address").input_value()
    await alice.reload()
    await expect(alice.locator("main")).to_contain_text("alice online")
    assert await alice.get_by_label("Your address").input_value() == mine
    await alice.close()


async def test_who_is_refused_at_the_provider_is_told_and_may_try_again(
    address: str, browser: Visits
) -> None:
    page = await browser.open(f"{address}/")
    button = page.get_by_role("button", name="Sign in at the provider")
    await button.click()
    await page.get_by_role("link", name="Cancel").click()
    await expect(page.get_by_role("alert")).to_have_text("End-User aborted interaction")
    await button.click()
    await at_the_provider(page, "alice")
    # Signed out there meanwhile: the token is too old, and no other is to be had for what is kept.
    browser.expect("400")
    await page.evaluate("sessionStorage.oidc = JSON.stringify({ until: 0, refresh: 'over' })")
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("grant request is invalid")
    await button.click()
    await expect(page.get_by_role("button", name="Continue")).to_be_visible()
