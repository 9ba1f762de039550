"""Lane `contract`, the end of it: what the run made is not live afterwards, and what stays is named."""

from typing import Final

from less_sync.auth import Permission, ucan_cid
from less_sync.validation.checks.contract import PROCEDURES
from less_sync.validation.context import Context, Run
from less_sync.validation.generated import Stream
from less_sync.validation.made import Made, leave, made_at
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.procedure import Place, Value
from less_sync.validation.spaces import Space, change, make_space, pushed
from tests.federation.proxy import Way
from tests.validation.rig import Rig, check_of, procedure_named

FAULTED: Final = frozenset({"cleanup"})
ON_STAGING: Final = [
    one.name for one in PROCEDURES if one.place is Place.IN_TURN and one.name not in ("read-only", "sentinel")
]
FEW: Final[dict[str, dict[str, Value]]] = {"every-answer": {"requests": 20}}
REFUSE_SQL: Final = (
    """CREATE FUNCTION test_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN RAISE EXCEPTION 'nothing is deleted here'; END $$""",
    """CREATE TRIGGER test_refuse BEFORE UPDATE ON records FOR EACH ROW WHEN (NEW.deleted)
       EXECUTE FUNCTION test_refuse()""",
)
MEND_SQL: Final = ("DROP TRIGGER test_refuse ON records", "DROP FUNCTION test_refuse")
LIVE_SQL: Final = """
SELECT (SELECT count(*) FROM records WHERE NOT deleted AND space_id = ANY($1::uuid[])) AS records,
    (SELECT count(*) FROM files WHERE NOT deleted AND space_id = ANY($1::uuid[])) AS files,
    (SELECT count(*) FROM spaces WHERE id = ANY($1::uuid[])) AS spaces
"""


def failed(reason: str) -> Outcome:
    """A row that is red for this."""
    return Outcome(Status.FAILED, reason)


async def filled(rig: Rig) -> tuple[Run, Context, Space]:
    """A run that has made a space with two records."""
    run = rig.run()
    check = check_of(procedure_named("conflict"), "staging")
    context = Context(check, run, Stream(run.id, check.id))
    owner = run.people.person("staging", "owner")
    async with context.converse(owner) as one:
        space = await make_space(context, one, owner)
        await pushed(one, space, [change(context.stream.uuid(), b"x") for _ in range(2)])
    return run, context, space


async def test_after_all_checks_nothing_is_live(rig: Rig) -> None:
    run = rig.run()
    for name in ON_STAGING:
        row = await rig.row(name, run=run, parameters=FEW.get(name, {}))
        assert row.outcome == PASSED, (name, row.lines)
    made = made_at(run, "staging")
    spaces = [one.id for one in made if one.kind == "space"]
    assert len(spaces) >= len(ON_STAGING) - 2
    [before] = await rig.server().sql(LIVE_SQL, spaces)
    assert before["records"] > 500
    row = await rig.row("cleanup", run=run)
    assert row.outcome == PASSED, row.lines
    [after] = await rig.server().sql(LIVE_SQL, spaces)
    assert (after["records"], after["files"], after["spaces"]) == (0, 0, len(spaces))
    assert sorted(run.left_behind) == sorted(("staging", "space", one) for one in spaces)
    assert (
        await rig.server().sql("SELECT 1 FROM invitations WHERE mailbox_id = $1", await _mailbox(run)) == []
    )
    again = await rig.outcome("cleanup", run=run)
    assert again == PASSED


async def _mailbox(run: Run) -> str:
    return await run.people.person("staging", "member").mailbox()


async def test_a_server_that_deletes_nothing(rig: Rig) -> None:
    run, _, space = await filled(rig)
    for statement in REFUSE_SQL:
        await rig.server().sql(statement)
    try:
        row = await rig.row("cleanup", run=run)
    finally:
        for statement in MEND_SQL:
            await rig.server().sql(statement)
    assert row.outcome == failed("live:records"), row.lines
    assert run.left_behind == [("staging", "space", str(space.id))]
    assert await rig.outcome("cleanup", run=run) == PASSED


async def test_what_was_asked_for_and_never_made_is_not_left_behind(rig: Rig) -> None:
    run, context, space = await filled(rig)
    leave(context, Made("space", "owner", str(context.stream.uuid())))
    assert await rig.outcome("cleanup", run=run) == PASSED
    assert run.left_behind == [("staging", "space", str(space.id))]


async def test_grants_and_invitations(rig: Rig) -> None:
    run, context, space = await filled(rig)
    owner, member = (run.people.person("staging", name) for name in ("owner", "member"))
    ucan = owner.grant(member, space.id, Permission.WRITE, stream=context.stream)
    leave(context, Made("grant", "owner", ucan_cid(ucan), str(space.id)))
    async with context.converse(owner) as one:
        mailbox = await member.mailbox()
        params = {"mailbox_id": mailbox, "payload": "x"}
        invitation = (await one.call("invitation.create", params))["id"]
    leave(context, Made("invitation", "member", invitation))
    proxy = rig.proxy()
    for method, kind, made in (
        ("membership.revoke", "grant", ucan_cid(ucan)),
        ("invitation.delete", "invitation", invitation),
    ):
        proxy.alter(Way.UP, method, lambda frame: frame | {"method": "refused by the proxy"})
        row = await rig.row("cleanup", run=run)
        assert row.outcome == failed(f"live:{kind}"), row.lines
        assert ("staging", kind, made) in run.left_behind
        proxy.mend()
    assert await rig.outcome("cleanup", run=run) == PASSED
    async with context.converse(member) as other:
        theirs = Space(space.id, ucan).params(changes=[change(context.stream.uuid(), b"x")])
        assert (await other.call("push", theirs))["error"] == "forbidden"
        assert (await other.call("invitation.list", {}))["invitations"] == []


async def test_a_server_that_is_gone(rig: Rig) -> None:
    run, context, _ = await filled(rig)
    leave(context, Made("invitation", "member", str(context.stream.uuid())))
    rig.proxy().target = None
    try:
        assert await rig.outcome("cleanup", run=run) == failed("live:invitation")
    finally:
        rig.proxy().target = rig.server().port
    assert {kind for _, kind, _ in run.left_behind} == {"space", "invitation"}


async def test_where_nothing_was_made_there_is_nothing_to_see(rig: Rig) -> None:
    assert await rig.outcome("cleanup") == Outcome(Status.BLOCKED, "no-data")
