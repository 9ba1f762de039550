"""Lane `contract` where nothing may be written: reading, and what was planted before."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final

import pytest

from less_sync.sync.client import SyncClient
from less_sync.sync.protocol.messages import PushChange
from less_sync.validation.context import Context, Run
from less_sync.validation.generated import Stream
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.people import Person
from less_sync.validation.procedure import Procedure, Same
from less_sync.validation.sentinel import CHAIN, RECORDS, TOMBSTONES, Planted, content_of, plant
from less_sync.validation.spaces import change
from tests.federation.proxy import Way
from tests.validation.neighbours import SERVICE, red
from tests.validation.proxy import Cut, FaultProxy, Frame, Reply
from tests.validation.rig import Rig, check_of, procedure_named
from tests.validation.rules import WATCHED_SQL, at_once, changed, flipped

NUMBERS: Final = count(1)
LOOKS: Final = tuple(one for one in SERVICE if one.procedure not in ("health", "features"))
"""Of lane `service`: one of them waits, and the run of the other declares no files."""
FAULTED: Final = frozenset({"read-only", "sentinel"})
WROTE: Final = RECORDS + TOMBSTONES + CHAIN + 1
"""Without a file: the last is the record that says where all lies."""
ROWS_SQL: Final = f"""
WITH peoples AS (SELECT id, cursor FROM spaces WHERE id NOT {WATCHED_SQL})
SELECT (SELECT count(*) FROM peoples) AS spaces, (SELECT sum(cursor) FROM peoples) AS cursors,
    (SELECT count(*) FROM records WHERE space_id NOT {WATCHED_SQL}) AS records,
    (SELECT count(*) FROM members) AS members, (SELECT count(*) FROM files) AS files,
    (SELECT count(*) FROM invitations) AS invitations
"""


def failed(reason: str) -> Outcome:
    """A row that is red for this."""
    return Outcome(Status.FAILED, reason)


def context_of(run: Run, target: str = "production") -> Context:
    """As the command that plants has it."""
    check = check_of(procedure_named("sentinel"), target)
    return Context(check, run, Stream(run.id, check.id))


async def planted(rig: Rig, **of_run: Any) -> tuple[Run, Planted]:
    """A run whose owner has the sentinel in the personal space on production."""
    run = rig.run(production_space_exists=True, **of_run)
    return run, await plant(context_of(run))


# Reading.


async def _pushes(context: Context) -> None:
    owner = context.run.people.person(context.target.name, "owner")
    async with context.converse(owner) as one:
        context.measured.same("nothing", 1, 1, "nothing")
        space = str(await owner.personal_space())
        await one.call("push", {"space": space, "changes": [change(context.stream.uuid(), b"x")]})


async def _puts(context: Context) -> None:
    context.measured.same("nothing", 1, 1, "nothing")
    await context.request("PUT", "/api/v1/spaces/x/files/y", body=b"x")


@pytest.mark.parametrize("run", [_pushes, _puts])
async def test_a_check_that_writes_to_production_is_refused_and_sends_nothing(
    rig: Rig, run: Callable[[Context], Awaitable[None]]
) -> None:
    procedure = Procedure("writes", "contract", run, "writes", (Same("nothing"),), writes=True)
    before = await rig.server("production").sql(ROWS_SQL)
    row = await rig.row(procedure, target="production")
    assert row.outcome == Outcome(Status.ERROR, "write-refused")
    assert await rig.server("production").sql(ROWS_SQL) == before
    assert [
        frame.name for frame in rig.proxy("production").passed if frame.name not in ("auth", "close")
    ] == []


async def test_reading_leaves_no_row(rig: Rig) -> None:
    before = await rig.server("production").sql(ROWS_SQL)
    for target in ("production", "candidate"):
        row = await rig.row("read-only", target=target)
        assert row.outcome == PASSED, row.lines
    assert await rig.server("production").sql(ROWS_SQL) == before
    sent = {frame.name for frame in rig.proxy("production").passed if frame.seen.way is Way.UP}
    assert sent == {"auth", "?", "subscribe", "pull", "invitation.list", "keepalive", "close"}


async def test_reading_without_the_database(rig: Rig) -> None:
    assert await rig.outcome("read-only", target="production", without=("database",)) == PASSED


@pytest.mark.parametrize("exists", [False, True])
async def test_another_client_that_writes_as_the_validation_user(rig: Rig, exists: bool) -> None:
    run = rig.run()
    owner = run.people.person("production", "owner")

    async def write() -> None:
        await _pushed(rig, run, owner)

    if exists:
        await write()

    def rule(frame: Frame) -> None:
        if frame.name == "invitation.list":
            at_once(write)

    rig.proxy("production").frames.append(rule)
    row = await rig.row("read-only", target="production", run=run)
    assert row.outcome == failed("rows-changed"), row.lines


async def _pushed(rig: Rig, run: Run, owner: Person) -> None:
    """One record more in the owner's personal space, by an ordinary client that asks no proxy."""
    url = f"ws://127.0.0.1:{rig.server('production').port}/api/v1/ws"
    async with SyncClient(url, owner.token) as client:
        name = str(Stream(run.id, f"another client {next(NUMBERS)}").uuid())
        space = str(await owner.personal_space())
        result = await client.push(space, [PushChange(id=name, blob=b"x", expected_cursor=0)])
        assert result.ok


def _cut_at_the_pull(proxy: FaultProxy) -> None:
    def rule(frame: Frame) -> Sequence[bytes] | None:
        if frame.name == "pull":
            raise Cut
        return None

    proxy.frames.append(rule)


REFUSALS: Final[Mapping[str, tuple[Callable[[FaultProxy], object], Outcome]]] = {
    "no upgrade": (lambda proxy: proxy.answer(Reply(503), path="/api/v1/ws"), failed("upgrade:503")),
    "a connection that breaks": (_cut_at_the_pull, failed("closed:1006")),
    "an error": (
        lambda proxy: proxy.alter(
            Way.DOWN,
            "invitation.list:result",
            lambda frame: {"type": 1, "id": frame["id"], "error": {"code": "internal", "message": ""}},
        ),
        failed("refused:invitation.list:internal"),
    ),
    "a space that nobody has is shown": (
        changed(Way.DOWN, "subscribe:result", lambda result: result | {"errors": []}),
        failed("subscribe"),
    ),
    "something was pulled of it": (
        changed(
            Way.DOWN,
            "pull:result",
            lambda _: {"_chunks": 1},
            when=lambda result: result["_chunks"] == 0,
        ),
        failed("pull"),
    ),
}


ALSO: Final[Mapping[str, Mapping[str, Outcome]]] = {
    # The sentinel is pulled by such a connection too, and two rows ask for one without a token.
    "no upgrade": {
        "sentinel": failed("upgrade:503"),
        "headers": failed("status:503"),
        "routes": failed("row:16"),
    },
    "a connection that breaks": {"sentinel": failed("closed:1006")},
}
"""What looks at the same answer."""


@pytest.mark.parametrize("name", REFUSALS)
async def test_production_that_cannot_be_read(rig: Rig, name: str) -> None:
    make, outcome = REFUSALS[name]
    run, _ = await planted(rig, features={"files": False})
    make(rig.proxy("production"))
    row = await rig.row("read-only", target="production")
    assert row.outcome == outcome, row.lines
    others = [await rig.row("sentinel", target="production", run=run)]
    others += [await rig.row(one.procedure, target="production", run=run) for one in LOOKS]
    assert red(others) == ALSO.get(name, {}), [row.lines for row in others]


# What was planted.


async def test_planting_again_writes_nothing(rig: Rig) -> None:
    run, first = await planted(rig)
    assert first.written == WROTE + 1
    assert (await plant(context_of(run))).written == 0
    row = await rig.row("sentinel", target="production", run=run)
    assert row.outcome == PASSED, row.lines
    assert row.measured.shown["records_compared"] > RECORDS / 4


async def test_planting_goes_on_where_it_ended(rig: Rig) -> None:
    run, first = await planted(rig, features={"files": False})
    assert first.written == WROTE
    content = content_of(first.space)
    server = rig.server("production")
    await server.sql("UPDATE records SET blob = 'other' WHERE id = $1::text::uuid", list(content.records)[3])
    await server.sql("DELETE FROM records WHERE id = $1::text::uuid", content.tombstones[0])
    again = await plant(context_of(run))
    assert again.written == 1 + 1 + 1
    assert await rig.outcome("sentinel", target="production", run=run) == PASSED


async def test_the_sentinel_needs_to_be_planted_and_declared(rig: Rig) -> None:
    assert await rig.outcome("sentinel", target="production") == Outcome(Status.BLOCKED, "no-planted-space")
    assert rig.proxy("production").asked == []
    outcome = await rig.outcome("sentinel", target="production", production_space_exists=True)
    assert outcome == failed("missing")
    run, _ = await planted(rig, features={"files": False})
    assert await rig.outcome("sentinel", target="production", run=run) == PASSED


HURT: Final[Mapping[str, tuple[str, str]]] = {
    "a record changed": ("UPDATE records SET blob = 'x' WHERE space_id = $1 AND cursor = 2", "bytes"),
    "a DEK changed": ("UPDATE records SET wrapped_dek = NULL WHERE space_id = $1 AND cursor = 3", "dek"),
    "a record moved": ("UPDATE records SET cursor = 4 WHERE space_id = $1 AND cursor = 5", "cursor"),
    "a record gone": (
        """DELETE FROM records WHERE space_id = $1 AND id =
           (SELECT id FROM records WHERE space_id = $1 AND cursor = 6 ORDER BY id LIMIT 1)""",
        "missing",
    ),
    "a tombstone gone": ("DELETE FROM records WHERE space_id = $1 AND deleted", "missing"),
    "a tombstone raised": (
        "UPDATE records SET deleted = false, blob = 'x' WHERE space_id = $1 AND deleted",
        "deleted",
    ),
    "an entry gone": ("DELETE FROM members WHERE space_id = $1 AND chain_seq = 2", "chain"),
    "an entry's hash": (
        "UPDATE members SET entry_hash = sha256('x') WHERE space_id = $1 AND chain_seq = 3",
        "hash",
    ),
    "the file's row": ("DELETE FROM files WHERE space_id = $1", "file"),
    "where it lay": (
        """UPDATE records SET blob = blob || 'x' WHERE space_id = $1
           AND cursor = (SELECT max(cursor) FROM records WHERE space_id = $1)""",
        "bytes",
    ),
}


@pytest.mark.parametrize("name", HURT)
async def test_what_was_planted_is_changed(rig: Rig, name: str) -> None:
    statement, reason = HURT[name]
    run, made = await planted(rig)
    await rig.server("production").sql(statement, made.space)
    row = await rig.row("sentinel", target="production", run=run)
    assert row.outcome == failed(reason), row.lines
    assert await rig.outcome("read-only", target="production", run=run) == PASSED


async def test_a_bit_of_what_was_planted_flips_on_the_way(rig: Rig) -> None:
    run, _ = await planted(rig)
    filled = changed(Way.DOWN, "pull.record", flipped("blob"), at=7, when=lambda data: bool(data.get("blob")))
    filled(rig.proxy("production"))
    assert await rig.outcome("sentinel", target="production", run=run) == failed("bytes")
    assert await rig.outcome("read-only", target="production", run=run) == PASSED
