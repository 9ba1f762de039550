"""The backup to judge by: new enough, whole, restorable, and served as its rows say (docs/validation.md 6.4).

It is restored into scratch once. What is in it is compared with its manifest before and after, by code of the
judge's own: the command that restores compares too, and is among the judged.
"""

import hashlib
import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg

from less_sync.migrations import COPY_SETTINGS, Connection, copy_query
from less_sync.sync.protocol.messages import PullRecord
from less_sync.validation.backup_folder import (
    CONTENTS,
    Backup,
    NoBackup,
    contents_of,
    newest,
    parsed,
    strangers,
    table_tally,
    tally,
)
from less_sync.validation.checks.backup_objects import PROCEDURES as OBJECTS
from less_sync.validation.checks.backup_paths import PROCEDURES as PATHS
from less_sync.validation.context import Context
from less_sync.validation.evidence import Evidence
from less_sync.validation.hooks import hook, words_of
from less_sync.validation.outcome import Blocked, Faulty, slug
from less_sync.validation.procedure import AtMost, Looser, Parameter, Procedure, Same
from less_sync.validation.reading import NotAReport, content
from less_sync.validation.results import Backup as BackupFacts
from less_sync.validation.results import NotADocument, read_document, time_of
from less_sync.validation.scratch import Restored
from less_sync.validation.scratch_databases import connected
from less_sync.validation.scratch_server import ScratchServer
from less_sync.validation.spaces import ALL, Space, measure_records, pull, record

FUTURE_MAX: Final = timedelta(minutes=5)
"""By which a backup may be newer than this machine's clock."""
NAMED_MAX: Final = 20
"""Files that the log names one by one."""
RECORDS_PER_SPACE_MAX: Final = 5_000
"""A space with more is none of the sample: what is compared is held in memory."""

_PERSONAL: Final = """
SELECT s.id FROM spaces s
WHERE s.root_public_key IS NULL AND s.home_server IS NULL AND s.id >= $1 AND s.cursor > 0
AND s.id NOT BETWEEN '6c657373-7379-8e63-8000-000000000000' AND '6c657373-7379-8e63-bfff-ffffffffffff'
AND EXISTS (SELECT FROM records r WHERE r.space_id = s.id AND NOT r.deleted)
AND (SELECT count(*) FROM (SELECT FROM records r WHERE r.space_id = s.id LIMIT $3) n) < $3
ORDER BY s.id LIMIT $2"""
"""Those of one person each; not the ones in which servers watch themselves (docs/operations.md 12.4)."""
_RECORDS: Final = """
SELECT id, cursor, blob, wrapped_dek, deleted FROM records WHERE space_id = $1 AND cursor > 0"""
_IDENTITY: Final = """
SELECT current_database() AS name,
       CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier::text FROM pg_control_system()) END AS system"""


async def _judged(context: Context) -> Backup:
    """The backup that is asked about: of `BACKUP_DIR`, or as a command tells of one of other origin.

    Raises:
        Blocked: `input:BACKUP_DIR`.
        Faulty: `no-backup`, `incomplete`, `damaged`, `unreadable`, `format`.
    """
    place = context.run.inputs.value("BACKUP_DIR")
    folder = context.run.scratch.plan.backup if place is None else Path(place)
    if folder is None:
        raise Blocked("input", "BACKUP_DIR")
    try:
        if context.text("kind") != "command":
            return newest(folder)
        ran = await hook(context, words_of(context.text("command")))
        if ran.status != 0:
            raise Faulty("command-status", ran.status % 256)
        return parsed(ran.output, folder)
    except NoBackup as error:
        raise Faulty(error.reason).saying(error.words) from None


async def backup_fresh(context: Context) -> None:
    """The newest finished backup is of this database, and new enough."""
    backup = await _judged(context)
    manifest, measured = backup.manifest, context.measured
    age = datetime.now(UTC) - manifest.created
    age_s = max(0, int(age.total_seconds()))
    context.run.facts["backup"] = BackupFacts(backup.raw_sha256, manifest.created_at, age_s)
    context.say(f"backup of {manifest.created_at}, finished {manifest.finished_at}")
    measured.same("backup", True, backup.seal_holds, "seal")
    measured.same("backup", True, age > -FUTURE_MAX, "from-the-future")
    measured.number("age_h", max(0, math.ceil(age / timedelta(hours=1))))
    production = context.run.targets.get("production")
    if production is not None and production.database_url is not None:
        async with production.database(context) as connection:
            row = await connection.fetchrow(_IDENTITY)
        assert row is not None
        if row["system"] is None or not manifest.database.system_identifier:
            raise Blocked("privilege", "pg_control_system")
        told = (manifest.database.system_identifier, manifest.database.name)
        measured.same("backup", (row["system"], row["name"]), told, "other-database")
    elif context.run.kind != "selfhost":
        raise Blocked("input", "PROD_DATABASE_URL")
    if context.run.kind == "decommission":
        measured.same("backup", True, manifest.created >= _switched(context), "before-the-switch")


def _switched(context: Context) -> datetime:
    """When the incumbent had certainly written its last: the end of the run that saw the switch."""
    report = context.text("report")
    if not report:
        raise Blocked("input", "report")
    try:
        return time_of(read_document(content(Path(report), "results.json")).run.finished_at)
    except (NotAReport, NotADocument, ValueError):
        raise Faulty("report") from None


async def backup_verified(context: Context) -> None:
    """Every file of the backup is as its manifest says, and there are no others."""
    backup = await _judged(context)
    manifest, measured = backup.manifest, context.measured
    measured.same("files", True, backup.seal_holds, "seal")
    measured.same("files", manifest.contents, contents_of(manifest), "counts")
    good = 0
    named: list[str] = []
    for file in manifest.files:
        found = await tally(backup, file)
        if found is not None and (found.bytes, found.sha256) == (file.bytes, file.sha256):
            good += 1
            continue
        # A content's path is ids of somebody's rows.
        name = "contents" if file.path.startswith(CONTENTS) else file.path
        reason = slug("file-missing" if found is None else "file-differs", name)
        measured.same("files", file, found, reason)
        named.append(reason)
    others = await strangers(backup)
    measured.same("files", 0, len(others), "unknown-file")
    measured.same("files", len(manifest.files), good, "files")
    measured.number("files", good)
    measured.number("bytes", sum(file.bytes for file in manifest.files))
    for reason in named[:NAMED_MAX]:
        context.say(reason)
    context.say(f"{good} of {len(manifest.files)} files are as the manifest says, {len(others)} unknown")


async def backup_restores(context: Context) -> None:
    """What is restored is what the manifest tells of, and a candidate on it serves people their spaces."""
    scratch, measured = context.run.scratch, context.measured
    backup = await scratch.backup()
    measured.same("rows", True, backup.seal_holds, "seal")
    for table in backup.manifest.tables:
        found = await table_tally(backup, table)
        seen = None if found is None else (found.lines, found.sha256)
        measured.same("rows", (table.rows, table.sha256), seen, slug("rows-differ", table.name))
    if any(pair.wanted != pair.seen for pair in measured.pairs.get("rows", ())):
        context.say("the backup is not what its manifest tells of, so it was not restored")
        return
    restored = await scratch.restored(context.say)
    measured.number("restore_ms", restored.restore_ms)
    await _compare_rows(context, restored)
    async with scratch.copy(restored) as copy, scratch.candidate(copy, context.say) as server:
        await _compare_spaces(context, server)


async def _compare_rows(context: Context, restored: Restored) -> None:
    """Each table of the restored database beside the manifest, in the order in which backups have it."""
    manifest = restored.backup.manifest
    async with connected(restored.url, settings=COPY_SETTINGS) as connection:
        for table in manifest.tables:
            seen = await _rows(connection, table.name, table.columns)
            reason = slug("rows-differ", table.name)
            context.measured.same("rows", (table.rows, table.sha256), seen, reason)
    context.measured.number("rows", sum(table.rows for table in manifest.tables))
    context.evidence.note(f"{len(manifest.tables)} tables of the restored database read and compared")


async def _rows(connection: Connection, name: str, columns: tuple[str, ...]) -> tuple[int, str] | None:
    sink = _Sink()
    try:
        await connection.copy_from_query(copy_query(name, columns), output=sink.add, format="text")
    except (KeyError, asyncpg.PostgresError):
        return None
    return sink.lines, sink.hash.hexdigest()


@dataclass(slots=True)
class _Sink:
    lines: int = 0
    hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    async def add(self, data: bytes) -> None:
        self.lines += data.count(b"\n")
        self.hash.update(data)


async def _compare_spaces(context: Context, server: ScratchServer) -> None:
    """Some people's own spaces, pulled as they would, beside the rows."""
    count = context.number("spaces")
    async with server.target.database(context) as connection:
        start = context.stream.uuid()
        limits = (count, RECORDS_PER_SPACE_MAX)
        found = [row["id"] for row in await connection.fetch(_PERSONAL, start, *limits)]
        if len(found) < count:
            more = [row["id"] for row in await connection.fetch(_PERSONAL, UUID(int=0), *limits)]
            found += [space for space in more if space not in found][: count - len(found)]
        rows = {space: await connection.fetch(_RECORDS, space) for space in found}
    context.say(f"{len(found)} personal spaces sampled")
    if not found:
        context.measured.no_samples("served")
    # Their frames hold ids of people's rows, which are nobody's business in a report.
    quiet = replace(context, evidence=Evidence())
    for number, (space, records) in enumerate(rows.items(), 1):
        person = context.run.scratch.person(f"sampled {number}", personal_space_id=str(space))
        async with quiet.converse(person, target=server.target) as conversation:
            listed = (await pull(conversation, Space(space), ALL)).records
        wanted = [_record(Space(space), row) for row in records]
        measure_records(context.measured, "served", wanted, listed)
        context.evidence.note(f"personal space {number}: {len(wanted)} records pulled and compared")


def _record(space: Space, row: Any) -> PullRecord:
    blob = None if row["deleted"] else row["blob"]
    return record(space, row["id"], blob, row["cursor"], dek=row["wrapped_dek"])


_KIND: Final = {"kind": Parameter("folder", Looser.ANY), "command": Parameter("", Looser.NEVER)}
"""`command`: of other origin; the command prints its manifest."""

PROCEDURES: Final = (
    Procedure(
        "backup-fresh",
        "database",
        backup_fresh,
        "the newest backup is finished, of this database and new enough",
        (Same("backup"), AtMost("age_h", "age_h", "too-old")),
        parameters={**_KIND, "age_h": Parameter(24, Looser.UP), "report": Parameter("", Looser.NEVER)},
    ),
    Procedure(
        "backup-verified",
        "database",
        backup_verified,
        "every file of the backup is as its manifest says",
        (Same("files"),),
        parameters=_KIND,
        timeout_s=900,
    ),
    Procedure(
        "backup-restores",
        "database",
        backup_restores,
        "the backup is restored row by row, and a candidate serves it",
        (Same("rows"), Same("served")),
        parameters={"spaces": Parameter(5, Looser.DOWN)},
        timeout_s=900,
        exclusive=("scratch",),
    ),
    *PATHS,
    *OBJECTS,
)
