"""The operators' pages of the fleet plane as an operator uses them, over a real plane and its database."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from playwright.async_api import BrowserContext, Page, Route, expect

from less_sync.fleet.line import FleetLine
from less_sync.migrations import migrate_up
from tests.browser.visits import Visits
from tests.fleet.people import PASSWORD, cheap_passwords, employ
from tests.fleet.rig import Fleet, open_fleet

HOSTILE: Final = '<img src=x onerror="document.title=1">&amp;'
REPORT: Final = {
    "connections": 12,
    "peers": 1,
    "pushes_per_minute": 4.5,
    "disk_free_ratio": 0.4,
    "cpu_ratio": 0.2,
}
ALL_PAGES: Final = ("", "agents", "alerts?status=all", "webhooks", "deliveries", "audit", "operators")
LOW_CONTRAST: Final = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if ((parts(colour)[3] ?? 1) > 0) return colour;
    }
    throw new Error("a page without a ground");
  };
  const told = (element) => element.checkVisibility() && !element.closest("svg")
    && [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  return [...document.querySelectorAll("body *")].filter(told)
    .filter((one) => {
      const [high, low] = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => b - a);
      return (high + 0.05) / (low + 0.05) < 4.5;
    })
    .map((one) => `${location.hash} ${one.outerHTML.slice(0, 100)}`);
}"""
"""What is harder to read than WCAG 2.2 1.4.3 allows at level AA."""


@pytest.fixture
async def fleet(empty_database_url: str) -> AsyncIterator[Fleet]:
    await migrate_up(empty_database_url, line=FleetLine())
    async with open_fleet(empty_database_url) as opened:
        opened.use(public_url=opened.url)
        cheap_passwords(opened)
        await employ(opened, "carol")
        yield opened


async def opened(
    browser: Visits,
    fleet: Fleet,
    path: str = "",
    *,
    person: BrowserContext | None = None,
    name: str = "carol",
) -> Page:
    """A window in which somebody has signed in, by keyboard."""
    browser.expect("401")  # that nobody is signed in is what a page asks first
    page = await browser.open(f"{fleet.url}/admin/#/{path}", person=person)
    await expect(page.get_by_label("Name")).to_be_focused()
    await page.keyboard.type(name)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator("#live")).to_have_text("live")
    return page


async def alert(fleet: Fleet, agent_id: str, kind: str, since: str, until: str | None = None) -> None:
    """An agent was not heard of for a time, in hours ago."""
    await fleet.execute(
        "INSERT INTO alerts (id, kind, severity, subject_type, subject_id, title, status, raised_at,"
        " resolved_at) VALUES (gen_random_uuid(), $1, 'warning', 'agent', $2, $1 || ' of ' || $2, $3, "
        "now() - $4::text::interval, now() - $5::text::interval)",
        kind,
        agent_id,
        "open" if until is None else "resolved",
        since,
        until,
    )


async def delivery(fleet: Fleet, status: str = "dead") -> str:
    """A delivery to a new webhook, made behind the plane's back; its id."""
    found: str = await fleet.value(
        "WITH hook AS (INSERT INTO webhooks (id, url, description, events, secret) VALUES "
        "(gen_random_uuid(), 'https://hooks.example/in', 'Pager', '{*}', '\\x00') RETURNING id), "
        "event AS (INSERT INTO webhook_events (id, type, payload) VALUES ('msg_1', 'agent.stale', "
        '\'{"type":"agent.stale","data":{"name":"<b>sync-1</b>"}}\') RETURNING id) '
        "INSERT INTO webhook_deliveries (id, webhook_id, event_id, status, attempts, last_error) "
        "SELECT gen_random_uuid(), hook.id, event.id, $1, 10, 'connection refused' FROM hook, event "
        "RETURNING id::text",
        status,
    )
    return found


def dialog_button(page: Page, name: str) -> Any:
    return page.get_by_role("dialog").get_by_role("button", name=name, exact=True)


async def test_an_operator_acts_by_keyboard_alone(fleet: Fleet, browser: Visits) -> None:
    agent = await fleet.register(name="sync-1")
    await alert(fleet, agent.agent_id, "agent.stale", "1 hour")
    browser.expect("401")
    page = await browser.open(f"{fleet.url}/admin/")
    await page.get_by_label("Name").fill("carol")
    await page.get_by_label("Password").fill("not the password")
    await page.keyboard.press("Enter")
    await expect(page.locator("#sign-in-why")).to_have_text("invalid username or password")
    await page.keyboard.type(PASSWORD)  # what was wrong is selected
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="1 active")).to_be_visible()

    acknowledge = page.get_by_role("button", name=re.compile("^Acknowledge: agent.stale"))
    await acknowledge.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Note")).to_be_focused()
    await page.keyboard.type("on it")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#answer")).to_have_text("The alert is acknowledged.")
    await expect(page.locator(".note")).to_have_text("on it")
    told = await fleet.rows("SELECT status, note, acknowledged_by FROM alerts")
    assert told == [{"status": "acknowledged", "note": "on it", "acknowledged_by": "operator:carol"}]
    assert await page.evaluate("document.activeElement.closest('.item') !== null")  # the button has gone
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name=re.compile("^Resolve"))).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing needs you.")).to_be_visible()

    await page.get_by_role("link", name="Agents", exact=True).focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="sync-1").focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Retire").press("Enter")
    await page.keyboard.type("sync-2")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("This is not the name.")
    await page.keyboard.press("Escape")
    assert await fleet.value("SELECT status FROM agents") == "active"
    await page.get_by_role("button", name="Retire").press("Enter")
    await page.keyboard.type("sync-1")
    await page.keyboard.press("Enter")
    await expect(page.locator("#page h1")).to_have_text("sync-1 retired")
    assert await fleet.value("SELECT status FROM agents") == "retired"


async def test_states_are_shown_as_they_were_and_as_they_change(fleet: Fleet, browser: Visits) -> None:
    agent = await fleet.register(name=HOSTILE, hostname="host-1")
    await fleet.register(name="naked", kind="volume")
    await fleet.execute(
        "UPDATE agents SET created_at = now() - interval '2 days', "
        "status_changed_at = now() - interval '6 hours'"
    )
    await fleet.execute("UPDATE agents SET status_changed_at = created_at WHERE name = 'naked'")
    await alert(fleet, agent.agent_id, "agent.stale", "18 hours", "12 hours")
    await alert(fleet, agent.agent_id, "agent.inactive", "12 hours", "6 hours")
    await agent.beat(REPORT)
    await fleet.execute(
        "INSERT INTO heartbeats SELECT agent_id, received_at - n * interval '10 minutes', 1, boot_id, "
        "version, report FROM heartbeats, generate_series(1, 30) n"
    )
    person = await browser.person()
    await person.clock.set_system_time(
        datetime.now(UTC) + timedelta(hours=5)
    )  # a machine whose clock is wrong
    page = await opened(browser, fleet, "agents", person=person)
    await expect(page.get_by_role("link", name=HOSTILE)).to_be_visible()
    assert await page.locator("#page img").count() == 0
    strip = page.get_by_role("img", name=f"{HOSTILE}, last 24 h: active 50 %, stale 25 %, inactive 25 %")
    await expect(strip).to_be_visible()
    await expect(page.get_by_role("img", name="naked, last 24 h: active 100 %")).to_be_visible()
    await browser.picture(page, "agents")

    await fleet.execute(
        "UPDATE agents SET status = 'inactive', status_changed_at = now() WHERE name = 'naked'"
    )
    await expect(page.locator("li", has_text="naked").locator(".badge")).to_have_text("inactive")

    await page.get_by_role("link", name=HOSTILE).click()
    await expect(
        page.get_by_role("img", name=re.compile("^States, last 24 hours: active 50 %"))
    ).to_be_visible()
    connections = page.get_by_role("img", name="Connections. Last clients: 12, servers: 1; highest 12")
    assert (await connections.locator("path").first.get_attribute("d") or "").count("L") == 30
    await page.get_by_label("Time").select_option("7d")
    await expect(
        page.get_by_role("img", name=re.compile("^States, last 7 days: active 75 %"))
    ).to_be_visible()
    await browser.picture(page, "agent")
    await page.get_by_label("Time").select_option("1h")
    await expect(page.get_by_role("img", name="States, last 1 hour: active 100 %")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_label("Time")).to_have_value("7d")
    await page.go_back()
    await expect(page.get_by_label("Time")).to_have_value("24h")
    await page.go_back()
    await page.get_by_role("link", name="naked").click()
    await expect(page.get_by_text("Nothing was reported in this time.")).to_be_visible()


async def test_a_large_fleet_is_searched_and_leafed_through(fleet: Fleet, browser: Visits) -> None:
    await fleet.execute(
        "INSERT INTO agents (agent_id, instance_id, name, kind, os, arch, version, status,"
        " heartbeat_interval_seconds, token_hash, created_at) SELECT gen_random_uuid(), gen_random_uuid(),"
        " 'sync-' || n, 'sync', 'linux', 'amd64', '1.0.0',"
        " CASE WHEN n % 100 = 0 THEN 'stale' ELSE 'active' END, 60, sha256(n::text::bytea),"
        " now() - interval '1 day' + n * interval '1 second' FROM generate_series(1, 10000) n"
    )
    page = await opened(browser, fleet)
    await expect(page.get_by_role("link", name="9,900 active")).to_be_visible()
    await page.get_by_role("link", name="100 stale").click()
    rows = page.locator(".agents > li")
    await expect(rows).to_have_count(50)
    await expect(rows.last).to_contain_text("sync-5000")
    await page.get_by_role("link", name="Next page").click()
    await expect(rows.last).to_contain_text("sync-10000")
    # An answer to the first letters comes while the last is typed, which stays.
    typed = asyncio.Event()

    async def hold(route: Route) -> None:
        await typed.wait()
        await route.continue_()

    await page.route(re.compile(r"q=SYNC-7$"), hold)
    await page.get_by_label("Name or host").press_sequentially("SYNC-7")
    await expect(page).to_have_url(re.compile(r"q=SYNC-7$"))
    await page.keyboard.type("7")
    typed.set()
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("sync-7700")
    await expect(page.get_by_label("Name or host")).to_be_focused()
    await expect(page.get_by_label("Name or host")).to_have_value("SYNC-77")
    await page.go_back()
    await expect(rows).to_have_count(50)
    await expect(rows.first).to_contain_text("sync-100")


async def test_a_webhook_is_made_and_a_dead_delivery_is_sent_again(fleet: Fleet, browser: Visits) -> None:
    id = await delivery(fleet)
    page = await opened(browser, fleet, "deliveries?status=dead")
    await page.get_by_role("link", name="agent.stale").click()
    await expect(page.get_by_label("What is sent")).to_contain_text('"name": "<b>sync-1</b>"')
    await page.go_back()
    await page.get_by_role("button", name="Retry: agent.stale, msg_1").click()
    await expect(page.locator("#answer")).to_have_text("The delivery is scheduled.")
    await expect(page.get_by_text("Nothing was sent that is like this.")).to_be_visible()
    again = await fleet.rows("SELECT status, attempts FROM webhook_deliveries WHERE id = $1::text::uuid", id)
    assert again == [{"status": "pending", "attempts": 0}]

    await page.get_by_role("link", name="Webhooks").click()
    await page.get_by_role("button", name="Add a webhook").click()
    await page.get_by_label("Address").fill("https://127.0.0.1/in")
    browser.expect("400")
    await dialog_button(page, "Add").click()
    await expect(page.get_by_role("alert")).to_contain_text("url: address is not allowed")
    await page.get_by_label("Address").fill("https://1.1.1.1/in")
    await dialog_button(page, "Add").click()
    await expect(page.get_by_role("textbox", name="Secret")).to_have_value(re.compile("^whsec_"))
    await dialog_button(page, "I have kept it").click()
    added = page.locator(".item", has_text="https://1.1.1.1/in")
    await added.get_by_role("button", name="Delete").click()
    await page.get_by_label(re.compile("^Type")).fill("https://1.1.1.1/in")
    await dialog_button(page, "Delete").click()
    await expect(added).to_have_count(0)


async def test_a_session_that_ended_elsewhere_asks_to_sign_in_and_goes_on(
    fleet: Fleet, browser: Visits
) -> None:
    await employ(fleet, "vic", "viewer")
    agent = await fleet.register(name="sync-1")
    await alert(fleet, agent.agent_id, "agent.stale", "1 hour")
    person = await browser.person()
    first = await opened(browser, fleet, "alerts?severity=warning", person=person)
    second = await browser.open(f"{fleet.url}/admin/#/audit", person=person)
    await expect(second.locator("h1:visible")).to_have_text("Audit")
    await expect(second.get_by_role("cell", name="session.begin")).to_be_visible()

    await fleet.execute("DELETE FROM operator_sessions")
    why = first.locator("#sign-in-why")
    await expect(why).to_have_text("Your session has ended. Sign in again to go on where you were.")
    await expect(first.get_by_text("agent.stale")).to_have_count(0)
    await expect(second.get_by_role("cell", name="session.begin")).to_have_count(0)
    browser.expect("403")
    await first.get_by_label("Name").fill("vic")
    await first.get_by_label("Password").fill(PASSWORD)
    await first.keyboard.press("Enter")
    await expect(first.get_by_label("Severity")).to_have_value("warning")
    await expect(first.locator(".item", has_text="agent.stale")).to_be_visible()
    await expect(first.get_by_role("button", name=re.compile("Acknowledge|Resolve"))).to_have_count(0)
    # The other tab is somebody else's now, who may not see what it showed.
    await expect(second.locator("#who")).to_have_text("vic, viewer")
    await expect(second.locator("#live")).to_have_text("Your role does not let you see this page.")

    await first.get_by_role("button", name="Sign out").click()
    await expect(why).to_have_text("You are signed out.")
    await expect(second.locator("#sign-in-why")).to_have_text("You have signed out in another tab.")
    assert await fleet.value("SELECT count(*) FROM operator_sessions") == 0


async def test_a_plane_that_is_away_is_said_to_be_and_comes_back(fleet: Fleet, browser: Visits) -> None:
    person = await browser.person()
    page = await opened(browser, fleet, "agents", person=person)
    await expect(page.get_by_text("No server reports yet.")).to_be_visible()
    browser.expect("ERR_INTERNET_DISCONNECTED")
    await person.set_offline(True)
    await expect(page.locator("#live")).to_have_text("no connection to the plane; tried again by itself")
    await expect(page.locator("#as-of")).to_have_text(re.compile(r"What is shown is of .*, \d+ s ago\."))
    await expect(page.get_by_text("No server reports yet.")).to_be_visible()
    await fleet.register(name="sync-1")
    await person.set_offline(False)
    await expect(page.get_by_role("link", name="sync-1")).to_be_visible()
    await expect(page.locator("#live")).to_have_text("live")


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, True)])
async def test_it_fits_and_can_be_read_on_any_screen(
    fleet: Fleet, browser: Visits, width: int, dark: bool
) -> None:
    agents = [await fleet.register(name=name) for name in (HOSTILE, "x" * 128, "sync-3")]
    await asyncio.gather(*(alert(fleet, one.agent_id, "agent.inactive", "1 hour") for one in agents))
    await agents[0].beat(REPORT)
    await delivery(fleet)
    person = await browser.person(width=width, dark=dark)
    page = await opened(browser, fleet, person=person)
    paths = [
        *ALL_PAGES,
        f"agents/{agents[0].agent_id}",
        f"deliveries/{await fleet.value('SELECT id FROM webhook_deliveries')}",
    ]
    faint = []
    for path in paths:
        await page.evaluate("path => { location.hash = path; }", f"/{path}")
        await expect(page.locator("#page")).to_have_attribute("aria-busy", "false")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
        faint += await page.evaluate(LOW_CONTRAST)
        await browser.picture(page, re.sub(r"\W.*", "", path) or "overview")
    await page.goto(f"{fleet.url}/admin/#/agents/{agents[1].agent_id}")
    await page.get_by_role("button", name="Retire").click()
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    faint += await page.evaluate(LOW_CONTRAST)
    assert faint == []
