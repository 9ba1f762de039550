"""`GET /admin/`: the files of the operators' pages, as they are sent."""

import re
from pathlib import Path
from typing import Final

import pytest

from less_sync.fleet.api.pages import MEDIA_TYPES
from tests.fleet.rig import Fleet

pytestmark = pytest.mark.anyio

UI: Final = Path(__file__).resolve().parents[2] / "fleet" / "ui"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
MAKES_HTML: Final = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|srcdoc|setHTML"
)
NAMED: Final = re.compile(r"""(?:from|href=|src=) ?"(?:\./|/admin/)([^"]+)\"""")


async def test_every_file_is_sent_as_what_it_is_to_anybody(fleet: Fleet) -> None:
    for path in UI.iterdir():
        answer = await fleet.anonymous.get(f"/admin/{path.name}")
        assert (answer.status_code, answer.content) == (200, path.read_bytes()), path.name
        assert answer.headers["content-type"] == MEDIA_TYPES[path.suffix[1:]]
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
    index = await fleet.anonymous.get("/admin/")
    assert index.content == (UI / "index.html").read_bytes()


async def test_a_browser_that_has_a_file_is_told_so(fleet: Fleet) -> None:
    first = await fleet.anonymous.get("/admin/")
    etag = first.headers["etag"]
    for known in (etag, f'"another", W/{etag}'):
        again = await fleet.anonymous.get("/admin/", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert "content-length" not in again.headers
    other = await fleet.anonymous.get("/admin/fleet.css", headers={"If-None-Match": etag})
    assert other.status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "%2e%2e", "%2e%2e%2fapi%2fpages.py", "index.html%00", "ui"])
async def test_what_is_no_file_of_the_pages_is_not_found(fleet: Fleet, name: str) -> None:
    answer = await fleet.client.get(f"/admin/{name}")
    assert answer.status_code == 404


def test_the_pages_name_only_files_of_theirs_and_make_no_html_of_texts() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in UI.iterdir()}
    named = {name: set(NAMED.findall(text)) for name, text in texts.items()}
    assert set.union(*named.values()) | {"index.html"} == texts.keys()
    assert {name: MAKES_HTML.findall(text) for name, text in texts.items() if MAKES_HTML.search(text)} == {}
    assert [
        name for name, text in texts.items() if re.search(r"https?://(?!www\.w3\.org/2000/svg)\w", text)
    ] == []
