"""A folder of a backup, read as something that anybody may have written."""

import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from less_sync.bins.backup.manifest import (
    DatabaseEntry,
    FileEntry,
    SchemaEntry,
    SnapshotEntry,
    TableEntry,
    contents_entry,
    hash_file,
)
from less_sync.bins.backup.manifest import Manifest as Written
from less_sync.validation.backup_folder import (
    MANIFEST_BYTES_MAX,
    NoBackup,
    contents_of,
    newest,
    parsed,
    read,
    strangers,
    table_tally,
    tally,
)

TEXT = b"a\tb\nc\td\n"
CONTENT = "contents/00000000-0000-0000-0000-00000000000a/00000000-0000-0000-0000-0000000000c1"


def backup(folder: Path, finished_at: str = "2026-11-27T10:00:05Z") -> Path:
    """One as the command writes it: its own form is used, so that both halves keep to it."""
    (folder / "tables").mkdir(parents=True)
    (folder / CONTENT).parent.mkdir(parents=True)
    (folder / "tables/records.copy.gz").write_bytes(gzip.compress(TEXT))
    (folder / CONTENT).write_bytes(b"12345")
    files = []
    for path in (CONTENT, "tables/records.copy.gz"):
        entry = hash_file(folder / path)
        files.append(FileEntry(path, entry.bytes, entry.sha256))
    manifest = Written(
        created_at="2026-11-27T10:00:00Z",
        finished_at=finished_at,
        server_version="18.0",
        tool_version="0.1.0",
        database=DatabaseEntry("7", "less_sync", 180000),
        schema=SchemaEntry(tuple(range(1, 13)), (101,)),
        snapshot=SnapshotEntry("0/1"),
        tables=(TableEntry("records", ("a", "b"), 2, hashlib.sha256(TEXT).hexdigest()),),
        highest_cursor=3,
        contents=contents_entry(files[:1]),
        files=tuple(files),
    )
    (folder / "manifest.json").write_bytes(manifest.sealed().encoded())
    return folder


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    return folder


def test_what_the_command_writes_is_read_whole(tmp_path: Path) -> None:
    found = read(backup(tmp_path / "b"))
    manifest = found.manifest
    assert found.seal_holds
    assert found.raw_sha256 == hashlib.sha256((tmp_path / "b/manifest.json").read_bytes()).hexdigest()
    assert (manifest.schema.shared[-1], manifest.schema.own) == (12, (101,))
    assert manifest.contents == contents_of(manifest)
    assert f"{manifest.created:%H:%M}" == "10:00"
    assert manifest.table_bytes == (tmp_path / "b/tables/records.copy.gz").stat().st_size


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.pop("finished_at"), "incomplete"),
        (lambda d: d.update(finished_at=None), "incomplete"),
        (lambda d: d.update(format=2), "format"),
        (lambda d: d.pop("tables"), "damaged"),
        (lambda d: d.update(created_at="yesterday"), "damaged"),
        (lambda d: d["files"][0].update(path="../../etc/passwd"), "damaged"),
        (lambda d: d["files"][0].update(path="/etc/passwd"), "damaged"),
        (lambda d: d["files"][0].update(path="contents//x"), "damaged"),
        (lambda d: d["files"][0].update(bytes=-1), "damaged"),
        (lambda d: d["files"][0].update(bytes="5"), "damaged"),
        (lambda d: d["files"][0].update(sha256="A" * 64), "damaged"),
        (lambda d: d["files"].append(d["files"][0]), "damaged"),
        (lambda d: d["tables"].append(d["tables"][0]), "damaged"),
        (lambda d: d["tables"][0].update(name="spaces"), "damaged"),
        (lambda d: d["tables"][0].update(rows=-1), "damaged"),
    ],
)
def test_a_manifest_that_is_not_as_it_must_be_is_no_backup(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(NoBackup) as caught:
        read(changed(backup(tmp_path / "b"), change))
    assert caught.value.reason == reason


@pytest.mark.parametrize("raw", [b"", b"[]", b"nothing", b"{" * 100_000, b'{"a":' * 50_000, b"\xff"])
def test_bytes_that_are_no_manifest_are_damaged(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(NoBackup, match="damaged"):
        parsed(raw, tmp_path)


def test_a_manifest_too_long_to_be_one_is_not_decoded(tmp_path: Path) -> None:
    with pytest.raises(NoBackup, match="damaged"):
        parsed(b" " * (MANIFEST_BYTES_MAX + 1), tmp_path)


def test_an_edited_manifest_has_no_seal(tmp_path: Path) -> None:
    assert not read(changed(backup(tmp_path / "b"), lambda d: d.update(highest_cursor=4))).seal_holds


def test_the_newest_finished_one_of_a_folder_is_taken(tmp_path: Path) -> None:
    backup(tmp_path / "z", "2026-11-27T10:00:05Z")
    backup(tmp_path / "a", "2026-11-27T11:00:05Z")
    changed(backup(tmp_path / "c", "2026-11-27T12:00:05Z"), lambda d: d.pop("finished_at"))
    (tmp_path / "other").mkdir()
    os.symlink(tmp_path / "a", tmp_path / "link")
    assert newest(tmp_path).folder.name == "a"
    assert newest(tmp_path / "z").folder.name == "z"


def test_without_a_finished_one_the_newest_folder_says_why(tmp_path: Path) -> None:
    with pytest.raises(NoBackup, match="no-backup"):
        newest(tmp_path)
    with pytest.raises(NoBackup, match="no-backup"):
        newest(tmp_path / "nowhere")
    changed(backup(tmp_path / "a"), lambda d: d.update(format=2))
    changed(backup(tmp_path / "b"), lambda d: d.pop("finished_at"))
    with pytest.raises(NoBackup, match="incomplete"):
        newest(tmp_path)


NOBODY = 65534


def test_a_folder_that_may_not_be_read_is_told_as_such(tmp_path: Path) -> None:
    inner = tmp_path / "backups" / "newest"
    inner.mkdir(parents=True)
    (inner / "manifest.json").write_text("{}")
    with somebody_else(inner):
        for place in (inner, inner.parent):
            with pytest.raises(NoBackup) as caught:
                newest(place)
            assert caught.value.reason == "unreadable"
            assert caught.value.words == "this user may not read the backup in BACKUP_DIR"


@contextmanager
def somebody_else(folder: Path) -> Iterator[None]:
    """Be a user who may not look into this folder; root may look into any."""
    root = os.geteuid() == 0
    folder.chmod(0o000)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)


async def test_files_are_measured_up_to_what_they_should_have(tmp_path: Path) -> None:
    found = read(backup(tmp_path / "b"))
    content, packed = found.manifest.files
    good = await tally(found, content)
    assert good is not None
    assert (good.bytes, good.sha256) == (5, content.sha256)
    (found.folder / content.path).write_bytes(b"x" * 10_000)
    longer = await tally(found, content)
    assert longer is not None
    assert longer.bytes == 6
    (found.folder / content.path).unlink()
    assert await tally(found, content) is None
    text = await table_tally(found, found.manifest.tables[0])
    assert text is not None
    assert (text.lines, text.sha256) == (2, hashlib.sha256(TEXT).hexdigest())
    (found.folder / packed.path).write_bytes(gzip.compress(TEXT)[:-9])
    assert await table_tally(found, found.manifest.tables[0]) is None
    (found.folder / packed.path).write_bytes(b"no gzip")
    assert await table_tally(found, found.manifest.tables[0]) is None


async def test_no_link_is_followed_and_no_pipe_is_waited_for(tmp_path: Path) -> None:
    found = read(backup(tmp_path / "b"))
    content = found.manifest.files[0]
    elsewhere = tmp_path / "elsewhere"
    (found.folder / content.path).parent.rename(elsewhere)
    os.symlink(elsewhere, (found.folder / content.path).parent)
    assert await tally(found, content) is None
    (found.folder / content.path).parent.unlink()
    elsewhere.rename((found.folder / content.path).parent)
    assert await tally(found, content) is not None
    (found.folder / content.path).rename(tmp_path / "content")
    os.symlink(tmp_path / "content", found.folder / content.path)
    assert await tally(found, content) is None
    (found.folder / content.path).unlink()
    os.mkfifo(found.folder / content.path)
    async with asyncio.timeout(10):
        assert await tally(found, content) is None


async def test_files_that_nobody_named_are_found_links_too(tmp_path: Path) -> None:
    found = read(backup(tmp_path / "b"))
    assert await strangers(found) == []
    (found.folder / "tables/more.copy.gz").touch()
    os.symlink("/etc", found.folder / "etc")
    assert await strangers(found) == ["etc", "tables/more.copy.gz"]
