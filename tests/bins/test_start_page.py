"""The start page of dev mode: who becomes alice there, and who does not."""

import base64
import json
import re
import stat
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cbor2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.types import Options

from less_sync.auth import encode_did_key
from less_sync.bins.dev import DevIssuer, dev_mailbox_id, dev_start_secret
from less_sync.bins.people import RememberedPeople
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.start_page import BODY_BYTES_MAX, StartPage, own_hosts
from less_sync.client.kept_key import KeyFileError
from tests.live import Live, live_server
from tests.sync.raw_http import Response, connected
from tests.wire.client import Closed, open_socket

PAGES = Path(__file__).resolve().parents[2] / "bins" / "pages"
HERE = "127.0.0.1:5379"
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
DID = encode_did_key(generate_private_key(SECP256R1()).public_key())
PATHS = ("/", "/start/about", "/start/token", "/start/people", "/start/index.html", "/client/index.js")


@pytest.fixture
async def live(database_url: str, tmp_path: Path) -> AsyncIterator[Live]:
    page = StartPage(tmp_path, now=lambda: NOW, people=RememberedPeople(3))
    async with live_server(
        database_url, pages=page.routes([ListenAddress("127.0.0.1", 5379), ListenAddress("::1", 5379)])
    ) as running:
        yield running


async def asked(
    live: Live, method: str, path: str, headers: Mapping[str, str | None], body: bytes = b""
) -> Response:
    """An answer; headers whose value is None are left out."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    async with connected(live.port) as connection:
        connection.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        return await connection.receive(body=method != "HEAD")


def of_the_page(data_dir: Path, body: bytes) -> dict[str, str | None]:
    """What the page itself sends."""
    return {
        "Host": HERE,
        "Origin": f"http://{HERE}",
        "X-Start-Secret": dev_start_secret(data_dir),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }


async def post(
    live: Live, data_dir: Path, path: str, document: object, **changes: str | None
) -> tuple[int, Any]:
    """Status and answer of what the page sends, with headers changed (`_` for `-`)."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    response = await asked(live, "POST", path, of_the_page(data_dir, body) | changed, body)
    assert response.header("access-control-allow-origin") is None
    return response.status, json.loads(response.body) if response.body else None


async def test_who_knows_the_secret_signs_in_and_is_found(live: Live, tmp_path: Path) -> None:
    assert await post(live, tmp_path, "/start/people", {"name": "alice"}) == (
        404,
        {"error": "nobody has signed in under that name yet"},
    )
    status, told = await post(live, tmp_path, "/start/token", {"name": "alice", "did": DID})
    assert (status, list(told)) == (200, ["token", "expires_at"])
    claims = jwt.decode(told["token"], options={"verify_signature": False})
    assert (claims["sub"], claims["did"], claims["exp"]) == ("alice", DID, told["expires_at"])
    assert claims["mailbox_id"] == dev_mailbox_id("alice")
    key = jwt.PyJWK(DevIssuer(tmp_path).jwks()["keys"][0]).key
    undated: Options = {"verify_exp": False, "verify_iat": False}
    jwt.decode(told["token"], key, algorithms=["ES256"], audience="less-sync", options=undated)
    found = {"did": DID, "mailbox": dev_mailbox_id("alice")}
    assert await post(live, tmp_path, "/start/people", {"name": "alice"}) == (200, found)
    assert not (tmp_path / "dev" / "users").exists()


async def test_other_pages_and_other_users_do_not_become_alice(live: Live, tmp_path: Path) -> None:
    secret = dev_start_secret(tmp_path)
    others: list[dict[str, str | None]] = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},  # a sandboxed frame, a file, a redirect
        {"Origin": None},
        {"Origin": f"https://{HERE}"},
        {"Origin": "http://127.0.0.1:8000"},  # another server of this machine
        {"Origin": "http://localhost:5379"},  # not the page's own, though it is ours
        {"Host": "evil.example:5379", "Origin": "http://evil.example:5379"},  # a rebound name
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": "127.0.0.1", "Origin": "http://127.0.0.1"},
        {"Host": "127.0.0.2:5379", "Origin": "http://127.0.0.2:5379"},
        {"Host": "127.0.0.1:5379.evil.example", "Origin": "http://127.0.0.1:5379.evil.example"},
        {"X-Start-Secret": None},
        {"X-Start-Secret": ""},
        {"X-Start-Secret": secret[:-1]},
        {"X-Start-Secret": secret + "A"},
        {"X-Start-Secret": "\u00e9" * 43},
    ]
    for path in ("/start/token", "/start/people"):
        for changes in others:
            status, told = await post(live, tmp_path, path, {"name": "alice", "did": DID}, **changes)
            assert (status, list(told)) == (403, ["error"]), changes
            assert secret not in told["error"]
    assert (await post(live, tmp_path, "/start/people", {"name": "alice"}))[0] == 404


async def test_a_form_of_another_page_says_nothing_that_is_understood(live: Live, tmp_path: Path) -> None:
    """Requests a browser makes without asking first, even if their senders knew everything."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None):
        status, _ = await post(
            live, tmp_path, "/start/token", {"name": "alice", "did": DID}, Content_Type=kind
        )
        assert status == 415, kind


async def test_no_answer_lets_another_origin_read_it_or_ask_with_headers(live: Live) -> None:
    origin = {"Host": HERE, "Origin": "http://evil.example"}
    for path in PATHS:
        for method in ("OPTIONS", "GET", "HEAD", "POST", "DELETE"):
            asks = {
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "x-start-secret",
            }
            response = await asked(live, method, path, {**origin, **asks, "Content-Length": "0"})
            assert not [name for name, _ in response.headers if name.startswith("access-control-")], path
            assert response.header("x-protocol-version") == "1"
    # What applications are for stays open to all of them.
    response = await asked(live, "OPTIONS", "/api/v1/spaces/x/files/y", origin)
    assert response.header("access-control-allow-origin") == "*"


async def test_the_page_and_its_files_are_there_for_this_server_s_own_names_alone(live: Live) -> None:
    for host in (HERE, "localhost:5379", "LOCALHOST:5379", "[::1]:5379"):
        response = await asked(live, "GET", "/", {"Host": host})
        assert response.status == 200
        assert response.body.startswith(b"<!doctype html>")
        socket = "" if host.startswith("[") else f" ws://{host.lower()}"
        assert f"connect-src 'self'{socket};" in (response.header("content-security-policy") or "")
        assert response.header("referrer-policy") == "no-referrer"
        assert response.header("x-frame-options") == "DENY"
    for host in ("evil.example:5379", "127.0.0.1", "[::1]:5380", "localhost"):
        for path in PATHS:
            assert (await asked(live, "GET", path, {"Host": host})).status == 403, (host, path)


async def test_the_page_is_made_of_files_of_this_server_alone(live: Live) -> None:
    page = (await asked(live, "GET", "/", {"Host": HERE})).body.decode()
    assert re.findall(r"<script[^>]*>[^<]|<style|\sstyle=|\son[a-z]+=", page) == []
    linked = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
    assert linked == ["data:,", "/start/style.css", "/start/start.js"]
    named = [PAGES / "start" / name for name in ("index.html", "style.css")]
    scripts = sorted((PAGES / "start").glob("*.js"))
    for path in [*named, *scripts]:
        response = await asked(live, "GET", f"/start/{path.name}", {"Host": HERE})
        assert (response.status, response.body) == (200, path.read_bytes())
        assert not re.search(r"https?:(?!//\$\{)", path.read_text()), path


def test_the_app_that_the_page_shows_has_forty_lines_and_is_what_runs() -> None:
    start = (PAGES / "start" / "start.js").read_text()
    assert len((PAGES / "start" / "todo.js").read_text().splitlines()) <= 40
    assert 'import { openTodo } from "./todo.js";' in start
    assert 'element("code").textContent = await (await fetch("/start/todo.js")).text();' in start


async def test_what_is_no_file_of_the_page_is_not_there(live: Live, tmp_path: Path) -> None:
    assert (await asked(live, "GET", "/client/index.js", {"Host": HERE})).status == 200
    for path in (
        *("/start/", "/start/start_page.py", "/start/../index.html", "/start/%2e%2e/server.py", "/client/"),
        *("/client/../pages/assets.py", "/client/sharing/", "/client/..%2fassets.py", "/client/a/b/c.js"),
        *("/start/token/", "/Start/index.html", "//", "/index.html", "/start//index.html"),
    ):
        response = await asked(live, "GET", path, {"Host": HERE})
        assert response.status in (401, 404), path
        assert b"import" not in response.body
    assert (await asked(live, "GET", "/start/token", {"Host": HERE})).status == 403
    status, _ = await post(live, tmp_path, "/start/about", {})
    assert status == 405


async def test_what_is_not_asked_as_it_must_be_is_refused_with_what_is_wrong(
    live: Live, tmp_path: Path
) -> None:
    for document, error in (
        ({"name": "", "did": DID}, "a user's name has 1 to 256 bytes"),
        ({"name": "x" * 257, "did": DID}, "a user's name has 1 to 256 bytes"),
        ({"name": "a\0", "did": DID}, "a user's name must not contain control characters"),
        (b'{"name": "\\ud800", "did": "%s"}' % DID.encode(), "a user's name must be valid Unicode"),
        ({"name": "alice", "did": "did:web:evil.example"}, "did is no did:key of a P-256 key"),
        ({"name": "alice", "did": "did:key:z" + "1" * 3000}, "did is no did:key of a P-256 key"),
        ({"name": "alice"}, "wanted as text: name, did"),
        ({"name": 1, "did": DID}, "wanted as text: name, did"),
        (b"[]", "the body is no JSON object"),
        (b"[" * BODY_BYTES_MAX, "the body is no JSON object"),
        (b'{"name": "alice", "name": "bob"}', "the body is no JSON object"),
    ):
        assert await post(live, tmp_path, "/start/token", document) == (400, {"error": error})
    large = b" " * (BODY_BYTES_MAX + 1)
    assert (await post(live, tmp_path, "/start/token", large))[0] == 413
    chunked: dict[str, str | None] = {"Content_Length": None, "Transfer_Encoding": "chunked"}
    assert (await post(live, tmp_path, "/start/token", b"0\r\n\r\n", **chunked))[0] == 411


async def test_the_directory_forgets_who_signed_in_longest_ago(live: Live, tmp_path: Path) -> None:
    for name in ("p0", "p1", "p2", "p0", "p3"):
        assert (await post(live, tmp_path, "/start/token", {"name": name, "did": DID}))[0] == 200
    found = [(await post(live, tmp_path, "/start/people", {"name": f"p{number}"}))[0] for number in range(4)]
    assert found == [200, 404, 200, 200]


async def test_a_socket_that_another_page_opens_comes_to_nothing_without_a_token(live: Live) -> None:
    socket = await open_socket("127.0.0.1", live.port, headers=[("Origin", "http://evil.example")])
    socket.send(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": "alice"}}))
    closed = await socket.receive(20)
    assert isinstance(closed, Closed)
    assert closed.code == 4000


async def test_without_dev_mode_nothing_is_there(database_url: str) -> None:
    async with live_server(database_url) as live:
        for path in PATHS:
            response = await asked(live, "GET", path, {"Host": HERE})
            assert (response.status, response.body) == (401, b'{"error":"missing authorization"}')
            token = {"Host": HERE, "Authorization": f"Bearer {live.token('alice')}"}
            response = await asked(live, "GET", path, token)
            assert (response.status, response.body) == (404, b"")
            assert response.header("access-control-allow-origin") == "*"


def test_the_secret_is_kept_for_its_owner_alone_and_outlives_a_restart(tmp_path: Path) -> None:
    secret = dev_start_secret(tmp_path)
    assert len(base64.urlsafe_b64decode(secret + "=")) == 32
    assert dev_start_secret(tmp_path) == secret
    kept = tmp_path / "dev" / "start-secret"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert dev_start_secret(tmp_path / "other") != secret
    kept.write_text("short")
    with pytest.raises(KeyFileError, match="does not hold 43 characters of base64url"):
        StartPage(tmp_path)


def test_a_server_knows_its_own_names() -> None:
    assert own_hosts([ListenAddress("127.0.0.1", 5379)]) == {"127.0.0.1:5379", "localhost:5379"}
    assert own_hosts([ListenAddress("127.0.0.1", 80), ListenAddress("::1", 80)]) == {
        *("127.0.0.1:80", "[::1]:80", "localhost:80", "127.0.0.1", "[::1]", "localhost"),
    }
