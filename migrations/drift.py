"""What a database has beside what its migrations should have left, for whoever judges it and changes nothing.

The check before migrating (schema.py) lets pass what a script does not depend on. This one also compares
defaults, constraints, our functions and our indexes, names every difference, and does not ask whether the
history can be trusted: that is another question, with an answer of its own.

Our migrations only add functions and plain indexes, whose scripts are at hand, so what they leave is read off
the scripts: a release with one more migration needs no other list.
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from less_sync.migrations import history
from less_sync.migrations.catalog import SHARED_LAST, Catalog, Migration, load
from less_sync.migrations.connection import Connection
from less_sync.migrations.line import Row, relation_exists
from less_sync.migrations.schema import TABLES, Schema, Table, check, expected, first_difference, snapshot

_FUNCTIONS: Final = r"""
SELECT p.proname AS name, l.lanname AS language, p.provolatile::text AS volatility,
       p.prosecdef AS definer, p.proconfig AS settings, p.prosrc AS text
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = to_regnamespace(quote_ident(current_schema())) AND p.proname LIKE 'lsync\_%'
ORDER BY 1"""
_INDEXES: Final = """
SELECT x.relname AS name, c.relname AS table,
       substring(d.text FROM position(' USING ' IN d.text) + 7) AS shape
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
CROSS JOIN LATERAL (SELECT pg_get_indexdef(i.indexrelid) AS text) d
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND i.indisvalid
  AND x.relname = ANY ($1)
ORDER BY 1"""
_SHARED_ROWS: Final = "SELECT version, installed_on, success, checksum FROM _sqlx_migrations ORDER BY version"
_OWN_ROWS: Final = "SELECT version, applied_at, checksum FROM less_sync_migrations ORDER BY version"
_GO_ROWS: Final = """
SELECT DISTINCT ON (version_id) version_id, is_applied FROM goose_db_version
WHERE version_id >= 1 ORDER BY version_id, id DESC"""

_FUNCTION: Final = re.compile(
    r"^CREATE (?:OR REPLACE )?FUNCTION (?P<name>\w+)\(.*?"
    r"\bLANGUAGE (?P<language>\w+) (?P<head>.*?)\bAS \$(?P<tag>\w*)\$(?P<text>.*?)\$(?P=tag)\$",
    re.MULTILINE | re.DOTALL,
)
_SETTING: Final = re.compile(r"\bSET (\w+) (?:=|TO) (\S+)")
_VOLATILITIES: Final = {"v": "VOLATILE", "s": "STABLE", "i": "IMMUTABLE"}
_INDEX: Final = re.compile(
    r"^CREATE INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?(?P<name>\w+) ON (?P<table>\w+) (?P<shape>[^;]+);",
    re.MULTILINE,
)
_DROPPED: Final = re.compile(r"^DROP (?:FUNCTION|INDEX) (?:CONCURRENTLY )?(?:IF EXISTS )?(\w+)", re.MULTILINE)

Kind = Literal["table", "column", "index", "constraint", "function"]


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One object of the schema that is not as it should be."""

    kind: Kind
    name: str
    """`records`, `records.blob`, `lsync_push_v1`; of indexes and constraints the table."""
    shape: str = ""
    """Of indexes and constraints, as Postgres words it."""

    def __str__(self) -> str:
        if self.kind == "column":
            return self.name
        return f"{self.kind} of {self.name}: {self.shape}" if self.shape else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the bookkeeping says, believed or not."""

    server: Literal["rust", "go", "none"]
    """Whose record of the shared versions it is."""
    shared: tuple[Row, ...]
    """Ascending; those of the Go server that count as applied, without checksum."""
    own: tuple[Row, ...]

    @property
    def versions(self) -> list[int]:
        """All of them, ascending."""
        return [row.version for row in (*self.shared, *self.own)]


@dataclass(frozen=True, slots=True)
class Announced:
    """What `migrate up` would do to a database that it has found trustworthy."""

    adopted: tuple[int, ...]
    """Versions of the Go server's record that it would write into `_sqlx_migrations`."""
    remnant: bool
    """It would first remove the row that an early release left behind."""
    pending: tuple[int, ...]
    """What it would apply."""


async def recorded(connection: Connection) -> Recorded:
    """Read the bookkeeping as it stands; nothing of it is refused."""
    own: list[Row] = []
    if await relation_exists(connection, "less_sync_migrations"):
        rows = await connection.fetch(_OWN_ROWS)
        own = [Row(r["version"], r["applied_at"], True, r["checksum"]) for r in rows]
    if await relation_exists(connection, "_sqlx_migrations"):
        rows = await connection.fetch(_SHARED_ROWS)
        shared = [Row(r["version"], r["installed_on"], r["success"], r["checksum"]) for r in rows]
        return Recorded("rust", tuple(shared), tuple(own))
    if await relation_exists(connection, "goose_db_version"):
        rows = await connection.fetch(_GO_ROWS)
        applied = [Row(r["version_id"], None, True, None) for r in rows if r["is_applied"]]
        return Recorded("go", tuple(applied), tuple(own))
    return Recorded("none", (), tuple(own))


async def announced(
    connection: Connection, *, tables: bool = True, catalog: Catalog | None = None
) -> Announced:
    """What the dry run of `migrate up` would announce; takes no lock, changes nothing.

    Args:
        tables: False: believe the history without comparing the tables with it.

    Raises:
        MigrationError: it would be refused (docs/storage.md 11.1).
    """
    known = load() if catalog is None else catalog
    past = await history.read(connection, known)
    if tables:
        await check(connection, past.shared_last)
    return Announced(
        adopted=tuple(past.applied) if past.adopt else (),
        remnant=past.remnant,
        pending=tuple(version for version in known if version not in past.applied),
    )


async def drift(
    connection: Connection,
    versions: Collection[int],
    *,
    catalog: Catalog | None = None,
    additions: bool = False,
) -> list[Difference]:
    """Every difference between a database and what exactly these migrations leave; sorted by kind and name.

    Versions that no migration of this release has are left out. Constraints that were not validated, and
    indexes that are not valid, are compared by what they would be: whether they are is another question.

    Args:
        additions: plain indexes that no migration made are differences too, as what a script left behind is.
    """
    known = load() if catalog is None else catalog
    applied = [version for version in known if version in versions]
    wanted = expected(max((version for version in applied if version <= SHARED_LAST), default=0))
    found = await snapshot(connection)
    own = [known[version] for version in applied if not known[version].shared]
    differences = {
        *_tables(found, wanted),
        *await _functions(connection, own),
        *await _indexes(connection, own, known),
    }
    if additions:
        differences |= _added(found, wanted, own)
    if not differences:
        assert first_difference(found, wanted) is None, "what refuses a migration is drift too"
    return sorted(differences)


def _tables(found: Schema, wanted: Schema) -> Iterator[Difference]:
    for table in TABLES:
        if (table in found) != (table in wanted):
            yield Difference("table", table)
        elif table in found:
            yield from _table(table, found[table], wanted[table])


def _table(table: str, found: Table, wanted: Table) -> Iterator[Difference]:
    for column in found["columns"].keys() | wanted["columns"].keys():
        if found["columns"].get(column) != wanted["columns"].get(column):
            yield Difference("column", f"{table}.{column}")
    for shape in set(found["indexes"]) ^ set(wanted["indexes"]):
        if shape in wanted["indexes"] or shape.startswith(("primary key ", "unique ")):
            yield Difference("index", table, shape)
    here = {shape.removesuffix(" NOT VALID") for shape in found["constraints"]}
    for shape in here ^ set(wanted["constraints"]):
        yield Difference("constraint", table, shape)


def _added(found: Schema, wanted: Schema, own: list[Migration]) -> set[Difference]:
    """Plain indexes that are neither a shared migration's nor one of ours."""
    ours = {_words(shape) for _, shape in _own_indexes(own).values()}
    return {
        Difference("index", table, shape)
        for table in found.keys() & wanted.keys()
        for shape in found[table]["indexes"]
        if shape not in wanted[table]["indexes"] and _words(shape.removeprefix("btree ")) not in ours
    }


async def _functions(connection: Connection, own: list[Migration]) -> Iterator[Difference]:
    """Those that are missing, that nobody made, and whose text, language or settings are others."""
    wanted: dict[str, bytes] = {}
    for migration in own:
        for dropped in _DROPPED.findall(migration.up):
            wanted.pop(dropped, None)
        wanted |= {
            match["name"]: _digest(match["language"], match["head"], _SETTING.findall(match["head"]), match)
            for match in _FUNCTION.finditer(migration.up)
        }
    rows = await connection.fetch(_FUNCTIONS)
    found: dict[str, set[bytes]] = {}
    for row in rows:
        found.setdefault(row["name"], set()).add(_digest_of_row(dict(row)))
    names = sorted(wanted.keys() | found.keys())
    return (
        Difference("function", name)
        for name in names
        if found.get(name) != ({wanted[name]} if name in wanted else None)
    )


def _digest(language: str, head: str, settings: list[tuple[str, str]], match: re.Match[str]) -> bytes:
    volatility = next(
        (word for word in _VOLATILITIES.values() if re.search(rf"\b{word}\b", head)), "VOLATILE"
    )
    definer = bool(re.search(r"\bSECURITY DEFINER\b", head))
    return _digest_of(
        language, volatility, definer, {f"{name}={value}" for name, value in settings}, match["text"]
    )


def _digest_of_row(row: dict[str, object]) -> bytes:
    settings = row["settings"]
    assert settings is None or isinstance(settings, list)
    # The search path is the deployment's own: each script takes over what it was run with.
    kept = {one for one in settings or () if not one.startswith("search_path=")}
    return _digest_of(
        str(row["language"]),
        _VOLATILITIES[str(row["volatility"])],
        row["definer"] is True,
        kept,
        str(row["text"]),
    )


def _digest_of(language: str, volatility: str, definer: bool, settings: set[str], text: str) -> bytes:
    parts = (language, volatility, "definer" if definer else "invoker", *sorted(settings), text)
    return hashlib.sha256("\0".join(parts).encode()).digest()


async def _indexes(connection: Connection, own: list[Migration], known: Catalog) -> Iterator[Difference]:
    """Those of our migrations: missing, of another shape, or left behind by one that is not applied."""
    wanted = _own_indexes(own)
    ever = _own_indexes([one for one in known.values() if not one.shared], dropped=False)
    rows = await connection.fetch(_INDEXES, sorted(ever))
    found = {row["name"]: (row["table"], row["shape"]) for row in rows}
    return (
        Difference("index", (wanted.get(name) or found[name])[0], name)
        for name in sorted(wanted.keys() | found.keys())
        if not _alike(wanted.get(name), found.get(name))
    )


def _own_indexes(own: list[Migration], *, dropped: bool = True) -> dict[str, tuple[str, str]]:
    """(table, shape as its script words it) by name."""
    indexes: dict[str, tuple[str, str]] = {}
    for migration in own:
        for name in _DROPPED.findall(migration.up) if dropped else ():
            indexes.pop(name, None)
        indexes |= {
            match["name"]: (match["table"], match["shape"]) for match in _INDEX.finditer(migration.up)
        }
    return indexes


def _alike(wanted: tuple[str, str] | None, found: tuple[str, str] | None) -> bool:
    if wanted is None or found is None:
        return wanted is found
    return wanted[0] == found[0] and _words(wanted[1]) == _words(found[1].removeprefix("btree "))


def _words(shape: str) -> str:
    """Without what Postgres adds to a definition when it prints it: brackets, blanks, capitals."""
    return re.sub(r"[\s()]+", " ", shape.replace("USING btree", "")).strip().lower()
