"""What a browser keeps between two visits: the store in a real IndexedDB."""

from typing import Any

from playwright.async_api import Page

from tests.browser.static import static_server
from tests.browser.visits import Visits

OPEN = """
const { IndexedDbStore } = await import("/client/indexed_db.js");
const store = new IndexedDbStore("test");
"""
STEPS = 50


async def run(page: Page, script: str) -> Any:
    """Run the body of an async function with `store` open, and give what it returns."""
    return await page.evaluate(f"async () => {{ {OPEN} {script} }}")


async def test_values_and_keys_that_no_script_can_export_are_there_at_the_next_visit(browser: Visits) -> None:
    with static_server() as address:
        alice = await browser.person()
        page = await browser.open(address, person=alice)
        await run(
            page,
            """
            const { DeviceKey } = await import("/client/keys.js");
            const device = await DeviceKey.generate();
            await store.update([], (_, write) => {
              write("a/1", new Uint8Array([1, 2]));
              write("a/2", { did: device.did, device: device.stored() });
              write("b/1", "elsewhere");
            });
            """,
        )
        await page.close()
        found = await run(
            await browser.open(address, person=alice),
            """
            const { DeviceKey } = await import("/client/keys.js");
            const [[, bytes], [, { did, device }]] = await store.list("a/");
            const again = await DeviceKey.fromStored(device);
            const signature = await again.sign(new Uint8Array(3));
            return [[...bytes], again.did === did, signature.length, (await store.read(["b/1", "c"])).join()];
            """,
        )
    assert found == [[1, 2], True, 64, "elsewhere,"]


async def test_steps_of_two_windows_at_once_come_one_after_the_other(browser: Visits) -> None:
    add = f"""
        const step = ([count = 0], write) => write("count", count + 1);
        await Promise.all(Array.from({{ length: {STEPS} }}, () => store.update(["count"], step)));
    """
    with static_server() as address:
        alice = await browser.person()
        pages = [await browser.open(address, person=alice) for _ in range(2)]
        for page in pages:
            await page.evaluate(f"() => {{ window.adding = (async () => {{ {OPEN} {add} }})(); }}")
        for page in pages:
            await page.evaluate("window.adding")
        assert await run(pages[0], 'return store.read(["count"])') == [2 * STEPS]


async def test_a_full_store_says_so_and_keeps_every_step_that_was_done_and_none_in_part(
    browser: Visits,
) -> None:
    with static_server() as address:
        alice = await browser.person()
        page = await browser.open(address, person=alice)
        devtools = await alice.new_cdp_session(page)
        await devtools.send("Storage.overrideQuotaForOrigin", {"origin": address, "quotaSize": 8 << 20})
        told = await run(
            page,
            """
            const big = new Uint8Array(1 << 20);
            for (let i = 0; i < big.length; i += 65536) crypto.getRandomValues(big.subarray(i, i + 65536));
            for (let i = 1; i <= 32; i += 1) {
              const step = (_, write) => { write("steps", i); write(`big/${i}`, big); };
              const error = await store.update([], step).then(() => undefined, (one) => one);
              if (error) return [error.name, error.code];
            }
            """,
        )
        await devtools.send("Storage.overrideQuotaForOrigin", {"origin": address})
        await page.close()
        again = await browser.open(address, person=alice)
        steps, big = await run(
            again, 'return [(await store.read(["steps"]))[0], (await store.list("big/")).length];'
        )
    assert told == ["QuotaExceeded", "quota_exceeded"]
    assert 1 <= steps == big < 8
