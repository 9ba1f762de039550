"""Sign in and out: `/platform/v1/auth` (docs/fleet.md 3.3)."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from less_sync.fleet.api.auth import cookie_name, csrf_token
from less_sync.fleet.identifiers import new_token
from less_sync.fleet.passwords import NOBODYS
from tests.fleet.people import PASSWORD, Checks, cheap_passwords, employ, hashed, log_in, signed_in
from tests.fleet.rig import Fleet

pytestmark = pytest.mark.anyio
WRONG = "wrong horse battery"
REFUSED = "invalid username or password"


@pytest.fixture
def checks(fleet: Fleet) -> Checks:
    fleet.anonymous.cookies.clear()
    return cheap_passwords(fleet)


async def shift_lock(fleet: Fleet) -> None:
    await fleet.execute("UPDATE operators SET locked_until = now() - interval '1 second'")


async def lock_s(fleet: Fleet) -> float:
    found = await fleet.value(
        "SELECT coalesce(extract(epoch FROM locked_until - now()), 0)::float8 FROM operators"
    )
    return float(found)


async def test_login_answers_user_csrf_token_and_end_and_sets_the_cookie(
    fleet: Fleet, checks: Checks
) -> None:
    who = await employ(fleet, "ada", "operator")
    answer = await log_in(fleet, "ada")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["user", "csrf_token", "expires_at"]
    assert body["user"] == {"id": who, "username": "ada", "role": "operator"}
    cookie, *flags = answer.headers["set-cookie"].split("; ")
    name, _, token = cookie.partition("=")
    assert name == "less_sync_fleet"
    assert re.fullmatch(r"lss_[A-Za-z0-9_-]{43}", token)
    assert flags == ["Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=604800"]
    assert body["csrf_token"] == csrf_token(token)
    left = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=167) < left <= timedelta(hours=168)
    assert len(checks.against) == 1
    assert await fleet.value("SELECT last_login_at IS NOT NULL FROM operators")


async def test_at_an_https_address_the_cookie_is_bound_to_it(fleet: Fleet) -> None:
    fleet.use(public_url="https://fleet.example.org", session_max_hours=1)
    cheap_passwords(fleet)
    await employ(fleet, "ada")
    answer = await log_in(fleet, "ada")
    cookie, *flags = answer.headers["set-cookie"].split("; ")
    assert cookie.startswith("__Host-less_sync_fleet=lss_")
    assert flags == ["Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=3600"]
    plain = cookie.removeprefix("__Host-")
    path = "/platform/v1/auth/session"
    for sent, status in ((cookie, 200), (plain, 401)):
        fleet.anonymous.cookies.clear()
        assert (await fleet.anonymous.get(path, headers={"Cookie": sent})).status_code == status


@pytest.mark.parametrize(
    ("public_url", "name"),
    [
        ("http://127.0.0.1:5380", "less_sync_fleet"),
        ("http://127.0.0.2:5380", "less_sync_fleet"),
        ("http://localhost:5380", "less_sync_fleet"),
        ("http://[::1]:5380", "less_sync_fleet"),
        ("https://localhost", "__Host-less_sync_fleet"),
        ("http://fleet.example.org", "__Host-less_sync_fleet"),
        ("http://localhost.example.org", "__Host-less_sync_fleet"),
        ("http://192.168.0.7:5380", "__Host-less_sync_fleet"),
    ],
)
def test_a_session_travels_unencrypted_within_this_machine_alone(public_url: str, name: str) -> None:
    assert cookie_name(public_url) == name


async def test_only_the_hash_of_a_session_is_kept(fleet: Fleet, checks: Checks) -> None:
    await employ(fleet, "ada")
    browser = await signed_in(fleet, "ada")
    token = browser.cookie.partition("=")[2]
    tables = ("operator_sessions", "operators", "audit_log")
    for table in tables:
        assert token not in str(await fleet.rows(f"SELECT * FROM {table}"))


async def test_every_reason_is_one_answer_after_one_check(fleet: Fleet, checks: Checks) -> None:
    await employ(fleet, "wrong")
    await employ(fleet, "disabled")
    await employ(fleet, "locked")
    await fleet.execute("UPDATE operators SET disabled = true WHERE username = 'disabled'")
    await fleet.execute(
        "UPDATE operators SET locked_until = now() + interval '1 min' WHERE username = 'locked'"
    )
    told = set()
    tries = {"nobody": PASSWORD, "no\u2028such\U0001f4a9": WRONG, "wrong": WRONG, "disabled": PASSWORD}
    for name, password in {**tries, "locked": PASSWORD}.items():
        checks.against.clear()
        answer = await log_in(fleet, name, password)
        body = answer.json()
        told.add((answer.status_code, body["error"], body["code"], frozenset(body)))
        assert "set-cookie" not in answer.headers
        assert checks.against == [NOBODYS if name.startswith("no") else hashed(PASSWORD)]
    assert told == {(401, REFUSED, "unauthorized", frozenset(("error", "code", "request_id")))}
    assert await fleet.value("SELECT count(*) FROM operator_sessions") == 0


async def test_names_are_taken_in_any_case(fleet: Fleet, checks: Checks) -> None:
    await employ(fleet, "ada")
    assert (await log_in(fleet, " Ada ")).status_code == 200


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"username": "ada"}, "password"),
        ({"password": PASSWORD}, "username"),
        ({"username": "ada", "password": ""}, "password"),
        ({"username": "ada", "password": "x" * 257}, "password"),
        ({"username": "ada", "password": 7}, "password"),
        ({"username": "a" * 257, "password": PASSWORD}, "username"),
        ({"username": "ada", "password": PASSWORD, "remember": True}, "remember"),
    ],
)
async def test_a_body_that_is_no_sign_in_is_checked_against_nothing(
    fleet: Fleet, checks: Checks, content: dict[str, object], field: str
) -> None:
    answer = await fleet.anonymous.post("/platform/v1/auth/login", json=content)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["fields"]] == [field]
    assert checks.against == []


async def test_five_failures_lock_for_a_minute_and_each_further_one_for_twice_as_long(
    fleet: Fleet, checks: Checks
) -> None:
    await employ(fleet, "ada")
    spans: list[int] = []
    for _ in range(12):
        for _ in range(1 if spans else 5):
            assert (await log_in(fleet, "ada", WRONG)).status_code in (401, 429)
            fleet.plane.sign_ins.forgive("127.0.0.1")
        spans.append(round(await lock_s(fleet) / 60))
        await shift_lock(fleet)
    assert spans == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    assert (await log_in(fleet, "ada")).status_code == 200
    assert await fleet.rows("SELECT failed_attempts, locked_until FROM operators") == [
        {"failed_attempts": 0, "locked_until": None}
    ]


async def test_a_lock_is_not_prolonged_ends_no_session_and_lets_the_management_key_in(
    fleet: Fleet, checks: Checks
) -> None:
    await employ(fleet, "ada")
    browser = await signed_in(fleet, "ada")
    for _ in range(5):
        await log_in(fleet, "ada", WRONG)
    before = await fleet.rows("SELECT failed_attempts, locked_until FROM operators")
    assert before[0]["failed_attempts"] == 5
    assert (await log_in(fleet, "ada", WRONG)).status_code == 401
    assert (await log_in(fleet, "ada")).status_code == 401
    assert await fleet.rows("SELECT failed_attempts, locked_until FROM operators") == before
    assert (await browser.ask("GET", "/platform/v1/auth/session")).status_code == 200
    assert (await fleet.client.get("/platform/v1/users")).status_code == 200


async def test_at_the_edge_of_a_lock_a_right_password_among_many_wrong_ones_counts_only_before_it(
    fleet: Fleet, checks: Checks
) -> None:
    """All ten are looked up before the first has failed; the row decides when the checks are over."""
    await employ(fleet, "ada")
    await fleet.execute("UPDATE operators SET failed_attempts = 4")
    match = fleet.plane.passwords.match
    all_checked, locked = asyncio.Event(), asyncio.Event()
    checked = []

    class Held:
        """Checks that are all over before any goes on, the right one's behind the lock."""

        async def match(self, kept: str | None, password: str) -> bool:
            right = await match(kept, password)
            checked.append(right)
            if len(checked) == 10:
                all_checked.set()
            await (locked if right else all_checked).wait()
            return right

    fleet.plane.passwords = Held()  # type: ignore[assignment]  # what the route asks of it
    right = asyncio.create_task(log_in(fleet, "ada", PASSWORD))
    wrong = await asyncio.gather(*(log_in(fleet, "ada", WRONG) for _ in range(9)))
    locked.set()
    assert {answer.status_code for answer in (*wrong, await right)} == {401}
    assert sorted(checked) == [False] * 9 + [True]
    assert await fleet.value("SELECT failed_attempts FROM operators") == 5
    assert await fleet.value("SELECT count(*) FROM operator_sessions") == 0


async def test_a_password_that_is_changed_during_the_check_lets_nobody_in(
    fleet: Fleet, checks: Checks
) -> None:
    await employ(fleet, "ada")
    match = fleet.plane.passwords.match

    class Slow:
        async def match(self, kept: str | None, password: str) -> bool:
            right = await match(kept, password)
            await fleet.execute("UPDATE operators SET password_hash = 'another'")
            return right

    fleet.plane.passwords = Slow()  # type: ignore[assignment]  # what the route asks of it
    assert (await log_in(fleet, "ada")).status_code == 401
    assert await fleet.value("SELECT count(*) FROM operator_sessions") == 0


async def test_the_eleventh_failure_of_an_address_within_a_minute_is_not_even_checked(
    fleet: Fleet, checks: Checks
) -> None:
    answers = await asyncio.gather(*(log_in(fleet, f"nobody-{n}", WRONG) for n in range(25)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [401] * 10 + [429] * 15
    assert len(checks.against) == 10
    late = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(late.headers["retry-after"]) <= 60
    assert late.json()["code"] == "rate_limited"
    await employ(fleet, "ada")
    assert (await log_in(fleet, "ada")).status_code == 429
    assert (await fleet.client.get("/platform/v1/users")).status_code == 200


async def test_good_sign_ins_are_not_counted(fleet: Fleet, checks: Checks) -> None:
    await employ(fleet, "ada")
    for _ in range(12):
        assert (await log_in(fleet, "ada")).status_code == 200


async def test_logout_ends_this_session_alone_and_the_cookie(fleet: Fleet, checks: Checks) -> None:
    await employ(fleet, "ada")
    here, there = await signed_in(fleet, "ada"), await signed_in(fleet, "ada")
    answer = await here.ask("POST", "/platform/v1/auth/logout")
    assert (answer.status_code, answer.content) == (204, b"")
    cookie, *flags = answer.headers["set-cookie"].split("; ")
    assert cookie == "less_sync_fleet="
    assert flags == ["Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=0"]
    assert (await here.ask("GET", "/platform/v1/auth/session")).status_code == 401
    assert (await there.ask("GET", "/platform/v1/auth/session")).status_code == 200


async def test_a_session_is_told_as_the_login_told_it(fleet: Fleet, checks: Checks) -> None:
    await employ(fleet, "ada", "viewer")
    answer = await log_in(fleet, "ada")
    fleet.anonymous.cookies.clear()
    cookie = answer.headers["set-cookie"].partition(";")[0]
    told = await fleet.anonymous.get("/platform/v1/auth/session", headers={"Cookie": cookie})
    assert told.json() == answer.json()
    assert "set-cookie" not in told.headers


async def test_a_login_never_takes_over_a_session_that_is_sent_along(fleet: Fleet, checks: Checks) -> None:
    """Whoever plants a cookie before the sign-in does not share the session behind it."""
    await employ(fleet, "ada")
    planted = new_token("lss_")
    answer = await log_in(fleet, "ada", Cookie=f"less_sync_fleet={planted}")
    assert answer.status_code == 200
    assert planted not in answer.headers["set-cookie"]
    fleet.anonymous.cookies.clear()
    sent = {"Cookie": f"less_sync_fleet={planted}"}
    assert (await fleet.anonymous.get("/platform/v1/auth/session", headers=sent)).status_code == 401


@pytest.mark.parametrize(
    ("shift", "status"),
    [
        ("last_seen_at = now() - interval '59 min'", 200),
        ("last_seen_at = now() - interval '61 min'", 401),
        ("expires_at = now() + interval '1 min'", 200),
        ("expires_at = now() - interval '1 s'", 401),
    ],
)
async def test_a_session_ends_when_it_idles_and_in_any_case(
    fleet: Fleet, checks: Checks, shift: str, status: int
) -> None:
    await employ(fleet, "ada")
    browser = await signed_in(fleet, "ada")
    await fleet.execute(f"UPDATE operator_sessions SET {shift}")
    assert (await browser.ask("GET", "/platform/v1/auth/session")).status_code == status


@pytest.mark.parametrize(
    ("idle", "since_s", "noted"), [(60, 50, False), (60, 61, True), (1, 20, False), (1, 40, True)]
)
async def test_use_is_noted_once_a_minute_or_twice_in_the_time_a_session_may_idle(
    fleet: Fleet, idle: int, since_s: int, noted: bool
) -> None:
    fleet.use(session_idle_minutes=idle)
    cheap_passwords(fleet)
    await employ(fleet, "ada")
    browser = await signed_in(fleet, "ada")
    await fleet.execute(
        "UPDATE operator_sessions SET last_seen_at = now() - make_interval(secs => $1)", since_s
    )
    assert (await browser.ask("GET", "/platform/v1/auth/session")).status_code == 200
    since = await fleet.value(
        "SELECT extract(epoch FROM now() - last_seen_at)::float8 FROM operator_sessions"
    )
    assert (since < 10) is noted


async def test_a_disabled_operators_session_is_none(fleet: Fleet, checks: Checks) -> None:
    await employ(fleet, "ada")
    browser = await signed_in(fleet, "ada")
    await fleet.execute("UPDATE operators SET disabled = true")
    assert (await browser.ask("GET", "/platform/v1/auth/session")).status_code == 401


async def test_the_management_key_has_no_session(fleet: Fleet) -> None:
    answer = await fleet.client.get("/platform/v1/auth/session")
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


async def test_sign_in_and_out_are_in_the_audit_trail(fleet: Fleet, checks: Checks) -> None:
    who = await employ(fleet, "ada")
    await log_in(fleet, "ada", WRONG)
    browser = await signed_in(fleet, "ada")
    await browser.ask("POST", "/platform/v1/auth/logout")
    written = await fleet.rows("SELECT actor, action, subject_id, host(ip) AS ip FROM audit_log ORDER BY id")
    assert written == [
        {"actor": "operator:ada", "action": action, "subject_id": who, "ip": "127.0.0.1"}
        for action in ("session.begin", "session.end")
    ]
