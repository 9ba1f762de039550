"""The way up and the way down, rehearsed on copies of the restored backup (docs/validation.md 6.4).

What a database should look like is seen, not believed: one that had no table is brought to the same place,
and the two are compared object by object.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from less_sync.migrations import Connection, drift
from less_sync.validation.context import Context
from less_sync.validation.hooks import Ran
from less_sync.validation.outcome import Faulty, slug
from less_sync.validation.procedure import Procedure, Same
from less_sync.validation.scratch import Copy
from less_sync.validation.scratch_databases import connected
from less_sync.validation.shape import Shape, counted, differing, shape, versions

LOCK_POLL_S: Final = 0.02
STEPS_MAX: Final = 200
"""Down from one release to another: more would not end."""
SHOWN_MAX: Final = 20
KNOWN: Final = "incumbent-knows"
"""Among the facts of a run."""
MIGRATOR: Final = "less-sync-migrate"

_LOCKED: Final = """
SELECT a.xact_start AS since, (extract(epoch FROM clock_timestamp() - a.xact_start) * 1000)::int AS ms
FROM pg_stat_activity a WHERE a.datname = $1 AND a.application_name = $2 AND EXISTS (
    SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.granted AND l.mode = 'AccessExclusiveLock'
    AND l.locktype = 'relation')"""
_HISTORY: Final = """
SELECT version, applied_at::text FROM less_sync_migrations
UNION ALL SELECT version, installed_on::text FROM _sqlx_migrations ORDER BY 1"""


async def upgrade_path(context: Context) -> None:
    """The candidate's migrations take the backup where they take an empty database, and are then done."""
    scratch, measured = context.run.scratch, context.measured
    restored = await scratch.restored(context.say)
    async with scratch.copy(restored) as copy:
        async with connected(copy.url) as connection:
            before = await versions(connection)
        async with _locks_watched(context, copy):
            began_s = asyncio.get_running_loop().time()
            up = await migrated(context, copy, "up")
            measured.number("up_ms", int((asyncio.get_running_loop().time() - began_s) * 1000))
        measured.same("migrated", 0, up.status, "migrate-failed")
        if up.status != 0:
            return
        async with connected(copy.url) as connection:
            after, history = await versions(connection), await connection.fetch(_HISTORY)
            here = await shape(connection)
        applied = [version for version in after if version not in before]
        context.say(f"applied: {', '.join(map(str, applied)) or 'nothing, the backup is up to date'}")
        measured.number("applied", len(applied))
        async with scratch.empty() as empty:
            fresh = await migrated(context, empty, "up")
            measured.same("migrated", 0, fresh.status, "migrate-failed:empty")
            async with connected(empty.url) as connection:
                compare_shapes(context, await shape(connection), here)
        again = await migrated(context, copy, "up")
        async with connected(copy.url) as connection:
            measured.same("again", 0, again.status, "again-failed")
            measured.same("again", history, await connection.fetch(_HISTORY), "again")


def compare_shapes(context: Context, wanted: Shape, seen: Shape) -> None:
    """Measure the criterion `drift`: a pair for each object that differs, and one for all."""
    names = differing(wanted, seen)
    for name in names[:SHOWN_MAX]:
        context.say(f"differs: {name}")
        context.measured.same("drift", "as it should be", "otherwise", slug("schema-differs", name))
    context.measured.same("drift", 0, len(names), "schema-differs")


async def migrated(context: Context, copy: Copy, *words: str) -> Ran:
    """Run the candidate's `migrate` on a database."""
    arguments = ("migrate", *words)
    ran = await context.run.scratch.less_sync(arguments, copy.url, say=context.say)
    context.evidence.command(("less-sync", *arguments), ran.status, ran.output.decode(errors="replace"))
    return ran


@asynccontextmanager
async def _locks_watched(context: Context, copy: Copy) -> AsyncIterator[None]:
    """Measure the longest transaction of a migrator that keeps everybody from a table, to 20 ms."""
    longest_ms: dict[object, int] = {}

    async def watch() -> None:
        async with connected(copy.url) as connection:
            while True:
                for row in await connection.fetch(_LOCKED, copy.database, MIGRATOR):
                    longest_ms[row["since"]] = max(row["ms"], longest_ms.get(row["since"], 0))
                await asyncio.sleep(LOCK_POLL_S)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        failed = watching.done()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        if failed:
            context.say("locks were not watched to the end")
        else:
            context.measured.number("longest_lock_ms", max(longest_ms.values(), default=0))


async def downgrade_path(context: Context) -> None:
    """From the candidate's schema the migrations that the incumbent does not know are taken back."""
    scratch, measured = context.run.scratch, context.measured
    restored = await scratch.restored(context.say)
    known = await incumbent_knows(context)
    async with scratch.copy(restored) as copy:
        up = await migrated(context, copy, "up")
        measured.same("reverted", 0, up.status, "migrate-failed")
        if up.status != 0:
            return
        async with connected(copy.url) as connection:
            before = await counted(connection)
        lost = await taken_back(context, copy, known.versions)
        async with connected(copy.url) as connection:
            after, left = await counted(connection), await versions(connection)
            measured.same("reverted", known.versions, left, "other-versions")
            if scratch.plan.incumbent_kind == "less-sync":
                compare_shapes(context, known.shape, await shape(connection))
            else:
                await _compare_with_scripts(context, connection, left)
        fewer = [name for name, rows in before.items() if name in after and after[name] < rows]
        for name in fewer:
            context.say(f"{before[name] - after[name]} rows of {name} are gone")
            measured.same("losses", True, bool(lost), slug("rows-lost", name))


async def _compare_with_scripts(context: Context, connection: Connection, known: Sequence[int]) -> None:
    """An existing server makes the same tables by other words; ours are at hand."""
    differences = await drift(connection, known, additions=True)
    for one in differences[:SHOWN_MAX]:
        context.say(f"differs: {one}")
        context.measured.same("drift", "as it should be", "otherwise", slug("schema-differs", one.name))
    context.measured.same("drift", 0, len(differences), "schema-differs")


@dataclass(frozen=True, slots=True)
class Known:
    """What the incumbent makes of an empty database."""

    versions: tuple[int, ...]
    shape: Shape


async def incumbent_knows(context: Context) -> Known:
    """Start the incumbent on an empty database, once in a run, and look at what it made.

    Raises:
        Blocked: `input:INCUMBENT_COMMAND`.
        Faulty: `not-started:incumbent` and so on.
    """
    known = context.run.facts.get(KNOWN)
    if not isinstance(known, Known):
        scratch = context.run.scratch
        async with scratch.empty() as empty:
            async with scratch.incumbent(empty, context.say):
                pass
            async with connected(empty.url) as connection:
                known = Known(await versions(connection), await shape(connection))
        context.run.facts[KNOWN] = known
    context.say(f"the incumbent knows the migrations {', '.join(map(str, known.versions))}")
    return known


async def taken_back(context: Context, copy: Copy, known: Sequence[int]) -> list[str]:
    """Revert what the incumbent does not know, highest first; measures the criterion `losses`.

    Returns:
        The names of what was lost.

    Raises:
        Faulty: `down-failed:VERSION`.
    """
    plan, measured = context.run.scratch.plan, context.measured
    acknowledged = context.run.manifest.acknowledged_losses
    lost: list[str] = []
    for _ in range(STEPS_MAX):
        async with connected(copy.url) as connection:
            applied = await versions(connection)
            version = max((one for one in applied if one not in known), default=0)
            loss = plan.losses.get(version)
            query = None if loss is None else loss.query
            there = query is None or await connection.fetchval(query)
        if not version:
            break
        if loss is None:
            lost.append(f"unlisted {version}")
            measured.same("losses", "a row", None, slug("unlisted", version))
        elif not loss.is_nothing and there:
            lost.append(loss.name)
            context.say(f"reverting {version} {loss.text}")
            measured.same("losses", True, loss.name in acknowledged, slug("unacknowledged", loss.name))
        down = await migrated(context, copy, "down", "--yes")
        if down.status != 0:
            raise Faulty("down-failed", version)
    async with connected(copy.url) as connection:
        left = [one for one in await versions(connection) if one not in known]
    measured.same("losses", [], left, "not-taken-back")
    return lost


PROCEDURES: Final = (
    Procedure(
        "upgrade-path",
        "database",
        upgrade_path,
        "the backup, migrated by the candidate, is what an empty database becomes",
        (Same("migrated"), Same("drift"), Same("again")),
        timeout_s=900,
        exclusive=("scratch",),
    ),
    Procedure(
        "downgrade-path",
        "database",
        downgrade_path,
        "what the incumbent does not know can be taken back without an unacknowledged loss",
        (Same("reverted"), Same("losses"), Same("drift")),
        timeout_s=900,
        exclusive=("scratch",),
        previous=True,
    ),
)
