"""Operators are kept by admins: `/platform/v1/users` (docs/fleet.md 3.4)."""

import asyncio
from typing import Any, Final

import pytest

from tests.fleet.people import PASSWORD, cheap_passwords, employ, hashed, log_in, signed_in
from tests.fleet.rig import Fleet

NOBODY: Final = "5cfdeaa8-3084-4d3d-a46d-be0e35e65c2c"

pytestmark = pytest.mark.anyio
USERS = "/platform/v1/users"
ROLES = ("operator", "admin", "viewer")
ADA = {"username": "ada", "password": PASSWORD, "role": "admin"}


@pytest.fixture(autouse=True)
def cheap(fleet: Fleet) -> None:
    fleet.anonymous.cookies.clear()
    cheap_passwords(fleet)


async def actions(fleet: Fleet) -> list[str]:
    return [row["action"] for row in await fleet.rows("SELECT action FROM audit_log ORDER BY id")]


async def test_the_first_operator_is_made_with_the_management_key_and_signs_in(fleet: Fleet) -> None:
    answer = await fleet.client.post(USERS, json=ADA)
    assert answer.status_code == 201
    user = answer.json()["user"]
    assert list(user) == ["id", "username", "role", "disabled", "last_login_at"]
    assert user | {"id": ""} == {
        "id": "",
        "username": "ada",
        "role": "admin",
        "disabled": False,
        "last_login_at": None,
    }
    browser = await signed_in(fleet, "ada")
    told = (await browser.ask("GET", USERS)).json()
    assert told["next_cursor"] is None
    assert [one["id"] for one in told["users"]] == [user["id"]]
    assert told["users"][0]["last_login_at"].endswith("Z")
    assert "hash" not in str(told)
    row = (await fleet.rows("SELECT actor, detail FROM audit_log ORDER BY id"))[0]
    assert row == {"actor": "management-key", "detail": {"username": "ada", "role": "admin"}}


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"username": "Ada"}, ["username"]),
        ({"username": "ad"}, ["username"]),
        ({"username": "a" * 65}, ["username"]),
        ({"username": "ada\n"}, ["username"]),
        ({"password": "eleven char"}, ["password"]),
        ({"password": "x" * 257}, ["password"]),
        ({"password": "the great ADA of old"}, ["password"]),
        ({"role": "owner"}, ["role"]),
        ({"username": None, "password": None, "role": None}, ["username", "password", "role"]),
        ({"admin": True}, ["admin"]),
    ],
)
async def test_what_is_wrong_with_a_new_operator_is_told_at_once(
    fleet: Fleet, change: dict[str, object], fields: list[str]
) -> None:
    answer = await fleet.client.post(USERS, json=ADA | change)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["fields"]] == fields
    assert await fleet.value("SELECT count(*) FROM operators") == 0


async def test_of_two_that_take_one_name_one_gets_it(fleet: Fleet) -> None:
    answers = await asyncio.gather(*(fleet.client.post(USERS, json=ADA) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert refused.json()["error"] == "username taken"
    assert await actions(fleet) == ["operator.create"]


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        ({"role": "viewer"}, True),
        ({"password": "another battery staple"}, True),
        ({"disabled": True}, True),
        ({"role": "operator"}, False),
        ({"disabled": False}, False),
        ({}, False),
    ],
)
async def test_a_change_ends_all_sessions_of_its_operator_and_of_nobody_else(
    fleet: Fleet, change: dict[str, object], ends: bool
) -> None:
    who = await employ(fleet, "ada", "operator")
    await employ(fleet, "bob")
    browsers = [await signed_in(fleet, "ada"), await signed_in(fleet, "ada")]
    other = await signed_in(fleet, "bob")
    answer = await other.ask("PATCH", f"{USERS}/{who}", json=change)
    assert answer.status_code == 200
    assert answer.json()["user"]["username"] == "ada"
    for browser in browsers:
        told = await browser.ask("GET", "/platform/v1/auth/session")
        assert told.status_code == (401 if ends else 200)
    assert (await other.ask("GET", "/platform/v1/auth/session")).status_code == 200
    assert (await actions(fleet)).count("operator.change") == ends


async def test_a_session_does_not_come_back_with_its_operator(fleet: Fleet) -> None:
    who = await employ(fleet, "ada", "viewer")
    browser = await signed_in(fleet, "ada")
    for disabled in (True, False):
        await fleet.client.patch(f"{USERS}/{who}", json={"disabled": disabled})
    assert (await browser.ask("GET", "/platform/v1/auth/session")).status_code == 401
    assert (await log_in(fleet, "ada")).status_code == 200


async def test_a_new_password_unlocks_and_is_told_to_nobody(fleet: Fleet) -> None:
    who = await employ(fleet, "ada")
    await fleet.execute("UPDATE operators SET failed_attempts = 9, locked_until = now() + interval '1 hour'")
    new = "another battery staple"
    assert (await fleet.client.patch(f"{USERS}/{who}", json={"password": new})).status_code == 200
    assert (await log_in(fleet, "ada")).status_code == 401
    assert (await log_in(fleet, "ada", new)).status_code == 200
    assert new not in str(await fleet.rows("SELECT * FROM audit_log"))
    assert await fleet.value("SELECT password_hash FROM operators") == hashed(new)


async def test_a_new_password_does_not_hold_the_name_either(fleet: Fleet) -> None:
    who = await employ(fleet, "ada")
    answer = await fleet.client.patch(f"{USERS}/{who}", json={"password": "the great Ada of old"})
    assert (answer.status_code, answer.json()["fields"]) == (
        400,
        [{"field": "password", "message": "must not contain the username"}],
    )


@pytest.mark.parametrize(
    ("method", "body"),
    [("DELETE", None), ("PATCH", {"role": "operator"}), ("PATCH", {"disabled": True})],
)
async def test_the_last_enabled_admin_stays(fleet: Fleet, method: str, body: dict[str, Any] | None) -> None:
    last = await employ(fleet, "ada")
    out = await employ(fleet, "bob")
    await employ(fleet, "eve", "operator")
    await fleet.execute("UPDATE operators SET disabled = true WHERE username = 'bob'")
    answer = await fleet.client.request(method, f"{USERS}/{last}", json=body)
    assert (answer.status_code, answer.json()["error"]) == (409, "last admin")
    assert await fleet.value("SELECT role = 'admin' AND NOT disabled FROM operators WHERE username = 'ada'")
    assert await actions(fleet) == []
    # One who is disabled is not counted, and may go; an enabled second one frees the first.
    assert (await fleet.client.patch(f"{USERS}/{out}", json={"disabled": False})).status_code == 200
    assert (await fleet.client.request(method, f"{USERS}/{last}", json=body)).status_code == 200


async def test_two_admins_who_remove_each_other_leave_one(fleet: Fleet) -> None:
    for round_ in range(8):
        await fleet.execute("TRUNCATE operators CASCADE")
        ada, bob = await employ(fleet, "ada"), await employ(fleet, "bob")
        one, two = await signed_in(fleet, "ada"), await signed_in(fleet, "bob")
        if round_ % 2:
            asked = (
                one.ask("DELETE", f"{USERS}/{bob}"),
                two.ask("PATCH", f"{USERS}/{ada}", json={"role": "viewer"}),
            )
        else:
            asked = (one.ask("DELETE", f"{USERS}/{bob}"), two.ask("DELETE", f"{USERS}/{ada}"))
        statuses = {answer.status_code for answer in await asyncio.gather(*asked)}
        # The second was refused as the last one, or its session had ended before it was looked at.
        assert statuses in ({200, 409}, {200, 401})
        left = "SELECT count(*) FROM operators WHERE role = 'admin' AND NOT disabled"
        assert await fleet.value(left) == 1


async def test_many_changes_at_once_leave_an_admin_and_no_deadlock(fleet: Fleet) -> None:
    ids = [await employ(fleet, f"admin-{n}") for n in range(6)]
    asked = [fleet.client.patch(f"{USERS}/{one}", json={"role": role}) for one in ids for role in ROLES]
    asked += [fleet.client.patch(f"{USERS}/{one}", json={"role": "viewer"}) for one in reversed(ids)]
    asked += [fleet.client.patch(f"{USERS}/{one}", json={"disabled": True}) for one in ids]
    asked += [fleet.client.delete(f"{USERS}/{one}") for one in reversed(ids)]
    asked += [log_in(fleet, f"admin-{n}") for n in range(6)]
    statuses = {answer.status_code for answer in await asyncio.gather(*asked)}
    assert statuses <= {200, 401, 404, 409}
    assert await fleet.value("SELECT count(*) FROM operators WHERE NOT disabled AND role = 'admin'") == 1


async def test_a_removed_operator_is_gone_with_the_sessions_and_stays_in_the_trail(fleet: Fleet) -> None:
    await employ(fleet, "ada")
    who = await employ(fleet, "bob", "viewer")
    browser = await signed_in(fleet, "bob")
    answer = await fleet.client.delete(f"{USERS}/{who}")
    assert (answer.status_code, answer.json()) == (200, {"message": "user deleted"})
    assert (await browser.ask("GET", "/platform/v1/auth/session")).status_code == 401
    assert (await log_in(fleet, "bob")).status_code == 401
    assert await actions(fleet) == ["session.begin", "operator.delete"]


@pytest.mark.parametrize("who", [NOBODY, "no-uuid", NOBODY.upper()])
@pytest.mark.parametrize(
    ("method", "body"),
    [("PATCH", {"role": "viewer"}), ("PATCH", {"password": "another battery staple"}), ("DELETE", None)],
)
async def test_an_operator_whom_there_is_not_is_404(
    fleet: Fleet, who: str, method: str, body: dict[str, Any] | None
) -> None:
    answer = await fleet.client.request(method, f"{USERS}/{who}", json=body)
    assert (answer.status_code, answer.json()["error"]) == (404, "user not found")


async def test_pages_hold_everybody_once(fleet: Fleet) -> None:
    names = [f"operator-{n}" for n in range(7)]
    for name in names:
        await employ(fleet, name)
    found, cursor = [], None
    for _ in range(4):
        query = {"limit": "2"} | ({} if cursor is None else {"cursor": cursor})
        told = (await fleet.client.get(USERS, params=query)).json()
        found += [one["username"] for one in told["users"]]
        cursor = told["next_cursor"]
        await employ(fleet, f"later-{len(found)}")  # inserted behind: comes last, hides nobody
    assert found == [*names, "later-2"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1&limit=2",
        "cursor=!",
        "cursor=WzFd",
        "cursor=W10",
        "offset=1",
        "cursor=%00",
        # ["0001-01-01T00:00:00+14:00","..."]: no time of UTC.
        "cursor=WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzE0OjAwIiwiMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0",
        # ["2026-01-01T00:00:00","..."]: of no zone.
        "cursor=WyIyMDI2LTAxLTAxVDAwOjAwOjAwIiwiMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0",
    ],
)
async def test_a_bad_page_is_400(fleet: Fleet, query: str) -> None:
    answer = await fleet.client.get(f"{USERS}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_failed")
