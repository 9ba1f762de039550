"""`less-sync fleet enrolments`, at a plane that is served."""

from uuid import uuid4

import httpx
import pytest

from tests.fleet.commands import good, listed, run
from tests.fleet.rig import Fleet, registration


async def register(fleet: Fleet, token: str) -> httpx.Response:
    """A server that nobody knows shows a token."""
    shown = {"Authorization": f"Bearer {token}"}
    return await fleet.anonymous.post("/management/v1/agents/register", json=registration(), headers=shown)


async def test_each_is_listed_with_what_is_left_of_it_and_not_told_again(fleet: Fleet) -> None:
    assert await good(fleet, "enrolments") == "no tokens: `less-sync fleet enrol` makes one\n"
    tokens = []
    for name, *options in (
        ("rack7", "--servers=1200", "--label=rack=7", "--label=row=b"),
        ("spent",),
        ("late",),
        ("gone",),
    ):
        (made,) = await listed(fleet, "enrol", name, *options)
        tokens.append(made["token"])
    for token in tokens[:2]:
        assert (await register(fleet, token)).status_code == 201
    await fleet.execute(
        "UPDATE enrolment_tokens SET expires_at = '2020-01-31T12:00:59Z' WHERE label = 'late'"
    )
    rows = await listed(fleet, "enrolments")
    assert await listed(fleet, "enrolments", "revoke", rows[3]["id"]) == [
        {"message": "enrolment token revoked", "id": rows[3]["id"]}
    ]
    text = await good(fleet, "enrolments")
    head, *table = [line.split("  ") for line in text.splitlines()]
    table = [[cell.strip() for cell in row if cell] for row in table]
    assert [cell.strip() for cell in head if cell] == [
        *("NAME", "STATE", "SERVERS", "UNTIL", "LABELS", "BY", "ID"),
    ]
    assert [row[:3] for row in table] == [
        ["rack7", "good", "1 of 1,200"],
        ["spent", "used up", "1 of 1"],
        ["late", "expired", "0 of 1"],
        ["gone", "revoked", "0 of 1"],
    ]
    assert [row[4] for row in table] == ["row=b,rack=7", "-", "-", "-"]
    assert table[2][3] == "2020-01-31 12:00"
    assert [row[-2:] for row in table] == [["management-key", row["id"]] for row in rows]
    assert not any(token in text + str(rows) for token in tokens)
    assert [row["label"] for row in await listed(fleet, "enrolments", "--limit", "1")] == ["rack7"]


async def test_one_that_is_revoked_makes_no_agent_and_leaves_those_it_made(fleet: Fleet) -> None:
    (made,) = await listed(fleet, "enrol", "--servers", "5")
    which = made["enrolment_token"]["id"]
    assert (await register(fleet, made["token"])).status_code == 201
    for _ in range(2):  # once is enough, twice no mistake
        assert await good(fleet, "enrolments", "revoke", which.upper()) == f"revoked: {which}\n"
    assert (await register(fleet, made["token"])).status_code == 401
    assert [one["status"] for one in await listed(fleet, "agents")] == ["active"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("revoke",), 2, "ID"),
        (("revoke", "rack7"), 2, "'rack7' is not the id of an enrolment token; `less-sync fleet enrolments`"),
        (("revoke", "../x"), 2, "not the id"),
        (("revoke", str(uuid4())), 1, "enrolment token not found"),
        (("--limit", "0"), 2, "--limit"),
        (("--json", "revoke", str(uuid4())), 2, "behind `revoke`"),
    ],
)
async def test_what_is_wrong_is_told_and_has_its_exit_code(
    fleet: Fleet, arguments: tuple[str, ...], code: int, text: str
) -> None:
    result = await run(fleet, "enrolments", *arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert text in " ".join(result.stderr.split())
