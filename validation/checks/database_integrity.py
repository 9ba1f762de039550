"""What the rows of a database must agree on among themselves (docs/storage.md 1.2), looked at within bounds.

Spaces are taken in the order of their ids: all of them, or, where there are more than `work_limit_rows`, as
many from a place that the run's id decides. What belongs to a space is found by its indexes. Each statement
is one snapshot, so a push in the middle is no fault.
"""

from typing import Any, Final
from uuid import UUID

from less_sync.migrations import recorded
from less_sync.validation.context import Context
from less_sync.validation.outcome import Blocked
from less_sync.validation.procedure import Looser, Parameter, Procedure, Same
from less_sync.validation.queries import IDS_SHOWN_MAX, INDEX_SCANS, Looking, looking

UNIFIED_CURSOR: Final = 10
"""The migration before which members and files have no cursor, so that there is nothing to compare."""
FIRST: Final = UUID(int=0)

_SPACES: Final = "SELECT count(*) FROM (SELECT FROM spaces WHERE id >= $1 ORDER BY id LIMIT $2) s"
_SOME: Final = "(SELECT id, cursor, metadata_version FROM spaces WHERE id >= $1 ORDER BY id LIMIT $2) s"
_ABOVE: Final = {
    table: f"""
SELECT s.id FROM {_SOME} CROSS JOIN LATERAL (
  SELECT FROM {table} r WHERE r.space_id = s.id AND r.cursor > s.cursor LIMIT 1) r
LIMIT {IDS_SHOWN_MAX}"""
    for table in ("records", "members", "files")
}
"""Spaces that own a row beyond their cursor, by table."""
_WITHOUT: Final = {
    table: f"""
SELECT s.id FROM {_SOME} CROSS JOIN LATERAL (
  SELECT FROM {table} r WHERE r.space_id = s.id AND r.cursor <= 0 LIMIT 1) r
LIMIT {IDS_SHOWN_MAX}"""
    for table in ("records", "members", "files")
}
_TWICE: Final = {
    "records": f"""
SELECT id FROM (SELECT id FROM records WHERE id >= $1 ORDER BY id LIMIT $2) r
GROUP BY id HAVING count(*) > 1 LIMIT {IDS_SHOWN_MAX}""",
    "files": f"""
SELECT id FROM (SELECT space_id, id FROM files WHERE space_id >= $1 ORDER BY space_id, id LIMIT $2) f
GROUP BY space_id, id HAVING count(*) > 1 LIMIT {IDS_SHOWN_MAX}""",
}
_ROWS: Final = {
    table: f"SELECT count(*) FROM (SELECT FROM {table} LIMIT $1) r" for table in ("records", "files")
}
_FILES: Final = f"""
SELECT f.id FROM (
  SELECT space_id, id, record_id, deleted FROM files WHERE space_id >= $1 ORDER BY space_id, id LIMIT $2) f
LEFT JOIN LATERAL (SELECT r.space_id FROM records r WHERE r.id = f.record_id LIMIT 1) r ON true
WHERE NOT f.deleted AND r.space_id IS DISTINCT FROM f.space_id LIMIT {IDS_SHOWN_MAX}"""
_CHAINS: Final = f"""
SELECT s.id, s.metadata_version = m.last AS whole, m.sound, m.entries
FROM (SELECT s.* FROM {_SOME}
      WHERE s.metadata_version > 0 OR EXISTS (SELECT FROM members m WHERE m.space_id = s.id)
      ORDER BY id LIMIT $3) s
CROSS JOIN LATERAL (
  SELECT count(*) AS entries, coalesce(max(e.chain_seq), 0) AS last,
         coalesce(bool_and(e.chain_seq = e.place AND e.hashed
           AND nullif(e.prev_hash, '') IS NOT DISTINCT FROM e.before), true) AS sound
  FROM (SELECT x.chain_seq, x.prev_hash, sha256(x.payload) = x.entry_hash AS hashed,
               row_number() OVER w AS place, lag(x.entry_hash) OVER w AS before
        FROM (SELECT * FROM members y WHERE y.space_id = s.id ORDER BY y.chain_seq LIMIT $4) x
        WINDOW w AS (ORDER BY x.chain_seq)) e) m"""
_PRIMARIES: Final = "SELECT count(*) AS primary_keys FROM federation_signing_keys WHERE is_primary"
_HAS_KEYS: Final = (
    "SELECT to_regclass(quote_ident(current_schema()) || '.federation_signing_keys') IS NOT NULL AS keys"
)


async def integrity(context: Context) -> None:
    """Cursors, identities, references, membership logs and the signing key are as writers leave them."""
    limit = context.number("work_limit_rows")
    async with looking(context) as look:
        last = max((row.version for row in (await recorded(look.connection)).shared), default=0)
        if last < UNIFIED_CURSOR:
            raise Blocked("needs-migration", UNIFIED_CURSOR)
        await look.set_off(("enable_seqscan",))
        start = await _start(context, look, limit)
        if start is None:
            for criterion in CRITERIA:
                context.measured.no_samples(criterion)
            return
        for table, sql in _ABOVE.items():
            await _none(look, "cursors", sql, f"cursor-above:{table}", start, limit)
        for table, sql in _WITHOUT.items():
            await _none(look, "without-cursor", sql, f"without-cursor:{table}", start, limit)
        await _none(look, "references", _FILES, "file-without-record", start, limit)
        await _chains(context, look, start, limit)
        keys = await look.value(_PRIMARIES) if await look.value(_HAS_KEYS) else 0
        context.measured.same("primary-key", True, keys <= 1, "primary-keys")
        for table, sql in _TWICE.items():
            await _once_each(look, table, sql, start, limit)


async def _start(context: Context, look: Looking, limit: int) -> UUID | None:
    """The first space to be looked at; None when there is none."""
    everything = await look.value(_SPACES, FIRST, limit + 1)
    start, count = FIRST, everything
    if everything > limit:
        start = context.stream.uuid()
        count = await look.value(_SPACES, start, limit)
        if count < limit // 2:
            start, count = FIRST, limit
    context.measured.number("spaces", count)
    context.say(f"{count} spaces are looked at{'' if everything <= limit else ', not all'}")
    return start if count else None


async def _none(look: Looking, criterion: str, sql: str, reason: str, *args: object) -> None:
    """Measure that a query finds nothing; what it finds is told by markers."""
    rows = await look.rows(sql, *args, told=lambda rows: _told(look, rows))
    if rows:
        look.context.say(f"{reason}: {_told(look, rows)}")
    look.context.measured.same(criterion, 0, len(rows), reason)


def _told(look: Looking, rows: list[Any]) -> str:
    more = " or more" if len(rows) == IDS_SHOWN_MAX else ""
    return f"{len(rows)}{more} {look.markers([row['id'] for row in rows])}".strip()


async def _chains(context: Context, look: Looking, start: UUID, limit: int) -> None:
    """Positions 1, 2, 3 ..., each entry's hash that of its payload, and each with the hash before it."""
    spaces = context.number("chain_spaces")
    entries = max(1, limit // max(1, spaces))
    rows = await look.rows(
        _CHAINS, start, limit, spaces, entries, told=lambda rows: f"{len(rows)} membership logs"
    )
    broken = [row for row in rows if not row["sound"]]
    # Of a log that was cut at its bound the length is not known.
    short = [row for row in rows if row["entries"] < entries and not row["whole"]]
    if broken or short:
        context.say(f"broken: {_told(look, broken)}; of another length: {_told(look, short)}")
    context.measured.number("chains", len(rows))
    context.measured.same("chains", 0, len(broken), "chain:broken")
    context.measured.same("chains", 0, len(short), "chain:length")


async def _once_each(look: Looking, table: str, sql: str, start: UUID, limit: int) -> None:
    """No identity has two rows.

    A small table is read itself: the index that should forbid it may not hold the second.
    """
    small = await look.value(_ROWS[table], limit + 1) <= limit
    if small:
        await look.set_on(("enable_seqscan",))
        await look.set_off(INDEX_SCANS)
    await _none(look, "once", sql, f"twice:{table}", FIRST if small else start, limit)
    if small:
        await look.set_on(INDEX_SCANS)
        await look.set_off(("enable_seqscan",))


CRITERIA: Final = ("cursors", "without-cursor", "references", "chains", "primary-key", "once")

PROCEDURES: Final[tuple[Procedure, ...]] = (
    Procedure(
        name="integrity",
        lane="database",
        run=integrity,
        description="rows agree with each other: cursors, identities, references, logs, keys",
        criteria=tuple(Same(name) for name in CRITERIA),
        parameters={
            "work_limit_rows": Parameter(100_000, Looser.DOWN),
            "chain_spaces": Parameter(200, Looser.DOWN),
        },
        database=True,
    ),
)
"""The row that reads people's tables."""
