"""Lane `contract`, the end of it: what the run made is not live afterwards, and what stays is named."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from less_sync.auth import Permission, encode_did_key, ucan_cid
from less_sync.validation.assembly import people_of
from less_sync.validation.canonical import canonical
from less_sync.validation.checks.contract import PROCEDURES
from less_sync.validation.context import Context, Run
from less_sync.validation.generated import Stream
from less_sync.validation.inputs import read_inputs
from less_sync.validation.made import Made, leave, made_at
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.procedure import Place, Value
from less_sync.validation.results import LeftBehind, document
from less_sync.validation.spaces import Space, change, make_space, pushed
from tests.bins.commands import run_less_sync
from tests.federation.proxy import Way
from tests.validation.reports import RUN, results
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


def left(run: Run) -> list[tuple[str, str, str]]:
    """What was left behind: target, kind, id."""
    return [(target, made.kind, made.id) for target, made in run.left_behind]


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
    assert sorted(left(run)) == sorted(("staging", "space", one) for one in spaces)
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
    assert left(run) == [("staging", "space", str(space.id))]
    assert await rig.outcome("cleanup", run=run) == PASSED


async def test_what_was_asked_for_and_never_made_is_not_left_behind(rig: Rig) -> None:
    run, context, space = await filled(rig)
    leave(context, Made("space", "owner", str(context.stream.uuid())))
    assert await rig.outcome("cleanup", run=run) == PASSED
    assert left(run) == [("staging", "space", str(space.id))]


async def test_a_space_that_was_made_and_cannot_be_read_any_more_is_not_taken_for_gone(rig: Rig) -> None:
    run, _, space = await filled(rig)
    rig.proxy().alter(Way.UP, "pull", _of_nobody)
    assert await rig.outcome("cleanup", run=run) == failed("live:space")
    assert left(run) == [("staging", "space", str(space.id))]


def _of_nobody(frame: Any) -> Any:
    """The pull without what opens the space."""
    [entry] = frame["params"]["spaces"]
    return frame | {"params": {"spaces": [{"id": entry["id"], "since": 0}]}}


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
        assert ("staging", kind, made) in left(run)
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
    assert {kind for _, kind, _ in left(run)} == {"space", "invitation"}


async def test_where_nothing_was_made_there_is_nothing_to_see(rig: Rig) -> None:
    assert await rig.outcome("cleanup") == Outcome(Status.BLOCKED, "no-data")


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


async def test_what_a_run_left_behind_is_removed_later_by_who_has_the_keys(rig: Rig, tmp_path: Path) -> None:
    run = rig.run()
    minter, keys = run.people.minter("staging"), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    environment = {"STAGING_BASE_URL": rig.proxy().url}
    for name, suffix, key in zip(("owner", "member"), ("", "_MEMBER"), keys, strict=True):
        claims = minter.claims(name, did=encode_did_key(key.public_key()))
        environment[f"STAGING_ACCESS_TOKEN{suffix}"] = minter.token(claims)
        environment[f"STAGING_USER_KEY{suffix}"] = _pem(key)
    inputs, problems = read_inputs(environment, {})
    assert not problems
    run.people = people_of(run.manifest, inputs, run.redactor, None)
    context = Context(check_of(procedure_named("conflict"), "staging"), run, Stream(run.id, "conflict"))
    spaces = []
    for name in ("owner", "member"):
        person = run.people.person("staging", name)
        async with context.converse(person) as one:
            spaces.append(await make_space(context, one, person))
            await pushed(one, spaces[-1], [change(context.stream.uuid(), b"x")])
    ucan = run.people.person("staging", "owner").grant(
        run.people.person("staging", "member"), spaces[0].id, Permission.WRITE, stream=context.stream
    )
    left = (
        LeftBehind("staging", "space", str(spaces[0].id), "owner"),
        LeftBehind("staging", "grant", ucan_cid(ucan), "owner", str(spaces[0].id)),
        LeftBehind("staging", "space", str(spaces[1].id), "member"),
    )
    report = replace(results([], left_behind=left), kind="cutover", run=replace(RUN, id=run.id.hex()))
    (tmp_path / "results.json").write_bytes(canonical(document(report)))

    async def live() -> int:
        [row] = await rig.server().sql(LIVE_SQL, [str(one.id) for one in spaces])
        return int(row["records"])

    without = {name: value for name, value in environment.items() if name != "STAGING_USER_KEY_MEMBER"}
    done = await run_less_sync("validate", "clean", str(tmp_path), env=without, cwd=tmp_path)
    assert (done.status, await live()) == (1, 1)
    assert "something of the run is still live at staging" in done.err
    done = await run_less_sync("validate", "clean", str(tmp_path), env=environment, cwd=tmp_path)
    assert (done.status, done.err, await live()) == (0, "", 0)
    async with context.converse(run.people.person("staging", "member")) as other:
        theirs = Space(spaces[0].id, ucan).params(changes=[change(context.stream.uuid(), b"x")])
        assert (await other.call("push", theirs))["error"] == "forbidden"
