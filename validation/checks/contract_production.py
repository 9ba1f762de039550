"""Lane `contract`, where nothing may be written (docs/validation.md 3.2 and 6.3)."""

from typing import Final

from less_sync.sync.protocol.messages import InvitationListResult
from less_sync.validation.context import Context
from less_sync.validation.conversation import KEEPALIVE
from less_sync.validation.outcome import Blocked, Faulty
from less_sync.validation.people import Person
from less_sync.validation.procedure import Procedure, Same
from less_sync.validation.sentinel import CRITERIA, measure_sentinel
from less_sync.validation.spaces import Space, read

ROW_SQL: Final = """
SELECT spaces.cursor, (SELECT count(*) FROM records WHERE space_id = spaces.id) AS records
FROM spaces WHERE id = $1
"""


async def read_only(context: Context) -> None:
    """Ask for what cannot change anything, and see with the database that nothing of the user's changed."""
    owner = context.run.people.person(context.target.name, "owner")
    same = context.measured.same
    before = await _row(context, owner)
    unknown = Space(context.stream.uuid())
    async with context.converse(owner) as one:
        await one.barrier()
        context.say("a method that no server has is refused; subscribe to and pull a space that nobody has")
        subscribed = await one.call("subscribe", {"spaces": [unknown.entry(since=0)]})
        errors = [{"space": str(unknown.id), "error": "forbidden"}]
        same("reads", {"spaces": [], "errors": errors}, subscribed, "subscribe")
        request_id = await one.send("pull", {"spaces": [unknown.entry(since=0)]})
        response, chunks = await one.response(request_id)
        if response.error is not None:
            raise Faulty("refused", "pull", response.error.code)
        same("reads", ([], {"_chunks": 0}), (chunks, response.result), "pull")
        listed = await one.call("invitation.list", {"limit": 1})
        read(InvitationListResult, listed, "invitation.list")
        await one.send_bytes(KEEPALIVE)
        await one.barrier()
        context.say("a keepalive is taken")
    if context.target.database_url is None:
        context.say("without its database nobody can tell whether the user's rows are as before")
    else:
        same("reads", before, await _row(context, owner), "rows-changed")


async def _row(context: Context, owner: Person) -> tuple[int, int] | None:
    """Cursor and number of records of the user's personal space; None without it, or without the database."""
    if context.target.database_url is None:
        return None
    async with context.database() as connection:
        row = await connection.fetchrow(ROW_SQL, await owner.personal_space())
    told = "no row" if row is None else f"cursor {row['cursor']}, {row['records']} records"
    context.evidence.statement(ROW_SQL, told)
    return None if row is None else (row["cursor"], row["records"])


async def sentinel(context: Context) -> None:
    """Read back what was planted."""
    if not context.run.manifest.production_space_exists:
        context.say("plant it first, and say so: production_space_exists")
        raise Blocked("no-planted-space")
    owner = context.run.people.person(context.target.name, "owner")
    async with context.converse(owner) as one:
        await measure_sentinel(context, one, owner)


PROCEDURES: Final = (
    Procedure(
        "read-only",
        "contract",
        read_only,
        "what may be read of a server with people on it is answered, and nothing changes",
        (Same("reads"),),
        exclusive=("identity:owner",),
        capabilities=("owner:token",),
    ),
    Procedure(
        "sentinel",
        "contract",
        sentinel,
        "what was planted is there: bytes, DEKs, cursors, order, tombstones, members and file",
        tuple(Same(name) for name in CRITERIA),
        exclusive=("identity:owner",),
        capabilities=("owner:token",),
    ),
)
