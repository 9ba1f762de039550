"""A Chromium, the windows that tests open in it, and what must not happen in any of them.

A console error, an exception that nobody catches, a request to anywhere but the servers that the test names:
each fails the test, at its end, whatever it has asserted. A test that provokes one says so with `expect`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from tests.browser.chromium import FLAGS, chromium

ARTEFACTS: Final = Path(__file__).resolve().parents[2] / "artefacts" / "browser"
WAIT_MS: Final = 30_000.0
"""For what a page shall come to show: a bound for what never comes, whatever else the machine has to do."""
PROBLEMS_MAX: Final = 100
expect.set_options(timeout=WAIT_MS)
_WITHOUT_SERVER: Final = {"data", "blob", "about"}


@dataclass(slots=True)
class Visits:
    """The windows of one test."""

    browser: Browser
    name: str
    """What pictures of this test are called."""
    origins: set[str] = field(default_factory=set)
    """The servers that pages may speak to: `HOST:PORT`."""
    problems: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    async def person(self, *, width: int = 1280, height: int = 800, dark: bool = False) -> BrowserContext:
        """A browser of somebody's own: nothing stored, nothing shared with other persons' windows."""
        context = await self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(WAIT_MS)
        self.contexts.append(context)
        context.on("console", lambda message: self._console(message))
        context.on("weberror", lambda error: self._problem(f"not caught: {error.error}"))
        context.on("request", lambda request: self._asked(request.url))
        context.on("page", lambda page: self._watch_sockets(page))
        return context

    async def open(self, url: str, *, person: BrowserContext | None = None) -> Page:
        """Open a window, of a new person unless one is named. Its server may be spoken to."""
        self.origins.add(urlsplit(url).netloc)
        page = await (person or await self.person()).new_page()
        await page.goto(url)
        return page

    async def picture(self, page: Page, name: str) -> Path:
        """Keep a picture of the whole page under `artefacts/browser/`, which is not committed."""
        path = ARTEFACTS / f"{self.name}-{name}.png"
        await page.screenshot(path=path, full_page=True)
        return path

    def expect(self, part: str) -> None:
        """Problems that hold this text are what the test is about."""
        self.expected.append(part)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._problem(f"console: {message.text} ({message.location.get('url', '')})")

    def _watch_sockets(self, page: Page) -> None:
        page.on("websocket", lambda socket: self._asked(socket.url))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _WITHOUT_SERVER and parts.netloc not in self.origins:
            self._problem(f"asked elsewhere: {url}")

    def _problem(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_MAX and not any(part in text for part in self.expected):
            self.problems.append(text)


@asynccontextmanager
async def visits(name: str) -> AsyncIterator[Visits]:
    """Start Chromium; at the end keep a picture of each window.

    Raises:
        AssertionError: something happened in one of them that must not; the message says what.
    """
    path = chromium()
    assert path is not None, "no Chromium: make test-browser installs it or says what is missing"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*FLAGS], headless=True)
        made = Visits(browser, name)
        try:
            yield made
        finally:
            pages = [page for context in made.contexts for page in context.pages]
            for number, page in enumerate(pages, 1):
                await made.picture(page, f"end-{number}")
            await browser.close()
    assert not made.problems, "\n".join(made.problems)
