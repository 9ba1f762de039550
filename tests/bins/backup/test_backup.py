"""`backup`: what it holds, what it takes over, how it goes on, and what it refuses."""

import gzip
import hashlib
import json
import os
from uuid import uuid4

import pytest

from less_sync.bins.backup.check import check_backup
from less_sync.bins.backup.manifest import (
    BackupError,
    Fault,
    UnfinishedBackup,
    content_files,
    contents_entry,
    finished_backups,
    read_manifest,
)
from less_sync.bins.backup.watching import Part
from less_sync.migrations.schema import TABLES
from tests.bins.backup.source import CONTENTS, Seen, Source, assert_whole
from tests.bins.commands import run_less_sync
from tests.bins.restore.made import texts


async def test_a_backup_holds_every_row_and_every_content_and_says_so(source: Source) -> None:
    taken = await source.take()
    manifest = read_manifest(taken.folder)
    assert manifest == taken.manifest
    assert taken.folder == source.data_dir / "backups" / "20260102T030505Z"
    assert {table.name for table in manifest.tables} == set(TABLES)
    wanted = await texts(source.url)
    for table in manifest.tables:
        text = gzip.decompress((taken.folder / table.path).read_bytes())
        assert table.sha256 == hashlib.sha256(text).hexdigest() == wanted[table.name]
        assert table.rows == text.count(b"\n") > 0
    assert manifest.contents == contents_entry(content_files(manifest))
    assert (manifest.highest_cursor, manifest.schema.shared) == (40, tuple(range(1, 13)))
    assert manifest.database.system_identifier.isdigit()
    assert "/" in manifest.snapshot.lsn
    await assert_whole(source, taken)
    last = json.loads((source.data_dir / "last-backup.json").read_bytes())
    assert last == {
        "finished_at": manifest.finished_at,
        "folder": str(taken.folder),
        "digest": manifest.digest,
    }


async def test_nobody_else_may_look_into_a_backup(source: Source) -> None:
    taken = await source.take()
    modes = {path.stat().st_mode & 0o777 for path in taken.folder.rglob("*") if path.is_dir()}
    assert modes | {taken.folder.stat().st_mode & 0o777} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in taken.folder.rglob("*") if path.is_file()} == {0o600}


async def test_unchanged_contents_are_links_to_those_of_the_backup_before(source: Source) -> None:
    first = await source.take()
    changed = next(iter(source.contents))
    await source.replace(changed, b"another")
    second = await source.take()
    assert second.contents.taken_over == CONTENTS - 1
    for key in source.contents:
        same = os.path.samefile(source.copy_of(first, key), source.copy_of(second, key))
        assert same is (key != changed)
    await assert_whole(source, second)
    assert read_manifest(first.folder) == first.manifest


async def test_a_damaged_content_of_the_backup_before_is_not_taken_over(source: Source) -> None:
    first = await source.take()
    key = next(key for key, data in source.contents.items() if len(data) > 100)
    damaged = source.copy_of(first, key)
    with damaged.open("r+b") as file:
        file.write(b"rotten")
    lost = next(key for key, data in source.contents.items() if not data)
    source.copy_of(first, lost).unlink()
    second = await source.take()
    assert (second.contents.taken_over, second.contents.damaged) == (CONTENTS - 2, 2)
    await assert_whole(source, second)
    assert damaged.read_bytes()[:6] == b"rotten"  # what is copied anew goes into a file of its own


async def test_missing_contents_and_those_of_another_length_are_named(source: Source) -> None:
    missing, longer, *_ = source.contents
    await source.store.remove(missing)
    await source.execute("UPDATE files SET size = size + 1 WHERE id = $1", longer.file)
    taken = await source.take()
    faults = {Fault(f"contents/{missing.space}/{missing.file}", "missing")}
    faults |= {Fault(f"contents/{longer.space}/{longer.file}", "size")}
    assert set(taken.manifest.faults) == faults
    assert taken.manifest.contents.count == CONTENTS - 1
    await check_backup(taken.folder, taken.manifest, Seen())


async def test_an_interrupted_backup_goes_on_with_what_was_copied(source: Source) -> None:
    def stop() -> None:
        raise BackupError("stopped")

    source.seen.at, source.seen.act = Part.VERIFYING, stop
    with pytest.raises(BackupError, match="stopped"):
        await source.take()
    [folder] = (source.data_dir / "backups").iterdir()
    with pytest.raises(UnfinishedBackup):
        read_manifest(folder)
    assert finished_backups(folder.parent) == []
    source.seen.at = ""
    damaged, gone, *_ = [key for key, data in source.contents.items() if len(data) > 100]
    (folder / "contents" / str(damaged.space) / str(damaged.file)).write_bytes(
        bytes(len(source.contents[damaged]))
    )
    await source.execute("DELETE FROM files WHERE id = $1", gone.file)
    del source.contents[gone]
    half = folder / "contents" / str(damaged.space) / f"{uuid4()}.part"
    half.write_bytes(b"half")
    taken = await source.take()
    assert taken.folder == folder
    assert (taken.contents.taken_over, taken.contents.damaged) == (CONTENTS - 2, 1)
    assert taken.manifest.created_at == "2026-01-02T03:06:05Z"
    await assert_whole(source, taken)


async def test_the_command_prints_the_digest_last_and_says_what_is_missing(source: Source) -> None:
    files = source.data_dir.parent / "files"
    env = {
        "DATABASE_URL": source.url,
        "DATA_DIR": str(source.data_dir),
        "FILE_STORAGE_BACKEND": "local",
        "FILE_STORAGE_PATH": str(files),
    }
    done = await run_less_sync("backup", env=env)
    assert (done.status, done.err) == (0, "")
    [(folder, manifest)] = finished_backups(source.data_dir / "backups")
    assert done.out.splitlines()[-1] == manifest.digest
    missing = next(iter(source.contents))
    await source.store.remove(missing)
    done = await run_less_sync("backup", "--keep", "1", env=env)
    assert done.status == 3
    assert done.err == f"Warning: contents/{missing.space}/{missing.file}: missing\n"
    assert f"removed {folder}" in done.out
    [(folder, manifest)] = finished_backups(source.data_dir / "backups")
    assert done.out.splitlines()[-1] == manifest.digest
