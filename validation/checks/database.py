"""Lane `database`: schema, settings and state of a target's Postgres, only read (docs/validation.md 6.4).

What should be there comes from the migrations of this release. Each statement runs in a transaction that can
write nothing, under time limits, and reads the catalogue or a bounded number of rows.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from less_sync.migrations import (
    BOOKKEEPING,
    TABLES,
    Catalog,
    Difference,
    MigrationError,
    Recorded,
    announced,
    begun,
    drift,
    load,
    recorded,
)
from less_sync.validation.context import Context
from less_sync.validation.metrics import read_metrics
from less_sync.validation.outcome import CheckEnd, Faulty, slug
from less_sync.validation.procedure import AtLeast, AtMost, Looser, Parameter, Procedure, Same
from less_sync.validation.queries import Looking, looking

OUR_TABLES: Final = (*TABLES, *sorted(BOOKKEEPING - {"goose_db_version"}))
POOL_AND_LANES: Final = 12
"""Connections of a server with the settings it has by itself (docs/settings.md): ten, and two lanes."""

_OURS: Final = """
FROM pg_class c WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
  AND c.relname = ANY ($1) AND c.relkind IN ('r', 'p')"""
_INDEXES: Final = """
SELECT x.relname AS name, i.indisvalid AND i.indisready AS valid
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relname = ANY ($1)
ORDER BY 1"""
_CONSTRAINTS: Final = """
SELECT k.conname AS name, k.convalidated AS valid
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relname = ANY ($1)
ORDER BY 1"""
_SETTINGS: Final = """
SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('server_encoding') AS encoding,
       current_setting('server_version_num')::int AS version"""
_SET_ELSEWHERE: Final = """
SELECT option FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS option
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND (s.setrole = 0 OR s.setrole IN (
    SELECT c.relowner FROM pg_class c
    WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relname = ANY ($1)
    UNION SELECT oid FROM pg_roles WHERE rolname = $2))
ORDER BY 1"""
_CONNECTIONS: Final = """
SELECT current_setting('max_connections')::int AS allowed,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
       (SELECT sum(numbackends)::int FROM pg_stat_database) AS used,
       d.datconnlimit AS allowed_here, s.numbackends AS used_here
FROM pg_database d JOIN pg_stat_database s ON s.datid = d.oid WHERE d.datname = current_database()"""
_PRIVILEGES: Final = f"""
SELECT c.relname AS name, pg_has_role($2::name, c.relowner, 'USAGE') AS owned {_OURS} ORDER BY 1"""
_MAY_CREATE: Final = "SELECT has_schema_privilege($1::name, current_schema(), 'CREATE') AS may_create"
_ROLE: Final = "SELECT count(*) AS roles FROM pg_roles WHERE rolname = $1"
_AGE: Final = "SELECT age(datfrozenxid) AS transactions FROM pg_database WHERE datname = current_database()"
_DEAD: Final = """
SELECT s.relname AS name, s.n_live_tup AS live, s.n_dead_tup AS dead FROM pg_stat_user_tables s
WHERE s.schemaname = current_schema() AND s.relname = ANY ($1) ORDER BY 1"""


def difference_slug(one: Difference) -> str:
    """The reason of a row that found it, as `schema-differs:records.blob`."""
    if one.kind == "column":
        return slug("schema-differs", one.name)
    shape = re.sub(r"\W+", "-", one.shape).strip("-")
    return slug("schema-differs", one.kind, one.name, *([shape] if shape else []))


def refusal_slug(error: MigrationError) -> str:
    """What a migration would say, as a reason. Its texts name versions and objects, no rows."""
    text = str(error).removeprefix("migration error: ")
    differs = text.removeprefix("schema differs at ")
    if differs != text:
        return slug("schema-differs", re.sub(r"[^\w.]+", "-", differs).strip("-"))
    return slug("refused", re.sub(r"\W+", "-", text.lower()).strip("-"))


async def migrations(context: Context) -> None:
    """The bookkeeping holds exactly what this release's migrations record, checksums included.

    Of production before the switch: but for what `migrate --dry-run` announces.
    """
    known = load()
    before = context.run.stage == "before" and context.check.target == "production"
    async with looking(context) as look:
        seen = await _recorded(look)
        pending: Sequence[int] = ()
        if before:
            try:
                pending = (await announced(look.connection, tables=False)).pending
            except MigrationError as error:
                context.say(f"the dry run refuses: {error}")
    context.say(f"recorded: {seen.versions}; to be applied: {list(pending)}")
    measured = context.measured
    for criterion in ("succeeded", "checksums", "versions"):
        measured.no_samples(criterion)
    for row in seen.shared:
        measured.same("succeeded", True, row.success, slug("not-succeeded", row.version))
    _checksums(context, seen, known)
    for version in known:
        recorded_here = version in seen.versions
        measured.same("versions", version not in pending, recorded_here, slug("missing", version))
    for version in seen.versions:
        measured.same("versions", True, version in known, slug("unknown", version))
    if not before:
        measured.same("versions", "rust", seen.server, "no-shared-history")


def _checksums(context: Context, seen: Recorded, known: Catalog) -> None:
    if seen.server == "go":
        # It records none. Whether its history can be taken over is what `adoptable` is about.
        context.measured.same("checksums", "go", seen.server, "checksum")
    for row in (*seen.shared, *seen.own):
        if row.version in known and row.checksum is not None:
            right = known[row.version].is_recorded_as(row.checksum)
            context.measured.same("checksums", True, right, slug("checksum", row.version))


async def _recorded(look: Looking) -> Recorded:
    """The bookkeeping; its statements stand in the evidence."""
    seen = await recorded(look.connection)
    look.context.evidence.note(f"bookkeeping of the kind {seen.server}: versions {seen.versions}")
    return seen


async def schema(context: Context) -> None:
    """Tables, indexes, constraints and functions are what the recorded migrations leave."""
    async with looking(context) as look:
        seen = await _recorded(look)
        differences = await drift(look.connection, seen.versions)
        counts = await look.row(f"SELECT count(*) AS tables {_OURS}", list(TABLES))
    if not counts["tables"] and not seen.versions:
        context.measured.no_samples("schema")
        return
    for one in differences:
        context.say(f"differs: {one}")
        context.measured.same("schema", "as migrated", str(one), difference_slug(one))
    if not differences:
        context.measured.same("schema", [], differences, "schema-differs")


async def adoptable(context: Context) -> None:
    """This release would take the database over as it is: which rows it would write, and no refusal."""
    async with looking(context) as look:
        half = await begun(look.connection)
        context.measured.same("whole", None, half and half.digest, "half-restored")
        told, refusal, reason = None, "", "refused"
        try:
            told = await announced(look.connection)
        except MigrationError as error:
            refusal, reason = str(error), refusal_slug(error)
    context.measured.same("accepted", "", refusal, reason)
    if told is None:
        context.say(f"it would be refused: {refusal}")
        return
    context.say(f"would record as the Rust server does: {list(told.adopted) or 'nothing'}")
    context.say(f"would apply: {list(told.pending) or 'nothing'}")
    if told.remnant:
        context.say("would remove the row that an early release left behind")
    context.measured.number("adopted_versions", len(told.adopted))
    context.measured.number("pending_versions", len(told.pending))


async def valid(context: Context) -> None:
    """Every index of our tables can be used, every constraint was validated."""
    names = list(OUR_TABLES)
    async with looking(context) as look:
        indexes = await look.rows(_INDEXES, names, told=_names_of_invalid)
        constraints = await look.rows(_CONSTRAINTS, names, told=_names_of_invalid)
    for row in indexes:
        context.measured.same("indexes", True, row["valid"], slug("invalid", row["name"]))
    for row in constraints:
        context.measured.same("constraints", True, row["valid"], slug("not-validated", row["name"]))
    context.measured.no_samples("indexes")
    context.measured.no_samples("constraints")


def _names_of_invalid(rows: list[Any]) -> str:
    bad = [row["name"] for row in rows if not row["valid"]]
    return f"{len(rows)} objects, not valid: {', '.join(bad) or 'none'}"


async def settings(context: Context) -> None:
    """What is acknowledged survives a power cut, text is UTF-8, and there is room for the server."""
    measured = context.measured
    role = context.run.inputs.value("DATABASE_ROLE")
    async with looking(context) as look:
        row = await look.row(_SETTINGS)
        elsewhere = await look.rows(
            _SET_ELSEWHERE, list(TABLES), role, told=lambda rows: ", ".join(map(_named, rows)) or "none"
        )
        connections = await look.row(_CONNECTIONS)
    measured.same("durable", "on", row["fsync"], "fsync")
    measured.same("durable", "on", row["full_page_writes"], "full-page-writes")
    measured.same("durable", False, row["synchronous_commit"] == "off", "synchronous-commit")
    for name in (_named(one) for one in elsewhere):
        measured.same("durable", False, _is_off(name), "synchronous-commit")
    measured.same("encoding", "UTF8", row["encoding"], "encoding")
    measured.number("server_version", row["version"] // 10_000)
    free = connections["allowed"] - connections["reserved"] - connections["used"]
    if connections["allowed_here"] >= 0:
        free = min(free, connections["allowed_here"] - connections["used_here"])
    open_s, wanted = await _pool(context)
    measured.number("free_connections", free + open_s)
    measured.same("pool", "enough", "enough" if free + open_s >= wanted else "short", "connections")


def _named(row: Any) -> str:
    return str(row["option"])


def _is_off(option: str) -> bool:
    name, _, value = option.partition("=")
    return name == "synchronous_commit" and value.lower() in ("off", "false", "no", "0")


async def _pool(context: Context) -> tuple[int, int]:
    """How many connections the running server has open, and how many it may have; by its metrics, if any."""
    if context.target.spec.server != "less-sync":
        return 0, context.number("connections_min")
    try:
        families = await read_metrics(context)
    except CheckEnd as end:
        context.say(f"the server's pool is not known: {end}")
        return 0, context.number("connections_min")
    lanes, connected = families.sum("lanes"), families.sum("lanes", state="connected")
    opened, most = families.sum("pool_open") + connected, families.sum("pool") + lanes
    context.say(f"the server has {opened:.0f} connections open and may have {most:.0f}")
    return int(opened), max(int(most), context.number("connections_min"))


async def privileges(context: Context) -> None:
    """The role that the server connects as owns its tables and may create functions beside them."""
    role = context.run.inputs.value("DATABASE_ROLE")
    async with looking(context) as look:
        if not await look.value(_ROLE, role):
            raise Faulty("no-such-role")
        tables = await look.rows(_PRIVILEGES, list(OUR_TABLES), role, told=_not_owned)
        may_create = await look.value(_MAY_CREATE, role)
    for row in tables:
        context.measured.same("owner", True, row["owned"], slug("not-owner", row["name"]))
    context.measured.no_samples("owner")
    context.measured.same("create", True, may_create, "create")


def _not_owned(rows: list[Any]) -> str:
    others = [row["name"] for row in rows if not row["owned"]]
    return f"{len(rows)} tables, of others: {', '.join(others) or 'none'}"


async def age(context: Context) -> None:
    """The oldest transaction is far from where Postgres stops to write."""
    async with looking(context) as look:
        transactions = await look.value(_AGE)
    context.measured.number("age_transactions", transactions)


async def bloat(context: Context) -> None:
    """Dead rows are cleaned up: their share in each table that has many rows; the highest is judged."""
    async with looking(context) as look:
        tables = await look.rows(_DEAD, list(TABLES), told=_dead_rows)
    least = context.number("table_rows_min")
    large = [row for row in tables if row["live"] + row["dead"] > least]
    # Rounded up: a share above the limit is above it.
    shares = [-(-100 * row["dead"] // (row["live"] + row["dead"])) for row in large]
    context.measured.number("dead_percent", max(shares, default=0), samples=len(tables))
    context.measured.number("large_tables", len(large))


def _dead_rows(rows: list[Any]) -> str:
    told = [f"{row['name']} {row['live']} live, {row['dead']} dead" for row in rows]
    return "; ".join(told)


PROCEDURES: Final[tuple[Procedure, ...]] = (
    Procedure(
        name="migrations",
        lane="database",
        run=migrations,
        description="the recorded migrations are this release's, with their checksums",
        criteria=(Same("succeeded"), Same("checksums"), Same("versions")),
        database=True,
    ),
    Procedure(
        name="drift",
        lane="database",
        run=schema,
        description="tables, indexes, constraints and functions are what the migrations leave",
        criteria=(Same("schema"),),
        database=True,
    ),
    Procedure(
        name="adoptable",
        lane="database",
        run=adoptable,
        description="this release would take the database over as it is",
        criteria=(Same("whole"), Same("accepted")),
        database=True,
    ),
    Procedure(
        name="valid",
        lane="database",
        run=valid,
        description="all indexes are valid, all constraints validated",
        criteria=(Same("indexes"), Same("constraints")),
        database=True,
    ),
    Procedure(
        name="settings",
        lane="database",
        run=settings,
        description="Postgres keeps what it acknowledged, and has room for the server",
        criteria=(
            Same("durable"),
            Same("encoding"),
            AtLeast("server_version", "server_version_min", "server-version"),
            AtLeast("free_connections", "connections_min", "connections"),
            Same("pool"),
        ),
        parameters={
            "server_version_min": Parameter(15, Looser.DOWN),
            "connections_min": Parameter(POOL_AND_LANES, Looser.DOWN),
        },
        database=True,
    ),
    Procedure(
        name="privileges",
        lane="database",
        run=privileges,
        description="the server's role owns its tables and may create functions",
        criteria=(Same("owner"), Same("create")),
        inputs=("DATABASE_ROLE",),
        database=True,
    ),
    Procedure(
        name="age",
        lane="database",
        run=age,
        description="transaction ids are far from running out",
        criteria=(AtMost("age_transactions", "age_transactions_max", "age"),),
        parameters={"age_transactions_max": Parameter(1_500_000_000, Looser.UP)},
        database=True,
    ),
    Procedure(
        name="bloat",
        lane="database",
        run=bloat,
        description="dead rows are cleaned up",
        criteria=(AtMost("dead_percent", "dead_percent_max", "dead-rows"),),
        parameters={
            "dead_percent_max": Parameter(40, Looser.UP),
            "table_rows_min": Parameter(10_000, Looser.UP),
        },
        database=True,
    ),
)
"""The rows that ask the catalogue alone."""
