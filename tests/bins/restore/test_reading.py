"""Every damage of a backup is found and named before anything is touched."""

import gzip
import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from less_sync.bins.backup.manifest import (
    BackupError,
    FileEntry,
    SchemaEntry,
    contents_entry,
    hash_file,
    newest_backup,
    read_manifest,
)
from less_sync.bins.backup.reading import verify
from less_sync.storage import BlobKey
from tests.bins.commands import Finished, run_less_sync
from tests.bins.restore.made import Backup, execute, make_backup
from tests.bins.restore.watching import Seen
from tests.conftest import DatabaseServer

EMPTY = "tables/invitations.copy.gz"
ZEROES = "00000000-0000-4000-8000-000000000000"
KEY = BlobKey(UUID(ZEROES), UUID(ZEROES))
CONTENT = f"contents/{ZEROES}/{ZEROES}"


@pytest.fixture(scope="module")
def made(
    database_server: DatabaseServer, database_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Backup:
    """A backup of one content, the same for all tests."""
    folder = tmp_path_factory.mktemp("made") / "backup"

    async def make(url: str) -> Backup:
        await execute(
            url,
            f"INSERT INTO spaces (id, client_id) VALUES ('{ZEROES}', '')",
            f"INSERT INTO records (id, space_id, cursor) VALUES ('{ZEROES}', '{ZEROES}', 1)",
            "INSERT INTO files (space_id, id, size, wrapped_dek, record_id)"
            f" VALUES ('{ZEROES}', '{ZEROES}', 7, decode(repeat('00', 44), 'hex'), '{ZEROES}')",
        )
        return await make_backup(url, {KEY: b"content"}, folder)

    name = database_server.run + secrets.token_hex(4)
    try:
        return database_server.runner.run(make(database_server.create(name, template=database_template)))
    finally:
        database_server.drop(name)


@pytest.fixture
def backup(made: Backup, tmp_path: Path) -> Backup:
    """A copy of it that may be damaged."""
    folder = tmp_path / "backups" / "20261126T163000Z"
    shutil.copytree(made.folder, folder)
    return Backup(folder, made.manifest)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what is written, without another digest."""
    document = json.loads((folder / "manifest.json").read_text())
    change(document)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (folder / "manifest.json").write_text(text)


def replaced(backup: Backup, path: str, data: bytes) -> None:
    """Write another file and a manifest that agrees with it."""
    (backup.folder / path).write_bytes(data)
    entry = replace(hash_file(backup.folder / path), path=path)
    files = (*(one for one in backup.manifest.files if one.path != path), entry)
    backup.write(files=tuple(sorted(files)))


def renamed(backup: Backup, name: str) -> None:
    """Give the content another name, in the manifest too."""
    path = f"contents/{name}"
    (backup.folder / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(backup.folder / CONTENT, backup.folder / path)
    files = [replace(one, path=path) if one.path == CONTENT else one for one in backup.manifest.files]
    contents = contents_entry(one for one in files if one.path.startswith("contents/"))
    backup.write(files=tuple(sorted(files)), contents=contents)


def without_table(backup: Backup, name: str) -> None:
    backup.write(tables=tuple(one for one in backup.manifest.tables if one.name != name))


DAMAGES: dict[str, Callable[[Backup], object]] = {
    rf"{EMPTY} is missing": lambda b: (b.folder / EMPTY).unlink(),
    rf"{CONTENT} is missing": lambda b: (b.folder / CONTENT).unlink(),
    rf"{CONTENT} has 8 bytes instead of 7": lambda b: (b.folder / CONTENT).write_bytes(b"contents"),
    rf"{CONTENT} has another SHA-256": lambda b: (b.folder / CONTENT).write_bytes(b"Content"),
    rf"{EMPTY} cannot be unpacked": lambda b: replaced(b, EMPTY, b"no gzip at all"),
    rf"{EMPTY} cannot be unpacked ": lambda b: replaced(b, EMPTY, gzip.compress(b"x\n" * 9999)[:-9]),
    rf"{EMPTY} has 1 rows instead of 0": lambda b: replaced(b, EMPTY, gzip.compress(b"a\n")),
    rf"{EMPTY} unpacks to another SHA-256": lambda b: replaced(b, EMPTY, gzip.compress(b"a")),
    r"contents/a/b is no name of a content": lambda b: renamed(b, "a/b"),
    r"is no name of a content": lambda b: renamed(b, f"{{{ZEROES}}}/{ZEROES}"),
    r"contents/[-0-9]+ is no name of a content": lambda b: renamed(b, ZEROES.replace("4", "5")),
    r"the backup's tables are not those of its migrations: spaces$": lambda b: without_table(b, "spaces"),
    r"under migrations that this release does not know \(999\); restore it with less-sync": lambda b: b.write(
        schema=SchemaEntry(b.manifest.schema.shared, (101, 999))
    ),
    r"under migrations that this release does not know \(1, 3\)": lambda b: b.write(
        schema=SchemaEntry((1, 3), ())
    ),
    r"manifest.json is damaged: its digest is another one": lambda b: edit_manifest(
        b.folder, lambda document: document.update(highest_cursor=5)
    ),
    r"has format 2; this release knows format 1": lambda b: edit_manifest(
        b.folder, lambda document: document.update(format=2)
    ),
    r"was not finished": lambda b: edit_manifest(b.folder, lambda document: document.pop("finished_at")),
    r"is damaged: its files are not in order": lambda b: b.write(
        files=(FileEntry("../other", 0, "0" * 64), *b.manifest.files)
    ),
    r"is no backup: it has no manifest.json": lambda b: (b.folder / "manifest.json").unlink(),
}


@pytest.mark.parametrize("found", DAMAGES)
async def test_a_damage_is_found_and_names_the_file(found: str, backup: Backup) -> None:
    DAMAGES[found](backup)
    with pytest.raises(BackupError, match=found.strip()):
        await verify(backup.folder, read_manifest(backup.folder), Seen())


async def test_a_whole_backup_is_read_once_and_to_its_last_byte(backup: Backup) -> None:
    seen = Seen()
    await verify(backup.folder, read_manifest(backup.folder), seen)
    assert seen.total == seen.done == sum(entry.bytes for entry in backup.manifest.files)


async def test_a_damaged_backup_leaves_no_trace_where_it_was_to_go(backup: Backup, tmp_path: Path) -> None:
    path = backup.folder / "tables" / "records.copy.gz"
    path.write_bytes(b"?" * path.stat().st_size)
    done = await run_less_sync("restore", str(backup.folder.parent), "--data-dir", str(tmp_path / "data"))
    told = f"Error: the backup is damaged: {path} has another SHA-256 than the manifest says"
    assert done == Finished(1, "", f"{told}; nothing was changed\n")
    assert not (tmp_path / "data").exists()


async def test_of_a_folder_of_backups_the_newest_that_is_finished_is_meant(backup: Backup) -> None:
    parent = backup.folder.parent
    shutil.copytree(backup.folder, parent / "a")
    Backup(parent / "a", backup.manifest).write(finished_at="2099-01-01T00:00:00Z")
    shutil.copytree(backup.folder, parent / "b")
    edit_manifest(parent / "b", lambda document: document.pop("finished_at"))
    assert newest_backup(parent) == parent / "a"
    empty = parent / f"{uuid4()}"
    empty.mkdir()
    with pytest.raises(BackupError, match="is no backup, and holds none that is finished"):
        newest_backup(empty)
