"""Files of pages: which there are, and what goes with each into a browser."""

from starlette.requests import Request
from starlette.responses import Response

from less_sync.bins.pages.assets import Asset, assets_in


def asked(**headers: str) -> Request:
    """A request with these headers, `_` for `-`."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": pairs})


def sent(response: Response) -> dict[str, str]:
    """The headers of an answer."""
    return {name.decode(): value.decode() for name, value in response.raw_headers}


PAGE = Asset.of("index.html", b"<!doctype html>")


def test_a_file_goes_out_with_what_keeps_a_page_to_itself() -> None:
    response = PAGE.response(asked(), connect="'self' ws://127.0.0.1:5379")
    headers = sent(response)
    assert (response.status_code, response.body) == (200, b"<!doctype html>")
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws://127.0.0.1:5379; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-cache"


def test_a_client_that_has_this_version_gets_no_content() -> None:
    for known in (PAGE.etag, f'"other", W/{PAGE.etag}'):
        response = PAGE.response(asked(if_none_match=known))
        assert (response.status_code, response.body) == (304, b"")
        assert sent(response)["etag"] == PAGE.etag
    assert PAGE.response(asked(if_none_match='"other"')).status_code == 200
    assert Asset.of("index.html", b"changed").etag != PAGE.etag


def test_the_modules_of_the_client_are_found_and_nothing_else() -> None:
    found = assets_in("client")
    assert found["index.js"].media_type == "text/javascript; charset=utf-8"
    assert all(name.endswith(".js") and ".." not in name for name in found)
