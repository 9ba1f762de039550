"""`less-sync fleet admin` and `less-sync fleet audit`, at a plane that is served."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from less_sync.bins.commands.fleet_operators import Verdict, verify
from tests.fleet.commands import good, listed, run
from tests.fleet.people import PASSWORD, cheap_passwords, employ, log_in
from tests.fleet.rig import Fleet

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def cheap(fleet: Fleet) -> None:
    fleet.anonymous.cookies.clear()
    cheap_passwords(fleet)


async def test_an_operator_is_made_listed_and_given_another_password(fleet: Fleet) -> None:
    made = await run(fleet, "admin", "create", "ada", given=f"{PASSWORD}\n")
    assert (made.exit_code, made.stdout) == (0, "made ada, admin\n")
    assert (await log_in(fleet, "ada")).status_code == 200
    await run(fleet, "admin", "create", "bob", "--role", "viewer", given=f"{PASSWORD}\r\nmore")
    new = "another battery staple "  # a blank at its end is the password's
    changed = await run(fleet, "admin", "passwd", "ada", given=f"{new}\n")
    assert changed.exit_code == 0
    assert (await log_in(fleet, "ada")).status_code == 401
    assert (await log_in(fleet, "ada", new)).status_code == 200
    await fleet.execute("UPDATE operators SET disabled = true WHERE username = 'bob'")
    listed = (await run(fleet, "admin", "list")).stdout.splitlines()
    assert [line.split()[:3] for line in listed] == [
        ["ada", "admin", "enabled"],
        ["bob", "viewer", "disabled"],
    ]
    rows = [json.loads(line) for line in (await run(fleet, "admin", "list", "--json")).stdout.splitlines()]
    assert [row["username"] for row in rows] == ["ada", "bob"]
    for shown in (made, changed):
        assert PASSWORD not in shown.output


async def test_a_role_and_whether_somebody_may_sign_in_are_changed_and_end_sessions(fleet: Fleet) -> None:
    await employ(fleet, "ada")
    bob = await employ(fleet, "bob", "viewer")
    for arguments, told, signs_in, sessions in (
        (("role", "bob", "viewer"), "bob is viewer already\n", True, 1),
        (("role", "bob", "operator"), "bob is operator now, and signed out\n", True, 0),
        (("disable", "bob"), "bob is disabled now, and signed out\n", True, 0),
        (("disable", "bob"), "bob is disabled already\n", False, 0),
        (("enable", "bob"), "bob is enabled now\n", False, 0),
        (("enable", "bob"), "bob is enabled already\n", True, 1),
    ):
        assert ((await log_in(fleet, "bob")).status_code == 200) == signs_in, arguments
        assert await good(fleet, "admin", *arguments) == told
        assert await fleet.value("SELECT count(*) FROM operator_sessions") == sessions, arguments
    (row,) = await listed(fleet, "admin", "role", "bob", "admin")
    assert row == {"id": bob, "username": "bob", "role": "admin", "disabled": False} | {
        "last_login_at": row["last_login_at"]
    }


async def test_an_operator_is_removed_and_stays_in_the_trail(fleet: Fleet) -> None:
    await employ(fleet, "ada")
    bob = await employ(fleet, "bob", "viewer")
    await log_in(fleet, "bob")
    unasked = await run(fleet, "admin", "remove", "bob")
    assert (unasked.exit_code, unasked.stdout, "give --yes" in unasked.stderr) == (2, "", True)
    assert await fleet.value("SELECT count(*) FROM operators") == 2
    assert await good(fleet, "admin", "remove", "bob", "--yes") == "removed bob\n"
    assert [row["username"] for row in await listed(fleet, "admin", "list")] == ["ada"]
    assert await fleet.value("SELECT count(*) FROM operator_sessions") == 0
    (row,) = await listed(fleet, "audit", "--action", "operator.delete")
    assert (row["subject_id"], row["detail"]) == (bob, {"username": "bob", "role": "viewer"})


@pytest.mark.parametrize(
    "arguments", [("role", "ada", "viewer"), ("disable", "ada"), ("remove", "ada", "--yes")]
)
async def test_the_last_admin_who_may_sign_in_stays_one(fleet: Fleet, arguments: tuple[str, ...]) -> None:
    await employ(fleet, "ada")
    await employ(fleet, "bob")
    await good(fleet, "admin", "disable", "bob")
    refused = await run(fleet, "admin", *arguments)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "nothing was changed: ada is the last admin who may sign in" in refused.stderr
    assert await fleet.value("SELECT count(*) FROM operators WHERE role = 'admin' AND NOT disabled") == 1
    assert await good(fleet, "admin", "role", "ada", "admin") == "ada is admin already\n"
    await good(fleet, "admin", "enable", "bob")
    await good(fleet, "admin", *arguments)


@pytest.mark.parametrize(
    ("arguments", "given", "code", "text"),
    [
        (("admin", "create", "ada"), "", 2, "no password"),
        (("admin", "create", "ada"), "\n", 2, "no password"),
        (("admin", "create", "ada"), b"\xff\xfe\n", 2, "not UTF-8"),
        (("admin", "create", "ada"), "short\n", 1, "password: must have 12 to 256"),
        (("admin", "create", "A"), f"{PASSWORD}\n", 1, "username: must have 3 to 64"),
        (("admin", "create", "ada", "--role", "owner"), f"{PASSWORD}\n", 1, "role: must be one of"),
        (("admin", "passwd", "nobody"), f"{PASSWORD}\n", 1, "there is no operator nobody"),
        (("admin", "role", "nobody", "viewer"), None, 1, "there is no operator nobody"),
        (("admin", "remove", "nobody", "--yes"), None, 1, "there is no operator nobody"),
        (("admin", "role", "ada"), None, 2, "ROLE"),
        (("audit", "verifi"), None, 2, "verify"),
        (("audit", "verify", "--actor", "x"), None, 2, "all rows"),
        (("audit", "--since", "yesterday"), None, 1, "since: expected a time"),
        (("admin", "create", "ada", PASSWORD), None, 2, "unexpected"),
    ],
)
async def test_what_is_wrong_is_told_and_has_its_exit_code(
    fleet: Fleet, arguments: tuple[str, ...], given: str | bytes | None, code: int, text: str
) -> None:
    result = await run(fleet, *arguments, given=given)
    assert result.exit_code == code
    assert text in result.stderr
    assert await fleet.value("SELECT count(*) FROM operators") == 0


async def test_a_role_that_is_none_is_told(fleet: Fleet) -> None:
    await employ(fleet, "ada")
    result = await run(fleet, "admin", "role", "ada", "owner")
    assert (result.exit_code, "role: must be one of" in result.stderr) == (1, True)


async def test_a_wrong_key_is_not_allowed_and_a_missing_one_wrong_usage(fleet: Fleet, tmp_path: Path) -> None:
    assert (await run(fleet, "admin", "list", key="w" * 32)).exit_code == 4
    assert (await run(fleet, "audit", "--data-dir", str(tmp_path), key=None)).exit_code == 2


async def some_trail(fleet: Fleet) -> list[int]:
    """Rows with what a trail can hold; their ids."""
    who = await employ(fleet, "ada", "viewer")
    detail = {"b": [1, 2.5, None, {"ü": "\U0001f4a9 \u2028"}], "a": {"z": 1, "y": "2026-01-01T00:00:00Z"}}
    await fleet.client.patch(f"/platform/v1/users/{who}", json={"role": "operator"})
    from less_sync.fleet.api.call import Actor, Call
    from less_sync.fleet.store import audit

    for address in ("192.0.2.7", "2001:db8::1", "2001:DB8:0::2", None):
        call = Call(
            "GET", "/", {}, b"", {}, (await fleet.value("SELECT gen_random_uuid()")), address, Actor("x")
        )
        async with fleet.plane.database.transaction() as connection:
            await audit.record(connection, call, "thing.do", "thing", "7", detail)
    return [row["id"] for row in await fleet.rows("SELECT id FROM audit_log ORDER BY id")]


async def verdict(fleet: Fleet) -> Verdict:
    """Of the rows as the plane tells them."""
    return verify((await fleet.client.get("/platform/v1/audit?limit=200")).json()["entries"])


async def told(fleet: Fleet) -> tuple[int, dict[str, Any]]:
    """What the command makes of it."""
    result = await run(fleet, "audit", "verify", "--json")
    return result.exit_code, json.loads(result.stdout)


async def test_a_trail_that_nobody_touched_is_whole(fleet: Fleet) -> None:
    nothing = {"entries": 0, "last_id": None, "last_hash": None, "broken": None, "why": None}
    assert await told(fleet) == (0, nothing)
    ids = await some_trail(fleet)
    last = await fleet.value("SELECT encode(hash, 'hex') FROM audit_log ORDER BY id DESC LIMIT 1")
    whole = nothing | {"entries": len(ids), "last_id": ids[-1], "last_hash": last}
    assert await told(fleet) == (0, whole)


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit_log SET actor = 'operator:eve' WHERE id = $1", 0),
        ("UPDATE audit_log SET at = at + interval '1 microsecond' WHERE id = $1", 0),
        ("UPDATE audit_log SET detail = detail || '{\"more\": 1}' WHERE id = $1", 0),
        ("UPDATE audit_log SET ip = '198.51.100.1' WHERE id = $1", 0),
        ("UPDATE audit_log SET request_id = gen_random_uuid() WHERE id = $1", 0),
        ("UPDATE audit_log SET hash = sha256('x') WHERE id = $1", 0),
        ("UPDATE audit_log SET prev_hash = sha256('x') WHERE id = $1", 0),
        ("DELETE FROM audit_log WHERE id = $1", 1),
    ],
)
async def test_the_first_row_that_was_altered_or_follows_one_that_is_gone_is_named(
    fleet: Fleet, statement: str, broken: int
) -> None:
    ids = await some_trail(fleet)
    await fleet.execute("UPDATE audit_log SET action = 'thing.undo' WHERE id = $1", ids[4])  # a later one too
    for at in (3, 0):
        await fleet.execute(statement, ids[at])
        assert (await verdict(fleet)).broken == ids[at + broken]


async def test_a_broken_row_is_named_by_the_command_which_has_failed_then(fleet: Fleet) -> None:
    ids = await some_trail(fleet)
    await fleet.execute("DELETE FROM audit_log WHERE id = $1", ids[1])
    text = await run(fleet, "audit", "verify")
    assert (text.exit_code, text.stdout) == (1, "")
    assert f"row {ids[2]} is broken: it does not follow the row before it" in text.stderr
    code, row = await told(fleet)
    assert (code, row["broken"]) == (1, ids[2])


async def test_a_row_whose_follower_was_bent_to_hide_that_it_is_gone_is_missed_there(fleet: Fleet) -> None:
    ids = await some_trail(fleet)
    await fleet.execute("DELETE FROM audit_log WHERE id = $1", ids[2])
    await fleet.execute(
        "UPDATE audit_log SET prev_hash = (SELECT hash FROM audit_log WHERE id = $1) WHERE id = $2",
        ids[1],
        ids[3],
    )
    assert (await verdict(fleet)).broken == ids[3]


async def test_a_row_that_is_put_in_again_is_named(fleet: Fleet) -> None:
    ids = await some_trail(fleet)
    columns = "at, actor, action, subject_type, subject_id, request_id, ip, detail, prev_hash, hash"
    await fleet.execute(
        f"INSERT INTO audit_log ({columns}) SELECT {columns} FROM audit_log WHERE id = $1", ids[-1]
    )
    put_in = await fleet.value("SELECT max(id) FROM audit_log")
    assert (await verdict(fleet)).broken == put_in


async def test_rows_written_at_the_same_time_are_one_chain(fleet: Fleet) -> None:
    ids = [await employ(fleet, f"operator-{n}", "viewer") for n in range(8)]
    await asyncio.gather(
        *(
            fleet.client.patch(f"/platform/v1/users/{one}", json={"role": role})
            for one in ids
            for role in ("operator", "admin", "viewer")
        )
    )
    found = await verdict(fleet)
    assert found.broken is None
    assert found.rows >= 8


async def test_the_trail_is_shown_newest_first_and_filtered(fleet: Fleet) -> None:
    ids = await some_trail(fleet)
    shown = await run(fleet, "audit", "--json", "--limit", "3")
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [row["id"] for row in rows] == ids[:-4:-1]
    assert list(rows[0]) == [
        "id",
        "at",
        "actor",
        "action",
        "subject_type",
        "subject_id",
        "request_id",
        "ip",
        "detail",
        "prev_hash",
        "hash",
    ]
    assert [row["ip"] for row in rows] == [None, "2001:db8::2", "2001:db8::1"]
    for option, value, count in (
        ("--actor", "management-key", 1),
        ("--action", "thing.do", 4),
        ("--subject", "7", 4),
        ("--since", "2000-01-01T00:00:00+02:00", 5),
        ("--since", "2999-01-01T00:00:00Z", 0),
    ):
        found = await run(fleet, "audit", option, value)
        assert (found.exit_code, len(found.stdout.splitlines())) == (0, count)
