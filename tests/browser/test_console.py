"""The operator's console as an operator sees it, over a server in this process."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import Page, expect

from less_sync.bins import logs
from less_sync.sync.limits import Limits
from tests.bins.admin.opened import TOKEN, Admin, admin
from tests.bins.admin.test_stops import admin_port
from tests.browser.static import static_server
from tests.browser.visits import Visits
from tests.live import Client
from tests.wire.process import ServerProcess

LIMITS = Limits(drain_spread_s=600.0, delivery_probe_interval_s=600.0)


@pytest.fixture
async def running(database_url: str, tmp_path: Path) -> AsyncIterator[Admin]:
    async with admin(database_url, tmp_path, LIMITS) as opened:
        opened.listener.public_port_is_open()
        yield opened


async def shown(page: Page, id: str, text: str) -> None:
    """Wait until the element says something that holds this text."""
    await expect(page.locator(f"#{id}")).to_contain_text(text)


async def load(client: Client) -> None:
    """Push for ever."""
    while True:
        await client.push({"id": str(uuid4()), "expected_cursor": 0, "blob": b"x" * 1000})


async def test_a_load_is_shown_as_it_happens(running: Admin, browser: Visits) -> None:
    page = await browser.open(f"http://{running.host}/")
    await shown(page, "state", "ready")
    await shown(page, "methods", "no requests yet")
    alice = await running.live.connect("alice")
    pushing = asyncio.create_task(load(alice))
    try:
        await shown(page, "connections", "clients1")
        await shown(page, "methods", "push")
        await shown(page, "growing", alice.space)
        await expect(page.locator("#requests-graph path[d*=L]")).to_have_count(2)
        graph = page.locator("#requests-graph svg")
        await expect(graph).to_have_attribute("aria-label", re.compile("requests: [1-9]"))
        await browser.picture(page, "load")
    finally:
        pushing.cancel()
        with suppress(asyncio.CancelledError):
            await pushing


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1280, True)])
async def test_it_fits_on_any_screen(running: Admin, browser: Visits, width: int, dark: bool) -> None:
    person = await browser.person(width=width, dark=dark)
    page = await browser.open(f"http://{running.host}/", person=person)
    await shown(page, "state", "ready")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_an_operator_acts_with_the_keyboard_and_the_token(running: Admin, browser: Visits) -> None:
    before = logs.in_force.level
    try:
        page = await browser.open(f"http://{running.host}/")
        await shown(page, "state", "ready")
        browser.expect("401")
        await page.focus("#token")
        await page.keyboard.type("wrong")
        await page.keyboard.press("Enter")  # which is no action
        await page.focus("#set-level")
        await page.keyboard.press("Enter")
        await shown(page, "answer", "X-Admin-Token is missing or wrong")
        assert not running.live.services.draining
        await page.fill("#token", TOKEN)
        await page.select_option("#level", "debug")
        await page.click("#set-level")
        await shown(page, "answer", "log level debug")
        await shown(page, "about", "log level debug")
        asked = []

        async def agree(dialog: object) -> None:
            asked.append(dialog)
            await dialog.accept()  # type: ignore[attr-defined]  # playwright's Dialog

        page.on("dialog", agree)
        await page.click("#drain")
        await shown(page, "answer", "draining, 0 sessions")
        await shown(page, "state", "draining: an operator drains the server")
        assert len(asked) == 1
        await page.click("#reopen")
        await shown(page, "answer", "serving")
        await shown(page, "state", "ready")
    finally:
        logs.set_log_level(before)


async def test_what_is_selected_to_be_copied_stays_so_while_the_figures_change(
    running: Admin, browser: Visits
) -> None:
    page = await browser.open(f"http://{running.host}/")
    await shown(page, "tasks", "delivery watchdog")
    await page.locator("#tasks li").first.select_text()
    before = await page.locator("#about").inner_text()
    await expect(page.locator("#about")).not_to_have_text(before)
    assert await page.evaluate("getSelection().toString()") == "admin listener: running"


async def test_a_page_of_another_site_occupies_no_place_of_a_console(running: Admin, browser: Visits) -> None:
    with static_server(policy="default-src * data:") as elsewhere:
        page = await browser.open(elsewhere.replace("127.0.0.1", "localhost"))
        browser.origins.add(running.host)
        browser.expect("403")
        await page.evaluate(f"""async () => {{
            await fetch("http://{running.host}/events", {{ mode: "no-cors" }});
            const image = new Image();
            image.src = "http://{running.host}/events";
            await new Promise((done) => image.addEventListener("error", done));
        }}""")
        assert running.live.services.metrics.growth is None


async def test_a_server_that_hangs_is_told_from_one_that_is_well(
    database_url: str, tmp_path: Path, browser: Visits
) -> None:
    settings = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path), "LOG_LEVEL": "off"}
    async with ServerProcess(settings, ["--dev"]) as server:
        person = await browser.person()
        await person.clock.install()
        page = await browser.open(f"http://127.0.0.1:{await admin_port(server)}/", person=person)
        await shown(page, "state", "ready")
        server.signal(signal.SIGSTOP)
        try:
            await page.clock.fast_forward(10_000)
            await shown(page, "state", "the server has said nothing for 10 s")
        finally:
            server.signal(signal.SIGCONT)
        await page.clock.fast_forward(10_000)
        await shown(page, "state", "ready")


async def test_beyond_loopback_the_page_asks_for_the_token_first(
    database_url: str, tmp_path: Path, browser: Visits
) -> None:
    async with admin(database_url, tmp_path, LIMITS, address="0.0.0.0:0") as opened:
        opened.listener.public_port_is_open()
        browser.expect("401")
        page = await browser.open(f"http://127.0.0.1:{opened.listener.address.port}/")
        await shown(page, "state", "locked")
        await page.fill("#reading-token", "no token of this server")
        await page.keyboard.press("Enter")
        await shown(page, "unlock-answer", "does not take this token")
        await page.fill("#reading-token", TOKEN)
        await page.keyboard.press("Enter")
        await shown(page, "state", "ready")
        assert await page.input_value("#token") == TOKEN


async def test_a_server_that_went_away_and_came_back_is_shown_again(
    database_url: str, tmp_path: Path, browser: Visits
) -> None:
    async with admin(database_url, tmp_path, LIMITS) as opened:
        address = opened.listener.address
        page = await browser.open(f"http://{address}/")
        await shown(page, "state", "starting")
    browser.expect("ERR_")
    await shown(page, "state", "no connection to the server")
    async with admin(database_url, tmp_path, LIMITS, address=str(address)) as opened:
        opened.listener.public_port_is_open()
        await shown(page, "state", "ready")
