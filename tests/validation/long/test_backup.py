"""The backup to judge by: each damage turns exactly the row red that looks for it."""

import gzip
import hashlib
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import obstore
import pytest
from obstore.store import S3Store

from less_sync.bins.backup.manifest import (
    DatabaseEntry,
    Manifest,
    hash_file,
    read_manifest,
    timestamp,
)
from less_sync.migrations import Loss
from less_sync.validation.catalogue import CATALOGUE
from less_sync.validation.manifest import built_in, declared
from less_sync.validation.matrix import TargetSpec
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.scratch import Scratch
from less_sync.validation.targets import Target
from tests.conftest import DatabaseServer
from tests.validation.long.conftest import Newer
from tests.validation.release import DOWN, UP
from tests.validation.scratches import outcome, plan, row, run_of
from tests.weed import S3Server

FAULTED: Final = frozenset(
    {
        *("backup-fresh", "backup-verified", "backup-restores", "objects"),
        *("upgrade-path", "downgrade-path"),
    }
)
"""Procedures that have a fault here."""


def failed(reason: str) -> Outcome:
    return Outcome(Status.FAILED, reason)


@pytest.fixture
def backup(made_backup: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(made_backup, tmp_path / "backup"))


def resealed(folder: Path, **changes: Any) -> None:
    """Change what a manifest says, as if it had been made so."""
    manifest: Manifest = replace(read_manifest(folder), **changes)
    (folder / "manifest.json").write_bytes(manifest.sealed().encoded())


def old(folder: Path) -> None:
    resealed(folder, created_at=timestamp(datetime.now(UTC) - timedelta(hours=30)))


def of_tomorrow(folder: Path) -> None:
    resealed(folder, created_at=timestamp(datetime.now(UTC) + timedelta(hours=30)))


def unfinished(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"finished_at":', '"finished":'))


def edited(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"highest_cursor":', '"highest_cursor":1'))


def truncated(folder: Path) -> None:
    path = folder / "tables/records.copy.gz"
    path.write_bytes(path.read_bytes()[:-20])


def content_changed(folder: Path) -> None:
    path = next(path for path in (folder / "contents").rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def content_gone(folder: Path) -> None:
    next(path for path in (folder / "contents").rglob("*") if path.is_file()).unlink()


def stranger(folder: Path) -> None:
    (folder / "tables/more").touch()


def a_row_missing(folder: Path) -> None:
    """A row less in a table, and the file's own digest made to fit: only who counts rows can tell."""
    path = folder / "tables/records.copy.gz"
    path.write_bytes(gzip.compress(b"".join(gzip.decompress(path.read_bytes()).splitlines(True)[1:])))
    entry = hash_file(path)
    files = tuple(
        replace(file, bytes=entry.bytes, sha256=entry.sha256)
        if file.path.startswith("tables/records")
        else file
        for file in read_manifest(folder).files
    )
    resealed(folder, files=files)


def a_row_changed(folder: Path) -> None:
    """As many rows, and the sums of the file made to fit: the database and the manifest's text differ."""
    path = folder / "tables/records.copy.gz"
    text = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(text[:-10] + (b"0" if text[-10:-9] != b"0" else b"1") + text[-9:]))
    entry = hash_file(path)
    files = tuple(
        replace(file, bytes=entry.bytes, sha256=entry.sha256)
        if file.path.startswith("tables/records")
        else file
        for file in read_manifest(folder).files
    )
    resealed(folder, files=files)


RESTORING: Final = ("backup-restores", "objects", "upgrade-path")
"""Rows of the lane that restore, in the order of a run. Each needs `backup-verified`, and the first one."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is done to a backup, and what becomes of one check; `also` turn red with it, for these reasons."""

    procedure: str
    make: Callable[[Path], None]
    reason: str
    also: Mapping[str, str] = field(default_factory=dict)


FAULTS: Final = [
    Damage("backup-fresh", old, "too-old"),
    Damage("backup-fresh", of_tomorrow, "from-the-future"),
    # Without an end it is no backup, and whoever has changed it may have changed all of it.
    Damage("backup-fresh", unfinished, "incomplete", {"backup-verified": "incomplete"}),
    Damage("backup-fresh", edited, "seal", {"backup-verified": "seal"}),
    Damage("backup-verified", truncated, "file-differs:tables/records.copy.gz"),
    Damage("backup-verified", content_changed, "file-differs:contents"),
    Damage("backup-verified", content_gone, "file-missing:contents"),
    Damage("backup-verified", stranger, "unknown-file"),
    Damage("backup-verified", edited, "seal", {"backup-fresh": "seal"}),
    Damage("backup-restores", a_row_missing, "rows-differ:records"),
    Damage("backup-restores", a_row_changed, "rows-differ:records"),
]


@pytest.mark.parametrize("damage", FAULTS, ids=[f"{one.procedure}-{one.make.__name__}" for one in FAULTS])
async def test_a_damaged_backup_turns_the_row_red_that_looks_for_it_and_no_other(
    database_server: DatabaseServer, backup: Path, tmp_path: Path, damage: Damage
) -> None:
    damage.make(backup)
    # Nothing is restored of a backup that is not whole: those rows are blocked by what they need.
    whole = damage.procedure == "backup-fresh" and not damage.also
    names = ["backup-fresh", "backup-verified", *(RESTORING if whole else ())]
    async with Scratch(plan(tmp_path, backup=backup, database_url=database_server.url)) as scratch:
        run = run_of(scratch)
        assert await outcome(run, damage.procedure) == failed(damage.reason)
        for other in names:
            if other != damage.procedure:
                reason = damage.also.get(other)
                assert await outcome(run, other) == (failed(reason) if reason else PASSED), other


def test_what_restores_needs_a_backup_that_is_whole() -> None:
    declared_rows = declared(
        built_in("selfhost"), "selfhost.toml", catalogue=CATALOGUE, environment={}, base=built_in
    ).checks
    needs = {one.id: frozenset(one.needs) for one in declared_rows}
    ids = {one.procedure.name: one.id for one in declared_rows}
    assert ids["backup-verified"] in needs[ids["backup-restores"]]
    for name in ("objects", "upgrade-path", "incumbent-opens"):
        assert ids["backup-restores"] in needs[ids[name]], name
    assert ids["upgrade-path"] in needs[ids["downgrade-path"]]


async def test_a_good_backup_passes_and_is_told_of_in_the_report(session_scratch: Scratch) -> None:
    run = run_of(session_scratch)
    assert await outcome(run, "backup-fresh") == PASSED
    verified = await row(run, "backup-verified")
    assert verified.outcome == PASSED
    assert verified.measured.shown["files"] >= 14  # eight tables and six contents
    restores = await row(run, "backup-restores")
    assert restores.outcome == PASSED
    assert restores.measured.shown["restore_ms"] > 0
    assert run.facts.keys() == {"backup"}
    restored = await session_scratch.restored(print)
    ids = [path.name for path in restored.files.rglob("*") if path.is_file()]
    told = restores.evidence + "\n".join(restores.lines)
    assert ids
    assert not [one for one in ids if one in told]
    assert str(session_scratch.plan.parent) not in told


async def test_a_backup_without_a_personal_space_gives_no_data(
    database_server: DatabaseServer, database_url: str, tmp_path: Path
) -> None:
    async with Scratch(plan(tmp_path)) as scratch:
        variables = scratch.store_variables(tmp_path / "files")
        ran = await scratch.less_sync(("backup", str(tmp_path / "backup")), database_url, variables, print)
        assert ran.status == 0
    made = plan(tmp_path, backup=tmp_path / "backup", database_url=database_server.url)
    async with Scratch(made) as scratch:
        run = run_of(scratch)
        assert await outcome(run, "backup-restores") == Outcome(Status.BLOCKED, "no-data")
        assert await outcome(run, "objects") == PASSED  # of somebody who stores no files


def production(url: str) -> dict[str, Target]:
    spec = TargetSpec("production", "http://127.0.0.1:1", input="PROD_BASE_URL")
    return {"production": Target(spec, spec.base_url, url)}


async def test_a_backup_of_another_database_is_not_this_ones(
    session_scratch: Scratch, database_url: str, backup: Path, tmp_path: Path
) -> None:
    async with Scratch(plan(tmp_path, backup=backup)) as scratch:
        run = run_of(scratch, kind="upgrade", targets=production(database_url))
        assert await outcome(run, "backup-fresh") == failed("other-database")
        was = read_manifest(backup).database
        name = database_url.rpartition("?")[0].rpartition("/")[2]
        resealed(backup, database=DatabaseEntry(was.system_identifier, name, was.server_version_num))
        assert await outcome(run, "backup-fresh") == PASSED
        resealed(backup, database=DatabaseEntry("1", name, was.server_version_num))
        assert await outcome(run, "backup-fresh") == failed("other-database")
        resealed(backup, database=DatabaseEntry("", name, was.server_version_num))
        blocked = Outcome(Status.BLOCKED, "privilege:pg_control_system")
        assert await outcome(run, "backup-fresh") == blocked


async def test_without_production_only_one_machine_judges_a_backup_by_its_age(
    tmp_path: Path, backup: Path
) -> None:
    async with Scratch(plan(tmp_path, backup=backup)) as scratch:
        run = run_of(scratch, kind="upgrade")
        assert await outcome(run, "backup-fresh") == Outcome(Status.BLOCKED, "input:PROD_DATABASE_URL")
        assert await outcome(run_of(scratch), "backup-fresh") == PASSED


async def test_without_a_backup_nothing_that_needs_one_is_tried(tmp_path: Path) -> None:
    async with Scratch(plan(tmp_path)) as scratch:
        for name in sorted(FAULTED):
            assert await outcome(run_of(scratch), name) == Outcome(Status.BLOCKED, "input:BACKUP_DIR"), name
    async with Scratch(plan(tmp_path, backup=tmp_path)) as scratch:
        assert await outcome(run_of(scratch), "backup-verified") == failed("no-backup")


async def test_without_room_nothing_is_restored(tmp_path: Path, backup: Path) -> None:
    async with Scratch(plan(tmp_path, backup=backup, free_bytes=lambda _: 1000)) as scratch:
        assert await scratch.missing_bytes() > 100_000_000
        run = run_of(scratch)
        for name in ("backup-restores", "upgrade-path", "objects"):
            assert await outcome(run, name) == Outcome(Status.BLOCKED, "disk"), name


async def test_a_backup_of_other_origin_is_told_of_by_a_command(tmp_path: Path, backup: Path) -> None:
    (backup / "manifest.json").rename(tmp_path / "told.json")
    (backup / "manifest.json").symlink_to("/dev/null")
    async with Scratch(plan(tmp_path, backup=backup)) as scratch:
        run = run_of(scratch)
        other = {"kind": "command", "command": f"cat '{tmp_path / 'told.json'}'"}
        assert await outcome(run, "backup-fresh", parameters=other) == PASSED
        assert await outcome(run, "backup-verified", parameters=other) == PASSED
        none = {"kind": "command", "command": "true"}
        assert await outcome(run, "backup-fresh", parameters=none) == failed("damaged")


# Contents.


async def test_a_deleted_object_is_missed_in_what_was_restored(
    database_server: DatabaseServer, backup: Path, tmp_path: Path
) -> None:
    async with Scratch(plan(tmp_path, backup=backup, database_url=database_server.url)) as scratch:
        run = run_of(scratch)
        passed = await row(run, "objects")
        assert (passed.outcome, passed.measured.shown["objects"]) == (PASSED, 6)
        content = next(path for path in (await scratch.restored(print)).files.rglob("*") if path.is_file())
        whole = content.read_bytes()
        content.write_bytes(whole[:-1])
        assert await outcome(run, "objects") == failed("size")
        content.unlink()
        assert await outcome(run, "objects") == failed("missing")
        assert content.name not in (await row(run, "objects")).evidence


async def test_contents_of_production_are_looked_for_where_its_variables_say(
    session_scratch: Scratch, s3_server: S3Server, tmp_path: Path
) -> None:
    restored = await session_scratch.restored(print)
    files = Path(shutil.copytree(restored.files, tmp_path / "files"))
    names = [path.relative_to(files) for path in files.rglob("*") if path.is_file()]
    targets = production(restored.url)
    local = {"FILE_STORAGE_BACKEND": "local", "FILE_STORAGE_PATH": str(files)}
    bucket = f"validate-{secrets.token_hex(4)}"
    s3 = {
        "FILE_STORAGE_BACKEND": "s3",
        "FILE_S3_ENDPOINT": s3_server.endpoint,
        "FILE_S3_BUCKET": bucket,
        "FILE_S3_ACCESS_KEY": s3_server.access_key,
        "FILE_S3_SECRET_KEY": s3_server.secret_key,
    }
    store = S3Store(
        bucket,
        endpoint=s3_server.endpoint,
        region="us-east-1",
        access_key_id=s3_server.access_key,
        secret_access_key=s3_server.secret_key,
        client_options={"allow_http": True},
    )
    for environment in (local, s3):
        run = run_of(session_scratch, kind="upgrade", targets=targets, environment=environment)
        if environment is s3:
            assert await outcome(run, "objects") == failed("missing")
            for name in names:
                obstore.put(store, str(name), (files / name).read_bytes())
        assert await outcome(run, "objects") == PASSED
        wrong = {**environment, "FILE_S3_SECRET_KEY": "another", "FILE_STORAGE_PATH": str(tmp_path / "none")}
        run = run_of(session_scratch, kind="upgrade", targets=targets, environment=wrong)
        seen = await outcome(run, "objects")
        assert seen == failed("store:403" if environment is s3 else "missing")


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({}, "FILE_STORAGE_BACKEND"),
        ({"FILE_STORAGE_BACKEND": "none"}, "FILE_STORAGE_BACKEND"),
        ({"FILE_STORAGE_BACKEND": "local"}, "FILE_STORAGE_PATH"),
        ({"FILE_STORAGE_BACKEND": "s3", "FILE_S3_ENDPOINT": "x"}, "FILE_S3_BUCKET"),
    ],
)
async def test_contents_of_production_need_its_variables(
    session_scratch: Scratch, environment: dict[str, str], missing: str
) -> None:
    run = run_of(
        session_scratch, kind="upgrade", targets=production("postgresql://x"), environment=environment
    )
    assert await outcome(run, "objects") == Outcome(Status.BLOCKED, f"input:{missing}")


# The way up and the way down.


async def test_a_backup_that_is_up_to_date_has_nothing_to_migrate(session_scratch: Scratch) -> None:
    up = await row(run_of(session_scratch), "upgrade-path")
    assert (up.outcome, up.measured.shown["applied"]) == (PASSED, 0)


async def test_a_newer_release_goes_up_and_back(newer: Newer) -> None:
    run = run_of(newer.scratch)
    run.facts = newer.facts
    up = await row(run, "upgrade-path")
    assert (up.outcome, up.measured.shown["applied"]) == (PASSED, 1)
    assert up.measured.numbers.keys() >= {"up_ms", "longest_lock_ms"}
    assert await outcome(run, "downgrade-path") == PASSED


UNLISTED: Final = "unlisted:107"
PATH_FAULTS: Final[list[tuple[str, str, dict[str, str], str]]] = [
    # One record of each space is all that such an index allows.
    (
        "up-fails-on-old-rows",
        "upgrade-path",
        {"up": "CREATE UNIQUE INDEX idx_next_release ON records (space_id);"},
        "migrate-failed",
    ),
    (
        "up-depends-on-rows",
        "upgrade-path",
        {
            "up": UP + "DO $$ BEGIN IF EXISTS (SELECT FROM records) THEN"
            " CREATE INDEX idx_more ON records (cursor); END IF; END $$;"
        },
        "schema-differs:index.records",
    ),
    ("up-again-changes", "upgrade-path", {"up": f"-- no-transaction\n{UP}"}, "-"),
    ("down-leaves-an-index", "downgrade-path", {"down": "SELECT 1;"}, "schema-differs:index.records"),
    ("down-fails", "downgrade-path", {"down": "DROP INDEX no_such_index;"}, "down-failed:107"),
    ("down-removes-rows", "downgrade-path", {"down": DOWN + "DELETE FROM members;"}, "rows-lost:members"),
    (
        "down-loses-unacknowledged",
        "downgrade-path",
        {"loss": '\n[[down]]\nversion = {version}\nname = "letters"\ntext = "loses letters"\n'},
        "unacknowledged:letters",
    ),
    ("down-is-not-listed", "downgrade-path", {"loss": ""}, UNLISTED),
]


@pytest.mark.parametrize(
    ("name", "procedure", "scripts", "reason"), PATH_FAULTS, ids=[name for name, *_ in PATH_FAULTS]
)
async def test_a_migration_that_is_not_as_it_should_be_turns_its_path_red_alone(
    newer: Newer, name: str, procedure: str, scripts: dict[str, str], reason: str
) -> None:
    version = newer.release.with_migration(**scripts)
    newer.losses.pop(version)
    if "loss" not in scripts:
        newer.losses[version] = Loss(version, "nothing")
    elif scripts["loss"]:
        newer.losses[version] = Loss(version, "letters", "loses letters")
    run = run_of(newer.scratch)
    run.facts = newer.facts
    assert await outcome(run, procedure) == (PASSED if reason == "-" else failed(reason))
    others = ["backup-fresh", "backup-verified", "objects"]
    if procedure == "downgrade-path":  # which needs the way up, and is blocked by a fault of it
        others.append("upgrade-path")
    for other in others:
        assert await outcome(run, other) == PASSED, other


async def test_an_acknowledged_loss_may_be_lost(newer: Newer) -> None:
    version = newer.release.with_migration(down=DOWN + "DELETE FROM members;")
    newer.losses[version] = Loss(version, "letters", "loses letters", table="members")
    run = run_of(newer.scratch, acknowledged_losses=("letters",))
    run.facts = newer.facts
    assert await outcome(run, "downgrade-path") == PASSED
    newer.losses[version] = Loss(version, "letters", "loses letters", table="members", where="FALSE")
    run = run_of(newer.scratch)
    run.facts = newer.facts
    # What is not there cannot be lost; that rows are gone all the same is seen.
    assert await outcome(run, "downgrade-path") == failed("rows-lost:members")


async def test_a_way_down_needs_somebody_to_go_back_to(newer: Newer, tmp_path: Path) -> None:
    made = replace(newer.scratch.plan, incumbent=None, parent=tmp_path, run_id=bytes(16))
    scratch = Scratch(made)
    async with scratch:
        seen = await outcome(run_of(scratch), "downgrade-path")
    assert seen == Outcome(Status.BLOCKED, "input:INCUMBENT_COMMAND")


def test_sums_of_a_backup_are_those_of_its_files(made_backup: Path) -> None:
    manifest = read_manifest(made_backup)
    for file in manifest.files:
        assert hashlib.sha256((made_backup / file.path).read_bytes()).hexdigest() == file.sha256
