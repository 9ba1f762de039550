"""What holds for every route: docs/fleet.md 3."""

import asyncio
import json
import secrets
from ipaddress import ip_network
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from less_sync.fleet.api.auth import csrf_token
from tests.fleet.people import PASSWORD, cheap_passwords, employ, log_in, signed_in
from tests.fleet.raw import AUTHORIZED, Wire, ask
from tests.fleet.rig import KEY, Fleet, open_fleet

pytestmark = pytest.mark.anyio
USERS = "/platform/v1/users"
JSON = "Content-Type: application/json"
ADA = {"username": "ada", "password": PASSWORD, "role": "admin"}


@pytest.fixture(autouse=True)
def cheap(fleet: Fleet) -> None:
    fleet.anonymous.cookies.clear()
    cheap_passwords(fleet)


async def test_each_answer_has_the_common_headers_whatever_it_is(fleet: Fleet) -> None:
    fleet.plane.draining = True
    for line, status in (
        ("GET /", 302),
        (f"GET {USERS}", 200),
        ("GET /management/v1/health", 503),
        ("GET /nothing", 404),
        (f"PUT {USERS}", 405),
        (f"POST {USERS}", 400),
        (f"GET {USERS}?limit=0", 400),
        (f"GET {USERS}/7", 405),
    ):
        heard = await ask(fleet, line, AUTHORIZED, "Content-Length: 0")
        assert heard.status == status, line
        assert heard.headers["cache-control"] == "no-store"
        assert heard.headers["x-content-type-options"] == "nosniff"
        assert heard.headers["referrer-policy"] == "no-referrer"
        if status >= 400 and status != 503:
            told = json.loads(heard.body)
            assert list(told)[:3] == ["error", "code", "request_id"]
            assert told["request_id"] == heard.headers["x-request-id"]
            assert heard.headers["content-type"] == "application/json"


async def test_a_request_id_is_the_clients_if_it_is_a_uuid(fleet: Fleet) -> None:
    mine = str(uuid4())
    for sent, taken in (
        (mine, True),
        ("7", False),
        ("x" * 36, False),
        (f"{mine}, {mine}", False),
        ("", False),
    ):
        heard = await ask(fleet, "GET /", f"X-Request-Id: {sent}")
        assert (heard.headers["x-request-id"] == sent) is taken
        assert str(UUID(heard.headers["x-request-id"])) == heard.headers["x-request-id"]
    twice = await ask(fleet, "GET /", f"X-Request-Id: {mine}", f"X-Request-Id: {uuid4()}")
    assert twice.headers["x-request-id"] != mine


async def test_a_path_that_there_is_not_is_404_with_credentials_and_a_method_405_with_those_there_are(
    fleet: Fleet,
) -> None:
    for path in ("/nothing", "/api/v1/servers", "/management/v1/", "/platform/v1/users/", "//", "/%2e%2e/"):
        heard = await ask(fleet, f"GET {path}", AUTHORIZED)
        assert (heard.status, json.loads(heard.body)["error"]) == (404, "not found")
    for line, allowed in (
        (f"PUT {USERS}", {"GET", "HEAD", "POST"}),
        (f"OPTIONS {USERS}", {"GET", "HEAD", "POST"}),
        ("POST /management/v1/health", {"GET", "HEAD"}),
        ("GET /platform/v1/auth/login", {"POST"}),
        (f"GET {USERS}/{uuid4()}", {"PATCH", "DELETE"}),
    ):
        heard = await ask(fleet, line, AUTHORIZED, "Content-Length: 0")
        assert (heard.status, json.loads(heard.body)["code"]) == (405, "method_not_allowed")
        assert set(heard.headers["allow"].split(", ")) == allowed


async def test_head_is_get_without_the_body(fleet: Fleet) -> None:
    got = await fleet.client.get(USERS)
    head = await fleet.client.head(USERS)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    ("origins", "origin", "told"),
    [
        ((), "https://ops.example.org", {}),
        (("https://ops.example.org",), None, {}),
        (("https://ops.example.org",), "https://evil.example.org", {"vary": "Origin"}),
        (("https://ops.example.org",), "https://ops.example.org.evil.org", {"vary": "Origin"}),
        (("https://ops.example.org",), "null", {"vary": "Origin"}),
        (
            ("https://a.example.org", "https://ops.example.org"),
            "https://ops.example.org",
            {
                "access-control-allow-origin": "https://ops.example.org",
                "access-control-allow-credentials": "true",
                "access-control-expose-headers": "X-Request-Id, Retry-After",
                "vary": "Origin",
            },
        ),
        (
            ("*",),
            "https://evil.example.org",
            {
                "access-control-allow-origin": "*",
                "access-control-expose-headers": "X-Request-Id, Retry-After",
            },
        ),
    ],
)
async def test_cors_headers_are_for_the_origins_that_are_set(
    fleet: Fleet, origins: tuple[str, ...], origin: str | None, told: dict[str, str]
) -> None:
    fleet.use(cors_origins=origins)
    sent = [] if origin is None else [f"Origin: {origin}"]
    for credentials in ((AUTHORIZED,), ()):  # errors too, or a page could not read why
        heard = await ask(fleet, f"GET {USERS}", *credentials, *sent)
        found = {k: v for k, v in heard.headers.items() if k.startswith("access-control") or k == "vary"}
        assert found == told
    asked = await ask(fleet, f"OPTIONS {USERS}", *sent, "Access-Control-Request-Method: PATCH")
    assert asked.status == (401 if origin is None else 204)
    if "access-control-allow-origin" in told:
        assert "PATCH" in asked.headers["access-control-allow-methods"]
        assert "X-CSRF-Token" in asked.headers["access-control-allow-headers"]
    else:
        assert "access-control-allow-methods" not in asked.headers


async def test_a_browser_changes_nothing_without_its_token_or_from_another_origin(fleet: Fleet) -> None:
    who = await employ(fleet, "ada")
    browser = await signed_in(fleet, "ada")
    other = await signed_in(fleet, "ada")
    own = "http://127.0.0.1:5380"
    for headers, status in (
        ({"X-CSRF-Token": ""}, 403),
        ({"X-CSRF-Token": browser.csrf[:-1]}, 403),
        ({"X-CSRF-Token": other.csrf}, 403),
        ({"X-CSRF-Token": csrf_token(browser.csrf)}, 403),
        ({"Origin": "http://127.0.0.1:5381"}, 403),
        ({"Origin": "https://127.0.0.1:5380"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"{own}.evil.org"}, 403),
        ({"Origin": own}, 200),
        ({"Origin": "http://localhost:5380"}, 200),
        ({}, 200),
    ):
        answer = await browser.ask("PATCH", f"{USERS}/{who}", json={"disabled": False}, headers=headers)
        assert answer.status_code == status, headers
        if status == 403:
            assert (answer.json()["error"], answer.json()["code"]) == ("csrf check failed", "forbidden")
    read = await browser.ask("GET", USERS, headers={"X-CSRF-Token": "", "Origin": "https://evil.org"})
    assert read.status_code == 200


INVALID = [
    b"{",
    b"[]",
    b"7",
    b"null",
    b"",
    b'{"username":"a","username":"a"}',
    b'{"role":{"a":1,"a":2}}',
    b'{"role":NaN}',
    b'{"role":-Infinity}',
    b'{"role":1e999}',
    b'{"role":9007199254740993}',
    b'{"role":-9007199254740993}',
    b'{"role":' + b"9" * 5000 + b"}",
    b'{"role":1e16}',
    b'{"role":"a\\u0000b"}',
    b'{"a\\u0000":1}',
    b'{"role":"a\x00b"}',
    b'{"role":"\\ud800"}',
    b'{"role":["\\udc00\\ud800"]}',
    b'{"\\ud800":1}',
    b'{"role":"\xff"}',
    b'{"role":"\xed\xa0\x80"}',
    b"\xef\xbb\xbf{}",
    b'{"role":1,}',
    b"{'role':1}",
    b'{"role":01}',
    b'{"a":' * 50_000,
    b'{"role":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":1} {}',
]


@pytest.mark.parametrize("body", INVALID, ids=lambda body: body[:24].decode("latin-1"))
async def test_what_is_no_json_object_is_invalid_json(fleet: Fleet, body: bytes) -> None:
    answer = await fleet.client.post(USERS, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


async def test_a_number_of_53_bits_a_pair_of_surrogates_and_moderate_depth_are_json(fleet: Fleet) -> None:
    for value in (b"9007199254740992", b'"\\ud83d\\ude00"', b"[" * 100 + b"]" * 100, b"1.5e3"):
        answer = await fleet.client.post(
            USERS, content=b'{"role":' + value + b"}", headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "validation_failed")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 400),
        ("application/json; charset=utf-8", 400),
        ("Application/JSON", 400),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json, text/plain", 415),
        ("application/json-patch", 415),
        ("", 415),
    ],
)
async def test_only_json_is_read(fleet: Fleet, kind: str, status: int) -> None:
    heard = await ask(
        fleet, f"POST {USERS}", AUTHORIZED, f"Content-Type: {kind}", "Content-Length: 2", body=b"{}"
    )
    assert heard.status == status
    bare = await ask(fleet, f"POST {USERS}", AUTHORIZED, "Content-Length: 2", body=b"{}")
    assert (bare.status, json.loads(bare.body)["code"]) == (415, "unsupported_media_type")


async def test_a_body_that_is_too_large_is_refused_when_it_is_announced_or_when_it_has_come(
    fleet: Fleet,
) -> None:
    announced = await ask(fleet, f"POST {USERS}", AUTHORIZED, JSON, f"Content-Length: {1024 * 1024 + 1}")
    assert (announced.status, json.loads(announced.body)["code"]) == (413, "body_too_large")
    login = await ask(fleet, "POST /platform/v1/auth/login", JSON, "Content-Length: 8193")
    assert login.status == 413
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    chunked = await ask(
        fleet, f"POST {USERS}", AUTHORIZED, JSON, "Transfer-Encoding: chunked", body=chunk * 17 + b"0\r\n\r\n"
    )
    assert chunked.status == 413
    body = json.dumps(ADA).encode()
    full = body + b" " * (1024 * 1024 - len(body))
    head = (AUTHORIZED, JSON)
    assert (await ask(fleet, f"POST {USERS}", *head, f"Content-Length: {len(full)}", body=full)).status == 201


async def test_a_chunked_body_is_a_body(fleet: Fleet) -> None:
    body = json.dumps(ADA).encode()
    pieces = b"".join(b"%x\r\n%b\r\n" % (1, body[n : n + 1]) for n in range(len(body))) + b"0\r\n\r\n"
    heard = await ask(fleet, f"POST {USERS}", AUTHORIZED, JSON, "Transfer-Encoding: chunked", body=pieces)
    assert heard.status == 201


async def test_a_whole_number_is_an_integer_however_it_is_written(fleet: Fleet) -> None:
    for written, status in (("120", 201), ("120.0", 201), ("1.2e2", 201), ("120.5", 400), ("true", 400)):
        answer = await fleet.client.post(
            "/management/v1/enrolment-tokens",
            content=f'{{"label":"x","ttl_seconds":{written}}}',
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == status, written
    kept = await fleet.rows(
        "SELECT extract(epoch FROM expires_at - created_at)::int AS s FROM enrolment_tokens"
    )
    assert [row["s"] for row in kept] == [120, 120, 120]


async def test_all_problems_of_a_body_are_told_in_the_order_of_the_fields(fleet: Fleet) -> None:
    body = {"role": "x", "more": 1, "password": 7, "username": ""}
    told = (await fleet.client.post(USERS, json=body)).json()
    assert [one["field"] for one in told["fields"]] == ["username", "password", "role", "more"]
    first = told["fields"][0]
    assert told["error"] == f"validation failed: {first['field']}: {first['message']}"
    assert told["code"] == "validation_failed"


@pytest.mark.parametrize("query", ["a=%00", "%00=a", "actor=%ff", "&".join(f"a{n}=" for n in range(60))])
async def test_a_query_that_is_no_text_is_400(fleet: Fleet, query: str) -> None:
    answer = await fleet.client.get(f"/platform/v1/audit?{query}")
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (400, "query")


async def test_a_request_that_takes_too_long_is_504_and_has_changed_nothing(fleet: Fleet) -> None:
    who = await employ(fleet, "ada", "viewer")
    fleet.use(request_timeout_s=0.2)
    cheap_passwords(fleet)
    async with fleet.plane.database.transaction() as held:
        await held.execute("SELECT FROM operators FOR UPDATE")
        answer = await fleet.client.delete(f"{USERS}/{who}")
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
    assert answer.json()["error"] == "request timed out"
    assert await fleet.value("SELECT count(*) FROM operators") == 1
    assert await fleet.value("SELECT count(*) FROM audit_log") == 0
    slow = await ask(fleet, f"POST {USERS}", AUTHORIZED, JSON, "Content-Length: 20", body=b'{"username"')
    assert slow.status == 504
    assert (await fleet.client.delete(f"{USERS}/{who}")).status_code == 200


async def test_what_the_database_undoes_is_503_and_good_when_it_is_asked_again(
    fleet_database_url: str,
) -> None:
    """A later release migrates the schema while this one serves: its prepared statements are planned anew."""
    async with open_fleet(fleet_database_url) as fleet:
        path = f"{USERS}/{await employ(fleet, 'ada', 'viewer')}"
        change = {"role": "operator"}
        assert (await fleet.client.patch(path, json=change)).status_code == 200
        await fleet.execute("ALTER TABLE operators ALTER username TYPE VARCHAR")
        busy = await fleet.client.patch(path, json=change)
        assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (
            503,
            "unavailable",
            "1",
        )
        assert (await fleet.client.patch(path, json=change)).status_code == 200


async def test_a_request_is_one_line_of_the_log_with_nothing_secret_in_it(fleet: Fleet) -> None:
    who = await employ(fleet, "ada")
    with capture_logs() as logs:
        browser = await signed_in(fleet, "ada")
        password = secrets.token_urlsafe(16)
        await browser.ask("PATCH", f"{USERS}/{who}?secret-in-query=1", json={"password": password})
        await browser.ask("GET", "/secret-in-path/x")
        await log_in(fleet, "secret-in-name", password)
        await fleet.client.get(USERS, headers={"X-Secret": "secret-in-header", "User-Agent": "secret-agent"})
        await fleet.anonymous.get(USERS, headers={"Authorization": f"Bearer {password}"})
        await fleet.anonymous.get(USERS, headers={"X-Management-Key": password})
    lines = [line for line in logs if line["event"] == "request"]
    assert [(line["method"], line["route"], line["status"], line["actor"]) for line in lines] == [
        ("POST", "/platform/v1/auth/login", 200, "operator:ada"),
        ("PATCH", "/platform/v1/users/{user_id}", 200, "operator:ada"),
        ("GET", "-", 401, "anonymous"),
        ("POST", "/platform/v1/auth/login", 401, "anonymous"),
        ("GET", "/platform/v1/users", 200, "management-key"),
        ("GET", "/platform/v1/users", 401, "anonymous"),
        ("GET", "/platform/v1/users", 401, "anonymous"),
    ]
    for line in lines:
        assert set(line) == {
            "event", "log_level", "method", "route", "status", "ms", "actor", "request_id",
        }  # fmt: skip
        assert line["log_level"] == "info"
    told = str(logs)
    for secret in (KEY, PASSWORD, password, browser.csrf, browser.cookie.partition("=")[2], "secret"):
        assert secret not in told


async def test_public_answers_of_health_are_logged_below_info_while_they_are_good(fleet: Fleet) -> None:
    with capture_logs() as logs:
        await fleet.anonymous.get("/management/v1/health")
        fleet.plane.draining = True
        await fleet.anonymous.get("/management/v1/health")
    assert [line["log_level"] for line in logs] == ["debug", "info"]


async def test_an_address_that_failed_too_often_is_told_so_while_good_credentials_pass(fleet: Fleet) -> None:
    statuses = [(await fleet.anonymous.get(USERS)).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    late = await fleet.anonymous.get("/nothing")
    assert (late.status_code, late.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(late.headers["retry-after"]) <= 60
    assert (await fleet.client.get(USERS)).status_code == 200
    assert (await fleet.client.get("/nothing")).status_code == 404
    await employ(fleet, "ada")
    assert (await log_in(fleet, "ada")).status_code == 200


@pytest.mark.parametrize(
    ("trusted", "sent", "address"),
    [
        ("", ["203.0.113.9"], "127.0.0.1"),
        ("192.0.2.0/24", ["203.0.113.9"], "127.0.0.1"),
        ("127.0.0.0/8", ["203.0.113.9"], "203.0.113.9"),
        ("127.0.0.0/8", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        ("127.0.0.0/8", ["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        ("127.0.0.0/8", ["2001:DB8::9"], "2001:db8::9"),
        ("127.0.0.0/8", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("127.0.0.0/8", ["fe80::1%eth0"], "fe80::1"),
        ("127.0.0.0/8", ["unknown"], "127.0.0.1"),
        ("127.0.0.0/8", ["203.0.113.9, "], "127.0.0.1"),
        ("127.0.0.0/8", [], "127.0.0.1"),
    ],
)
async def test_only_a_trusted_proxy_says_where_a_client_is(
    fleet: Fleet, trusted: str, sent: list[str], address: str
) -> None:
    fleet.use(trusted_proxies=(ip_network(trusted),) if trusted else ())
    cheap_passwords(fleet)
    body = json.dumps(ADA).encode()
    headers = [AUTHORIZED, JSON, f"Content-Length: {len(body)}", *(f"X-Forwarded-For: {one}" for one in sent)]
    assert (await ask(fleet, f"POST {USERS}", *headers, body=body)).status == 201
    assert await fleet.value("SELECT host(ip) FROM audit_log") == address


async def test_the_management_key_before_this_one_is_taken_as_long_as_it_is_set(fleet: Fleet) -> None:
    new = "n" * 32
    for keys, taken in (((KEY,), {KEY}), ((new, KEY), {new, KEY}), ((new,), {new})):
        fleet.use(management_keys=keys)
        for key in (KEY, new):
            for header in ({"Authorization": f"Bearer {key}"}, {"X-Management-Key": key}):
                answer = await fleet.anonymous.get(USERS, headers=header)
                assert (answer.status_code == 200) is (key in taken)


async def test_whoever_hangs_up_leaves_a_change_whole_or_not_made(fleet: Fleet) -> None:
    """The request is cut after every so many of its bytes, and at every moment of the work behind it."""
    body = json.dumps(ADA).encode()
    for n in range(40):
        wire = await Wire.open(fleet)
        content = body.replace(b'"ada"', b'"ada-%d"' % n)
        sent = content if n >= 20 else content[: len(content) * n // 20]
        wire.ask(f"POST {USERS}", AUTHORIZED, JSON, f"Content-Length: {len(content)}", body=sent)
        await asyncio.sleep(max(0, n - 20) * 0.001)
        wire.close()
    for _ in range(100):
        made: Any = await fleet.rows(
            "SELECT username, count(a.id) AS told FROM operators o"
            " LEFT JOIN audit_log a ON a.subject_id = o.id::text GROUP BY username"
        )
        if len(made) == 20:
            break
        await asyncio.sleep(0.05)
    assert {row["username"] for row in made} == {f"ada-{n}" for n in range(20, 40)}
    assert {row["told"] for row in made} == {1}
    assert (await fleet.client.get(USERS)).status_code == 200
