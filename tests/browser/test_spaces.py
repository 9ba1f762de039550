"""What a space keeps in a browser: IndexedDB, tabs that share it or are killed, and a disk quota."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page

from less_sync.storage import LocalBlobs
from tests.browser.static import POLICY, static_server
from tests.browser.visits import Visits
from tests.live import Live, live_server
from tests.node import CLIENT

_MORE = ("stores.js",)


@contextmanager
def pages(live: Live | None = None) -> Iterator[str]:
    """The client's modules, and those of its tests; they may speak to the server, if there is one."""
    port = live.port if live is not None else 1
    server = f"http://127.0.0.1:{port} ws://127.0.0.1:{port}"
    more = {
        f"/tests/{name}": (CLIENT / "tests" / name).read_bytes().replace(b"../src/", b"/client/")
        for name in _MORE
    }
    policy = POLICY.replace("connect-src 'self'", f"connect-src 'self' {server}")
    with static_server(more.get, policy=policy) as address:
        yield address


@dataclass
class Tabs:
    """Where tabs of an app are opened."""

    browser: Visits
    live: Live
    address: str

    async def quota(self, page: Page, size_bytes: int | None) -> None:
        """How much this origin may store; None: as much as browsers let it."""
        session = await page.context.new_cdp_session(page)
        size = {} if size_bytes is None else {"quotaSize": size_bytes}
        await session.send("Storage.overrideQuotaForOrigin", {"origin": self.address, **size})

    async def open(self, person: BrowserContext, *, quota_bytes: int | None = None, **options: Any) -> Page:
        """A tab in which `app` and `space`, the personal one, are open."""
        page = await self.browser.open(self.address, person=person)
        if quota_bytes is not None:
            # Before anything is stored: what is left is looked up then, and for a while not again.
            await self.quota(page, quota_bytes)
        told = {
            "server": f"http://127.0.0.1:{self.live.port}",
            "token": self.live.token("alice"),
            "name": "todo",
            **options,
        }
        await page.evaluate(
            """async (options) => {
                const { LessSync } = await import("/client/app.js");
                window.errors = [];
                window.app = await LessSync.open(options);
                window.space = app.personal;
                app.on("error", (error) => errors.push(error.code));
            }""",
            told,
        )
        return page


RANDOM = """((size) => {
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    return bytes;
})"""
"""Bytes that no disk makes smaller."""
DIGESTS = "async () => Object.fromEntries((await space.list()).map((one) => [one.path, one.digest]))"
TEXTS = "async () => Object.fromEntries((await space.list()).map((one) => [one.path, one.text()]))"


@pytest.fixture
async def tabs(browser: Visits, database_url: str, tmp_path: Path) -> AsyncIterator[Tabs]:
    blobs = LocalBlobs.at(tmp_path / "blobs")
    async with live_server(database_url, blobs=blobs) as live:
        browser.origins.add(f"127.0.0.1:{live.port}")
        with pages(live) as address:
            yield Tabs(browser, live, address)
    await blobs.aclose()


async def test_indexed_db_does_what_every_store_does(browser: Visits) -> None:
    with pages() as address:
        page = await browser.open(address)
        await page.evaluate(
            """async () => {
                const { IndexedDbStore } = await import("/client/indexed_db.js");
                const { checkStore } = await import("/tests/stores.js");
                await checkStore((name) => new IndexedDbStore(name));
            }"""
        )


async def test_a_killed_tab_loses_nothing_that_was_put_and_sends_it_the_next_time(
    tabs: Tabs,
) -> None:
    alice = await tabs.browser.person()
    page = await tabs.open(alice)
    await page.evaluate("() => space.settled()")
    await page.evaluate("() => app.pause()")
    await page.evaluate("() => space.put('a', 'made offline')")
    await page.close()
    again = await tabs.open(alice)
    assert await again.evaluate(TEXTS) == {"a": "made offline"}
    key = await again.evaluate("() => app.exportKey()")
    did = await again.evaluate("() => app.did")
    await again.evaluate("() => space.settled()")
    other = await tabs.open(await tabs.browser.person(), key=key)
    await other.evaluate("() => space.settled()")
    assert await other.evaluate(TEXTS) == {"a": "made offline"}
    assert await other.evaluate("() => app.did") != did
    third = await tabs.open(alice)
    assert await third.evaluate("() => app.did") == did


async def test_of_two_tabs_one_syncs_for_both_and_the_other_takes_over(tabs: Tabs) -> None:
    alice = await tabs.browser.person()
    first, second = await tabs.open(alice), await tabs.open(alice)
    key = await first.evaluate("() => app.exportKey()")
    phone = await tabs.open(await tabs.browser.person(), key=key)
    await second.evaluate("() => { window.heard = []; space.on('change', (one) => heard.push(one)); }")
    await second.evaluate("() => space.put('b', 'by the second')")
    await second.evaluate("() => space.settled()")
    await phone.evaluate("() => space.settled()")
    assert await phone.evaluate(TEXTS) == {"b": "by the second"}
    assert await first.evaluate(TEXTS) == {"b": "by the second"}
    await first.evaluate("() => space.put('a', 'by the first')")
    await second.wait_for_function("() => heard.length === 2")
    assert await second.evaluate("() => heard") == [
        {"path": "b", "deleted": False, "origin": "local"},
        {"path": "a", "deleted": False, "origin": "remote"},
    ]
    await first.close()
    await second.evaluate("() => space.put('c', 'by the one that is left')")
    await second.evaluate("() => space.settled()")
    await phone.evaluate("() => space.settled()")
    wanted = {"a": "by the first", "b": "by the second", "c": "by the one that is left"}
    assert await phone.evaluate(TEXTS) == wanted == await second.evaluate(TEXTS)


async def test_without_locks_all_tabs_sync_and_end_with_the_same(tabs: Tabs) -> None:
    alice = await tabs.browser.person()
    await alice.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    first, second = await tabs.open(alice), await tabs.open(alice)
    for number in range(10):
        for page in (first, second):
            await page.evaluate(f"() => {{ space.put('{number}', String(Math.random())); }}")
    for page in (first, second, first):
        await page.evaluate("() => space.settled()")
    found = await first.evaluate(TEXTS)
    assert sorted(found) == [str(number) for number in range(10)]
    assert found == await second.evaluate(TEXTS)
    key = await first.evaluate("() => app.exportKey()")
    phone = await tabs.open(await tabs.browser.person(), key=key)
    await phone.evaluate("() => space.settled()")
    assert await phone.evaluate(TEXTS) == found


async def test_a_full_disk_refuses_what_is_put_and_syncing_goes_on_when_there_is_room(tabs: Tabs) -> None:
    page = await tabs.open(await tabs.browser.person(), quota_bytes=3_000_000)
    await page.evaluate("() => space.put('a', 'kept')")
    await page.evaluate("() => space.settled()")
    key = await page.evaluate("() => app.exportKey()")
    kept = await page.evaluate(DIGESTS)
    put = f"async () => space.put('b', {RANDOM}(8_000_000)).then(() => 'put', (error) => error.code)"
    assert await page.evaluate(put) == "quota_exceeded"
    assert await page.evaluate(DIGESTS) == kept
    phone = await tabs.open(await tabs.browser.person(), key=key)
    for number in range(40):
        await phone.evaluate(f"(number) => space.put(`n${{number}}`, {RANDOM}(200_000))", number)
    await phone.evaluate("() => space.settled()")
    await page.wait_for_function("() => errors.includes('quota_exceeded')")
    assert (await page.evaluate(DIGESTS))["a"] == kept["a"]
    await tabs.quota(page, None)
    await page.evaluate("() => space.settled()")
    assert await page.evaluate(DIGESTS) == await phone.evaluate(DIGESTS)


async def test_a_large_content_is_uploaded_fetched_and_read_without_a_connection(tabs: Tabs) -> None:
    page = await tabs.open(await tabs.browser.person())
    await page.evaluate("() => space.put('film', new Blob([new Uint8Array(9_000_000).fill(7)]))")
    await page.evaluate("() => space.settled()")
    key = await page.evaluate("() => app.exportKey()")
    phone = await tabs.open(await tabs.browser.person(), key=key)
    await phone.evaluate("() => space.settled()")
    size = "async () => { const { bytes } = await space.get('film'); return [bytes.length, bytes.at(-1)]; }"
    assert await phone.evaluate(size) == [9_000_000, 7]
    await phone.evaluate("() => app.pause()")
    assert await phone.evaluate(size) == [9_000_000, 7]


SETTLED = "() => Promise.race([space.settled(), new Promise((_, late) => setTimeout(late, 15000, 'late'))])"


async def test_a_tab_that_is_frozen_paused_or_closed_holds_up_no_other(tabs: Tabs) -> None:
    alice = await tabs.browser.person()
    frozen = await tabs.browser.open(tabs.address, person=alice)
    await frozen.evaluate(
        "() => void navigator.locks.request('less-sync:todo', () => new Promise(() => {})).catch(() => {})"
    )
    one = await tabs.open(alice)
    await one.evaluate("() => space.put('a', 'beside a frozen one')")
    await one.evaluate(SETTLED)
    two = await tabs.open(alice)
    await two.evaluate("() => app.pause()")
    await two.evaluate("() => space.put('b', 'paused')")
    await one.evaluate(SETTLED)
    await two.wait_for_function("space.status.pending === 0")
    await one.evaluate("() => app.pause()")
    waits = await two.evaluate_handle("() => ({ told: space.settled().catch((error) => error.code) })")
    await two.evaluate("() => app.close()")
    assert await waits.evaluate("({ told }) => told") == "closed"
    await one.evaluate("() => app.resume()")
    await one.evaluate(SETTLED)
    assert await one.evaluate(TEXTS) == {"a": "beside a frozen one", "b": "paused"}
