"""The table of who may call what, walked: docs/fleet.md 3.1."""

import json
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from itertools import product
from typing import Final
from uuid import uuid4

import pytest

from less_sync.fleet.api.app import FleetApp, all_routes
from less_sync.fleet.api.call import Answer, Call
from less_sync.fleet.api.rights import RIGHTS, Who
from less_sync.fleet.api.routing import Route
from less_sync.fleet.identifiers import AGENT_TOKEN, ENROLMENT_TOKEN, SESSION_TOKEN, new_token, token_hash
from less_sync.fleet.plane import Plane
from tests.fleet.people import cheap_passwords, employ, signed_in
from tests.fleet.raw import ask
from tests.fleet.rig import KEY, Fleet

pytestmark = pytest.mark.anyio
GUARDED: Final = sorted((row for row, who in RIGHTS.items() if who is not Who.EVERYBODY), key=str)
PARAMETER: Final = re.compile(r"\{\w+\}")
NOBODY: Final = "00000000-0000-4000-8000-000000000000"
AGENT: Final = "8d1a1f0e-52ab-4c4e-9d5c-0e2f6d1f2a3b"
PEOPLE: Final = frozenset({"viewer", "operator", "admin"})
MAY: Final = {
    Who.REGISTRATION: {"enrolment", "agent", "other agent", "admin", "key"},
    Who.OWN_AGENT: {"agent"},
    Who.OWN_OR_VIEWER: {"agent", "key", *PEOPLE},
    Who.SESSION: PEOPLE,
    Who.VIEWER: {"key", *PEOPLE},
    Who.OPERATOR: {"key", "operator", "admin"},
    Who.ADMIN: {"key", "admin"},
}
"""Whose credentials are enough for each kind of row."""
OUGHT: Final = (
    ("GET /(admin/.*)?", Who.EVERYBODY),
    ("GET /management/v1/health", Who.EVERYBODY),
    ("POST /platform/v1/auth/login", Who.EVERYBODY),
    (".* /platform/v1/auth/.*", Who.SESSION),
    ("POST /management/v1/agents/register", Who.REGISTRATION),
    ("POST /management/v1/agents/.*/heartbeat", Who.OWN_AGENT),
    ("GET /management/v1/agents/[^/]*", Who.OWN_OR_VIEWER),
    (".* /platform/v1/(users|audit).*", Who.ADMIN),
    (".* /management/v1/enrolment-tokens.*", Who.ADMIN),
    ("GET .*", Who.VIEWER),
    ("POST /management/v1/webhooks/.*/(test|redeliver)", Who.OPERATOR),
    (".* /management/v1/webhooks.*", Who.ADMIN),
    (".*", Who.OPERATOR),
)
"""What the table says, as rules of which the first that fits counts."""


def filled(method: str, path: str) -> str:
    """A request for a template: of `agent` where its own token is taken, else of nothing that there is."""
    own = RIGHTS.get((method, path)) in (Who.OWN_AGENT, Who.OWN_OR_VIEWER)
    return f"{method} {PARAMETER.sub(AGENT if own else NOBODY, path)}"


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert {(route.method, route.path) for route in all_routes()} == RIGHTS.keys()


async def test_an_application_with_a_route_that_has_no_row_does_not_start(plane: Plane) -> None:
    async def handler(_plane: Plane, _call: Call) -> Answer:
        return Answer(200)

    with pytest.raises(RuntimeError, match="/management/v1/secret"):
        FleetApp(plane, [*all_routes(), Route("GET", "/management/v1/secret", handler)])


def test_the_table_follows_its_rules() -> None:
    for (method, path), who in RIGHTS.items():
        rule = next(told for pattern, told in OUGHT if re.fullmatch(pattern, f"{method} {path}"))
        assert who is rule, (method, path)


BAD: Final = "invalid credentials"
FORM: Final = "invalid authorization header format"
WRONG: Final = (
    (None, "missing authorization"),
    (f"Authorization: Bearer {KEY[:-1]}", BAD),
    (f"Cookie: less_sync_fleet={new_token(SESSION_TOKEN)}", BAD),
)
"""A header that is no good, and the text it is refused with."""
STRANGE: Final = (
    ("Cookie: other=1; __Host-less_sync_fleet=x", "missing authorization"),
    (f"Authorization: Bearer {KEY}x", BAD),
    (f"Authorization: Bearer {KEY.upper()}", BAD),
    *((f"Authorization: Bearer {new_token(kind)}", BAD) for kind in (AGENT_TOKEN, ENROLMENT_TOKEN)),
    (f"Authorization: Bearer {new_token(SESSION_TOKEN)}", BAD),
    ("Authorization: Bearer lsa_short", BAD),
    ("Authorization:", FORM),
    ("Authorization: Bearer", FORM),
    (f"Authorization: bearer {KEY}", FORM),
    (f"Authorization: Basic {KEY}", FORM),
    (f"Authorization: Bearer  {KEY}", FORM),
    (f"Authorization: Bearer {KEY} {KEY}", FORM),
    (f"Authorization: Bearer {KEY}\xe9", FORM),
    ("X-Management-Key: " + "x" * 40, BAD),
    ("X-Management-Key: " + "\xff" * 40, BAD),
    ("X-Management-Key:", BAD),
    ("Cookie: less_sync_fleet=", BAD),
    (f"Cookie: less_sync_fleet={KEY}", BAD),
    # A header of the first kind is judged alone, whatever good one there is beside it.
    (f"Authorization: Bearer x\r\nX-Management-Key: {KEY}", BAD),
    (f"Authorization: Basic x\r\nX-Management-Key: {KEY}", FORM),
    # Twice the same header: which one a proxy has looked at is not ours to guess.
    (f"Authorization: Bearer x\r\nAuthorization: Bearer {KEY}", FORM),
    (f"Authorization: Bearer {KEY}\r\nAuthorization: Bearer x", FORM),
    (f"X-Management-Key: x\r\nX-Management-Key: {KEY}", BAD),
)


def behind_a_proxy(fleet: Fleet) -> Iterator[str]:
    """A header for each request that tells another client, so that none has failed too often."""
    fleet.use(trusted_proxies=(ip_network("127.0.0.1"),))
    return (f"X-Forwarded-For: 198.18.{n >> 8}.{n & 255}" for n in range(65_536))


async def refusals(
    fleet: Fleet, rows: Iterable[tuple[str, str]], wrong: Iterable[tuple[str | None, str]]
) -> None:
    """Each announces a body that never comes: who waited for it would not answer."""
    address = behind_a_proxy(fleet)
    for (method, path), (header, told) in product(rows, wrong):
        sent = [next(address)] if header is None else [next(address), header]
        announced = ("Content-Type: application/json", "Content-Length: 20")
        heard = await ask(fleet, filled(method, path), *sent, *announced)
        body = json.loads(heard.body)
        assert (heard.status, body["error"], body["code"]) == (401, told, "unauthorized"), (path, header)
        assert "www-authenticate" not in heard.headers


async def test_every_guarded_route_refuses_no_and_wrong_credentials_before_it_reads_a_body(
    fleet: Fleet,
) -> None:
    await refusals(fleet, GUARDED, WRONG)


async def test_so_does_a_path_that_there_is_not_and_a_method_that_a_path_has_not(fleet: Fleet) -> None:
    paths = ("/", "/nothing", "/management/v1/health", "/platform/v1/auth/login", "/api/v1/servers", "/a%00b")
    await refusals(fleet, [("DELETE", path) for path in paths], WRONG)


async def test_no_strange_credentials_are_taken_for_good_ones(fleet: Fleet) -> None:
    await refusals(fleet, [("GET", "/management/v1/agents")], STRANGE)


async def test_two_cookies_of_one_name_are_no_session_and_a_bad_authorization_beats_a_good_cookie(
    fleet: Fleet,
) -> None:
    cheap_passwords(fleet)
    await employ(fleet, "ada")
    good = (await signed_in(fleet, "ada")).cookie
    path = "GET /platform/v1/auth/session"
    planted = f"less_sync_fleet={new_token(SESSION_TOKEN)}"
    odd = 'prefs={"a":"b"}; bad[name]=1; =; x'  # of another application on the same host
    for headers, status in (
        ((f"Cookie: {good}",), 200),
        ((f"Cookie: {odd}; {good}; more=1",), 200),
        ((f"Cookie: {odd}", f"Cookie: {good}"), 200),
        ((f"Cookie: {good}; {planted}",), 401),
        ((f"Cookie: {planted}; {good}",), 401),
        ((f"Cookie: {planted}", f"Cookie: {good}"), 401),
        ((f"Cookie: {good}, {planted}",), 401),
        ((f"Cookie: {good}", "Authorization: Bearer x"), 401),
        ((f"Cookie: {good}", "X-Management-Key: x"), 401),
    ):
        assert (await ask(fleet, path, *headers)).status == status, headers


async def credentials(fleet: Fleet) -> dict[str, list[str]]:
    """Headers of everybody there is, with a good CSRF token where one is wanted."""
    found = {"key": [f"Authorization: Bearer {KEY}"]}
    for name in PEOPLE:
        browser = await signed_in(fleet, name)
        found[name] = [f"Cookie: {browser.cookie}", f"X-CSRF-Token: {browser.csrf}"]
    for name in ("agent", "other agent"):
        token, agent_id = new_token(AGENT_TOKEN), AGENT if name == "agent" else str(uuid4())
        await fleet.execute(
            "INSERT INTO agents (agent_id, instance_id, name, kind, os, arch, version,"
            " heartbeat_interval_seconds, token_hash)"
            " VALUES ($1::text::uuid, gen_random_uuid(), 'a', 'sync', 'linux', 'amd64', '1.0.0', 60, $2)",
            agent_id,
            token_hash(token),
        )
        found[name] = [f"Authorization: Bearer {token}"]
    token = new_token(ENROLMENT_TOKEN)
    await fleet.execute(
        "INSERT INTO enrolment_tokens (id, token_hash, label, max_uses, expires_at, created_by)"
        " VALUES (gen_random_uuid(), $1, '', 1, now() + interval '1 hour', 'test')",
        token_hash(token),
    )
    found["enrolment"] = [f"Authorization: Bearer {token}"]
    return found


async def test_every_guarded_route_refuses_credentials_that_are_too_weak_and_takes_the_others(
    fleet: Fleet,
) -> None:
    cheap_passwords(fleet)
    for name in PEOPLE:
        await employ(fleet, name, name)
    held = await credentials(fleet)
    for (method, path), who in ((row, RIGHTS[row]) for row in GUARDED):
        for name, headers in held.items():
            line = filled(method, path)
            if name not in MAY[who] and (name, who) != ("other agent", Who.OWN_AGENT):
                heard = await ask(
                    fleet, line, *headers, "Content-Type: application/json", "Content-Length: 9"
                )
                assert (heard.status, json.loads(heard.body)["error"]) == (403, "forbidden"), (line, name)
                continue
            # Nothing that these ask for is there, and no body is whole: nobody is changed or removed.
            sent = ("Content-Type: application/json", "Content-Length: 2")
            heard = await ask(fleet, line, *headers, *sent, body=b"{}")
            assert (heard.status in (401, 403)) is (name == "other agent" and who is Who.OWN_AGENT), line
            if path.endswith("/logout"):
                browser = await signed_in(fleet, name)
                held[name] = [f"Cookie: {browser.cookie}", f"X-CSRF-Token: {browser.csrf}"]


async def test_a_token_that_its_route_judges_is_refused_and_counted_like_any_other(fleet: Fleet) -> None:
    """A heartbeat's token is looked up by the statement that takes the heartbeat."""
    agent, other = await fleet.register(), await fleet.register()
    path = f"{agent.path}/heartbeat"
    assert (
        await fleet.anonymous.post(path, json=agent.heartbeat(), headers=other.headers)
    ).status_code == 403
    unknown = [{"Authorization": f"Bearer {new_token(AGENT_TOKEN)}"} for _ in range(11)]
    answers = [await fleet.anonymous.post(path, json=agent.heartbeat(), headers=one) for one in unknown]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert answers[0].json()["error"] == BAD
    assert (await agent.beat()).status_code == 200
