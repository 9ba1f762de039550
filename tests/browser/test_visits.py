"""What fails a browser test whatever it asserts, and that the client's modules are loaded as they are."""

import re
from collections.abc import AsyncIterator

import pytest

from tests.browser.static import static_server
from tests.browser.visits import Visits, visits


async def test_the_client_s_modules_load_in_a_browser_without_a_build_step(browser: Visits) -> None:
    with static_server() as address:
        page = await browser.open(address)
        names = await page.evaluate("import('/client/index.js').then((client) => Object.keys(client))")
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("console.error('told')", "console: told"),
        ("setTimeout(() => { throw new Error('told'); })", "not caught: "),
        ("fetch('/missing')", "console: Failed to load resource"),
        ("new Image().src = 'http://127.0.0.1:1/x'", "asked elsewhere: http://127.0.0.1:1/x"),
        ("new WebSocket('ws://127.0.0.1:1/x')", "asked elsewhere: ws://127.0.0.1:1/x"),
    ],
    ids=["console", "exception", "missing", "elsewhere", "socket"],
)
async def test_what_must_not_happen_in_a_browser_fails_the_test(script: str, told: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(told)):
        await run_in_a_page(script)


async def run_in_a_page(script: str) -> None:
    """Open a page that may do anything, run a script in it, and give it time to go wrong."""
    with static_server(policy="default-src *") as address:
        async with visits("must-not-happen") as browser:
            page = await browser.open(address)
            await page.evaluate(f"() => {{ {script}; }}")
            await page.wait_for_timeout(200)


@pytest.fixture
async def departing(browser: Visits) -> AsyncIterator[str]:
    """A server that is asked once more when the test is over and it has gone."""
    with static_server() as address:
        yield address
    (page,) = browser.contexts[0].pages
    await page.evaluate("fetch('/').catch(() => null)")


async def test_a_window_that_misses_its_server_after_the_test_is_no_fault(
    browser: Visits, departing: str
) -> None:
    await browser.open(departing)
    assert browser.problems == []


async def test_people_share_nothing_and_windows_of_one_person_do(browser: Visits) -> None:
    with static_server() as address:
        alice, bob = await browser.person(), await browser.person()
        first = await browser.open(address, person=alice)
        await first.evaluate("localStorage.setItem('who', 'alice')")
        second, other = await browser.open(address, person=alice), await browser.open(address, person=bob)
        kept = [await page.evaluate("localStorage.getItem('who')") for page in (second, other)]
    assert kept == ["alice", None]
