"""The page of a report in a real browser: it fits, runs nothing, asks nobody, and opens what it leads to."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from less_sync.validation.render_html import page
from less_sync.validation.texts import Texts
from tests.browser.visits import Visits
from tests.validation.reports import FAILED, HOSTILE, ROWS, read, results, row

LONG = "x" * 300


@pytest.fixture
def report(tmp_path: Path) -> str:
    """The address of a page with long and hostile texts in it."""
    rows = [*ROWS, row("hostile", FAILED, description=HOSTILE, lane="service"), row("long", description=LONG)]
    texts = Texts({"hostile": f"{HOSTILE}\nlast\n"}, {"hostile": f"{HOSTILE}{LONG}"})
    (tmp_path / "report.html").write_bytes(page(read(results(rows, title=f"{HOSTILE} {LONG}")), texts))
    return f"file://{tmp_path}/report.html"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)])
async def test_the_page_fits_every_width_in_light_and_dark(
    browser: Visits, report: str, width: int, *, dark: bool
) -> None:
    window = await browser.open(report, person=await browser.person(width=width, dark=dark))
    assert await window.evaluate("document.documentElement.scrollWidth") <= width
    await expect(window.get_by_text("NO-GO", exact=True)).to_be_visible()
    ground = await window.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(18, 20, 25)" if dark else "rgb(245, 246, 248)")


async def test_a_link_opens_the_evidence_of_its_check(browser: Visits, report: str) -> None:
    window = await browser.open(report)
    exchanges = window.locator("#check-hostile").get_by_label("Exchanges")
    await expect(exchanges).to_be_hidden()
    await window.get_by_role("link", name="hostile").first.click()
    await expect(exchanges).to_be_visible()
    await expect(exchanges).to_contain_text("<script>alert(1)</script>")


async def test_on_paper_it_is_dark_on_white_and_without_what_cannot_be_opened(
    browser: Visits, report: str
) -> None:
    window = await browser.open(report, person=await browser.person(dark=True))
    await window.emulate_media(media="print", color_scheme="dark")
    assert await window.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    await expect(window.locator("details").first).to_be_hidden()
    await expect(
        window.get_by_text("The exchanges of each check are in the folder of this report.")
    ).to_be_visible()
