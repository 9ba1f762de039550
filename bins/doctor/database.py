"""The checks of the database, one after the other over one connection."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from less_sync import migrations
from less_sync.bins.amounts import shown_age
from less_sync.bins.doctor.findings import (
    Finding,
    failed,
    looked,
    not_applicable,
    ok,
    warning,
)
from less_sync.bins.doctor.plans import faults_of
from less_sync.bins.settings.config import DatabaseSettings
from less_sync.migrations import RESTORE_MARK, MigrationError, State
from less_sync.storage import (
    NOT_MIGRATED,
    PULLED_TABLES,
    Inspection,
    NotReached,
    ServerFacts,
    StorageError,
    TableFacts,
    inspecting,
    place_of,
)

VERSION_MIN: Final = 13
TOLD_S_MIN: Final = 0.5
SKEW_WARNED_S: Final = 5.0
SKEW_S_MAX: Final = 60.0
"""Tokens that are good from now on are accepted so long before by the server's clock."""
ROUND_TRIP_WARNED_S: Final = 0.02
CHANGED_SHARE_MAX: Final = 0.5
DEAD_SHARE_MAX: Final = 0.5
ROWS_WORTH_ANALYSING: Final = 10_000
REST: Final = ("schema", "pull plans", "tables", "connections", "rights", "clock")


@dataclass(frozen=True, slots=True)
class Where:
    """The database that is looked at."""

    url: str = field(repr=False)
    settings: DatabaseSettings
    note: str = ""
    """How it came to run, if it was started for this."""


async def look_at_database(
    where: Where, now: Callable[[], float], use: Callable[[Inspection], Awaitable[None]]
) -> Sequence[Finding]:
    """Connect, and all that needs it.

    Args:
        now: seconds since 1970.
        use: what others need of the connection; called once it stands.
    """
    try:
        async with inspecting(where.url) as inspection:
            checks: tuple[tuple[str, Callable[[], Awaitable[Sequence[Finding]]]], ...] = (
                ("database", lambda: _server(where, inspection)),
                ("schema", lambda: _schema(where.url, inspection)),
                ("pull plans", lambda: _plans(inspection)),
                ("tables", lambda: _tables(inspection, now)),
                ("connections", lambda: _connections(where.settings, inspection)),
                ("rights", lambda: _rights(inspection)),
                ("clock", lambda: _clock(inspection, now)),
            )
            found = [finding for name, look in checks for finding in await looked(name, _worded(name, look))]
            await use(inspection)
            return found
    except NotReached as error:
        todo = "start it, or correct DATABASE_URL: address, password, sslmode"
        return [
            failed("database", str(error), todo),
            *(not_applicable(name, "the database is not reached") for name in REST),
        ]


def _worded(
    name: str, look: Callable[[], Awaitable[Sequence[Finding]]]
) -> Callable[[], Awaitable[Sequence[Finding]]]:
    async def worded() -> Sequence[Finding]:
        try:
            return await look()
        except StorageError as error:
            if error.sqlstate in NOT_MIGRATED:
                return [not_applicable(name, "the schema is not that of this release")]
            state = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
            return [failed(name, f"the database failed{state}", "look into the database's own log")]

    return worded


async def _server(where: Where, inspection: Inspection) -> Sequence[Finding]:
    loop = asyncio.get_running_loop()
    await inspection.server()
    began_s = loop.time()
    facts = await inspection.server()
    took_s = loop.time() - began_s
    way = "a Unix socket" if facts.address is None else facts.tls or "no TLS"
    found = (
        f"{place_of(where.url)}, Postgres {facts.named}, {way}, round trip {1000 * took_s:.1f} ms{where.note}"
    )
    if facts.version // 10_000 < VERSION_MIN:
        return [failed("database", found, f"use Postgres {VERSION_MIN} or newer")]
    if facts.standby:
        return [failed("database", found, "this is a standby, which takes no writes: name the primary")]
    if _in_clear(facts):
        return [warning("database", found, "encrypt the way there: sslmode=verify-full in DATABASE_URL")]
    if took_s > ROUND_TRIP_WARNED_S:
        return [warning("database", found, "each push waits for that: bring server and database closer")]
    return [ok("database", found)]


def _in_clear(facts: ServerFacts) -> bool:
    """Whether others may listen on the way."""
    return facts.address is not None and facts.tls is None and not ip_address(facts.address).is_loopback


async def _schema(url: str, inspection: Inspection) -> Sequence[Finding]:
    if await inspection.has_table(RESTORE_MARK):
        todo = "restore the same backup once more; the server does not start before that"
        return [failed("schema", "a restore was begun and is not finished", todo)]
    try:
        states = await migrations.status(url)
        pending = await migrations.pending(url)
    except MigrationError as error:
        return [failed("schema", str(error), "see docs/migrations.md; a missing index is made by hand")]
    if pending:
        names = ", ".join(f"{one.version:03d} {one.name}" for one in pending)
        state = _pending_state(states)
        return [
            state("schema", f"pending: {names}", "`less-sync migrate`; a server that starts does it, too")
        ]
    return [ok("schema", f"all {len(states)} migrations applied")]


def _pending_state(states: Sequence[State]) -> Callable[[str, str, str], Finding]:
    """Nothing applied is a new database, and anything less than all is one that the next start changes."""
    return warning if any(one.applied for one in states) else failed


async def _plans(inspection: Inspection) -> Sequence[Finding]:
    tables = frozenset(PULLED_TABLES)
    plans = await inspection.pull_plans()
    faults = {f"{plan.query}: {fault}": None for plan in plans for fault in faults_of(plan.root, tables)}
    broken = await inspection.broken_indexes()
    if broken:
        todo = f"REINDEX INDEX CONCURRENTLY {broken[0]};"
        return [failed("pull plans", f"indexes that are not used: {', '.join(broken)}", todo)]
    if faults:
        todo = "an index by cursor is missing (docs/storage.md 1.1): make it, then ANALYZE"
        return [failed("pull plans", "; ".join(faults), todo)]
    return [ok("pull plans", f"{len(plans)} looked at: each walks the indexes by cursor")]


async def _tables(inspection: Inspection, now: Callable[[], float]) -> Sequence[Finding]:
    tables = await inspection.tables()
    stale = [one for one in tables if _is_stale(one)]
    if stale:
        names = ", ".join(one.name for one in stale)
        found = "; ".join(_state_of(one, now()) for one in stale)
        todo = f"is autovacuum on? Once by hand: VACUUM ANALYZE {names};"
        return [warning("tables", found, todo)]
    large = [_state_of(one, now()) for one in tables if one.live >= ROWS_WORTH_ANALYSING]
    return [ok("tables", "; ".join(large) or "small: nothing to look after")]


def _is_stale(one: TableFacts) -> bool:
    if max(one.live, one.changed) < ROWS_WORTH_ANALYSING:
        return False
    return one.changed > CHANGED_SHARE_MAX * one.live or one.dead > DEAD_SHARE_MAX * one.live


def _state_of(one: TableFacts, now_s: float) -> str:
    analysed = (
        "never analysed"
        if one.analysed is None
        else f"analysed {shown_age(now_s - one.analysed.timestamp())} ago"
    )
    return f"{one.name} {one.live:,} rows, {one.dead:,} dead, {analysed}"


async def _connections(settings: DatabaseSettings, inspection: Inspection) -> Sequence[Finding]:
    facts = await inspection.connections()
    wanted = settings.connections_max + settings.push_lanes
    room = facts.most - facts.kept
    if facts.bound is not None:
        room = min(room, facts.bound)
    found = f"{wanted} wanted, {room} allowed, {facts.used} open now"
    if wanted > room:
        todo = "raise max_connections (or the role's limit), or lower DATABASE_MAX_CONNECTIONS and PUSH_LANES"
        return [failed("connections", found, todo)]
    if wanted > room - (facts.used - facts.ours - 1):
        todo = "others use so many that a busy server may find none: raise max_connections"
        return [warning("connections", found, todo)]
    return [ok("connections", found)]


async def _rights(inspection: Inspection) -> Sequence[Finding]:
    missing = await inspection.missing_rights()
    if not missing:
        return [ok("rights", "reading, writing, running functions, making tables")]
    only_create = all(one.endswith(": CREATE") for one in missing)
    if only_create:
        return [warning("rights", f"missing: {missing[0]}", "GRANT it to the role that migrates")]
    return [failed("rights", f"missing: {', '.join(missing)}", "GRANT them to the role in DATABASE_URL")]


async def _clock(inspection: Inspection, now: Callable[[], float]) -> Sequence[Finding]:
    began_s = now()
    theirs_s = (await inspection.server()).now_s
    # The database looked at its clock at some moment in between; half-way is the best guess.
    ours_s = (began_s + now()) / 2
    return [clock_finding("clock", "the database's clock", theirs_s - ours_s)]


def clock_finding(check: str, whose: str, ahead_s: float) -> Finding:
    """What a difference between two clocks means."""
    if abs(ahead_s) < TOLD_S_MIN:
        return ok(check, f"{whose} agrees with this one")
    side = "ahead of" if ahead_s > 0 else "behind"
    found = f"{whose} is {abs(ahead_s):.1f} s {side} this one"
    todo = "set the clocks by NTP: tokens expire, and signatures of servers are refused, by them"
    if abs(ahead_s) > SKEW_S_MAX:
        return failed(check, found, todo)
    if abs(ahead_s) > SKEW_WARNED_S:
        return warning(check, found, todo)
    return ok(check, found)
