"""`less-sync stats`, `admin spaces`, `admin purge` and `doctor` as processes of their own."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from less_sync.bins.commands.purge_work import remove_contents
from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.fleet.reporter.state import STATE_FILE
from less_sync.storage import BlobError, BlobKey, LocalBlobs, PostgresPool, PostgresSpaceStore, purge_space
from tests.bins.commands import Finished, run_less_sync
from tests.migrations.support import SEED, SPACE, execute, value
from tests.storage.blobs import everything, put
from tests.sync.files.test_backup_under_way import backup
from tests.wire.issuer import closed_port

OWN = "6c657373-7379-8e63-9234-000000000001"
FILE = "00000000-0000-0000-0000-0000000000c1"
ISSUERS = "https://accounts.example"


@pytest.fixture
async def seeded_url(database_url: str) -> str:
    """A database with something in every table, and a space of the server's own."""
    await execute(database_url, SEED)
    await execute(database_url, f"INSERT INTO spaces (id, client_id) VALUES ('{OWN}', 'less-sync')")
    return database_url


async def stored(directory: Path, *keys: BlobKey) -> None:
    blobs = LocalBlobs.at(directory)
    for key in keys:
        await put(blobs, key, b"12345")
    await blobs.aclose()


async def left_in(directory: Path) -> set[BlobKey]:
    blobs = LocalBlobs.at(directory)
    try:
        return set(await everything(blobs))
    finally:
        await blobs.aclose()


async def test_who_only_reads_does_not_migrate_the_private_postgres(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path, settings={"fsync": "off"}) as postgres:
        for command in (["stats"], ["admin", "spaces"]):
            told = await run_less_sync(*command, "--data-dir", str(tmp_path))
            assert (told.status, "`less-sync migrate` makes it so" in told.err) == (1, True)
        assert await value(postgres.url, "SELECT to_regclass('spaces')") is None


async def purge(url: str, files: Path, space: str, *more: str) -> Finished:
    env = {
        "DATABASE_URL": url,
        "TRUSTED_ISSUERS": ISSUERS,
        "FILE_STORAGE_BACKEND": "local",
        "FILE_STORAGE_PATH": str(files),
    }
    return await run_less_sync("admin", "purge", space, *more, env=env)


async def test_stats_count_for_people_and_for_programs(seeded_url: str, tmp_path: Path) -> None:
    manifest = {"tables": [{"name": "records", "rows": 1}, {"name": "spaces", "rows": 4}]}
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "manifest.json").write_text(json.dumps(manifest))
    said = {"finished_at": "2026-11-26T16:30:00Z", "folder": str(tmp_path / "backup"), "digest": ""}
    (tmp_path / "last-backup.json").write_text(json.dumps(said))
    env = {"DATABASE_URL": seeded_url, "DATA_DIR": str(tmp_path)}
    told = await run_less_sync("stats", env=env)
    assert (told.status, told.err) == (0, "")
    lines = told.out.splitlines()
    assert [" ".join(line.split()) for line in lines[:3]] == [
        "spaces 1 1 personal, 0 shared; 0 at home elsewhere",
        "records 1 45 B",
        "tombstones 1 50.0 % of the rows",
    ]
    assert lines[8] == "growth       spaces -2, records +1 since the backup of 2026-11-26 16:30 UTC"
    assert lines[10].split() == [SPACE, "56", "B", "2", "records"]
    told = await run_less_sync("stats", "--json", "--top", "0", env=env)
    fields = json.loads(told.out)
    assert (fields["records"], fields["spaces"], fields["largest_by_bytes"]) == (2, 1, [])
    assert fields["growth"] == {"since": "2026-11-26T16:30:00+00:00", "rows": {"records": 1, "spaces": -2}}
    assert fields["fleet"] is None


async def test_stats_name_the_fleet_plane_and_the_release_that_it_wants(
    seeded_url: str, tmp_path: Path
) -> None:
    kept = {"instance_id": str(uuid4()), "plane": "https://fleet.example", "token": "lsa_hunter2"}
    env = {"DATABASE_URL": seeded_url, "DATA_DIR": str(tmp_path)}
    for version, line in ((None, ""), ("1.2.3", " wants release 1.2.3")):
        (tmp_path / STATE_FILE).write_text(json.dumps(kept | {"desired_version": version}))
        told = await run_less_sync("stats", env=env)
        assert told.out.splitlines()[9] == f"fleet        https://fleet.example{line}"
        assert "hunter2" not in told.out
    told = await run_less_sync("stats", "--json", env=env)
    assert json.loads(told.out)["fleet"] == {"plane": "https://fleet.example", "desired_version": "1.2.3"}
    (tmp_path / STATE_FILE).write_text("{")
    told = await run_less_sync("stats", env=env)
    assert (told.status, "fleet  " in told.out) == (0, False)


async def test_without_a_database_stats_say_what_is_missing(tmp_path: Path) -> None:
    told = await run_less_sync("stats", env={"DATA_DIR": str(tmp_path)})
    assert told == Finished(
        1, "", f"Error: no database: set --database-url or DATABASE_URL; {tmp_path} holds none\n"
    )
    told = await run_less_sync("stats", "--database-url", "postgres://db/x", "--data-dir", str(tmp_path))
    assert (told.status, "give one of --database-url and --data-dir" in told.err) == (2, True)


async def test_spaces_are_listed_and_found_by_the_beginning_of_their_id(seeded_url: str) -> None:
    env = {"DATABASE_URL": seeded_url}
    told = await run_less_sync("admin", "spaces", env=env)
    head, row = told.out.splitlines()
    assert head.split()[:3] == ["ID", "KIND", "HOME"]
    assert row.split()[:8] == [SPACE, "personal", "here", "7", "1", "1", "2", "56"]
    told = await run_less_sync("admin", "spaces", "--like", SPACE[:20], "--json", "--sort", "cursor", env=env)
    assert json.loads(told.out)["space"] == SPACE
    told = await run_less_sync("admin", "spaces", "--like", "ff", "--json", env=env)
    assert told == Finished(0, "", "")
    told = await run_less_sync("admin", "spaces", "--like", "xy", env=env)
    assert (told.status, "hex digits" in told.err) == (2, True)


async def test_a_purge_deletes_rows_and_contents_of_one_space(seeded_url: str, tmp_path: Path) -> None:
    own, orphan = BlobKey(UUID(SPACE), UUID(FILE)), BlobKey(UUID(SPACE), uuid4())
    other = BlobKey(uuid4(), UUID(FILE))
    await stored(tmp_path, own, orphan, other)
    told = await purge(seeded_url, tmp_path, SPACE, "--yes")
    assert (told.status, told.err) == (0, "")
    assert told.out.splitlines()[1:] == [
        "1 record, 1 tombstone, 45 B; 2 membership entries; 1 revocation; cursor 7",
        "2 files, 11 B",
        "2 contents in the file storage, 10 B",
        "deleted 2 records, 2 files, 2 membership entries, 1 revocation and the space",
        "removed 2 contents",
    ]
    assert await left_in(tmp_path) == {other}
    assert await value(seeded_url, "SELECT count(*) FROM spaces") == 1
    told = await purge(seeded_url, tmp_path, SPACE, "--yes")
    text = f"Error: there is no space {SPACE}, and no content of one in the file storage\n"
    assert told == Finished(1, "", text)


async def test_nobody_is_asked_where_there_is_no_terminal(seeded_url: str, tmp_path: Path) -> None:
    told = await purge(seeded_url, tmp_path, SPACE)
    assert (told.status, told.out, "give --yes" in told.err) == (2, "", True)
    told = await purge(seeded_url, tmp_path, "no-id", "--yes")
    assert (told.status, "not the id of a space" in told.err) == (2, True)
    assert await value(seeded_url, "SELECT count(*) FROM records") == 2


async def test_a_purge_that_died_behind_the_rows_is_finished_by_the_next(
    seeded_url: str, tmp_path: Path
) -> None:
    await stored(tmp_path, BlobKey(UUID(SPACE), UUID(FILE)))
    pool = await PostgresPool.open(seeded_url)
    assert await purge_space(pool, UUID(SPACE)) is not None
    await pool.aclose(5)
    told = await purge(seeded_url, tmp_path, SPACE, "--yes")
    assert told.out.splitlines() == [
        f"space {SPACE} has no rows any more",
        "1 content in the file storage, 5 B",
        "removed 1 content",
    ]
    assert await left_in(tmp_path) == set()


async def test_contents_that_a_backup_needs_stay_until_it_has_ended(seeded_url: str, tmp_path: Path) -> None:
    await stored(tmp_path, BlobKey(UUID(SPACE), UUID(FILE)))
    async with backup(seeded_url):
        told = await purge(seeded_url, tmp_path, SPACE, "--yes")
        assert (told.status, "deleted 2 records" in told.out) == (1, True)
        assert "could not remove 1 content: the same command again tries once more" in told.err
        assert f"{FILE}: a backup is under way" in told.err
        assert await left_in(tmp_path) == {BlobKey(UUID(SPACE), UUID(FILE))}
    told = await purge(seeded_url, tmp_path, SPACE, "--yes")
    assert (told.status, told.out.splitlines()[-1]) == (0, "removed 1 content")


class Stubborn(LocalBlobs):
    """A store that does not let go of one content."""

    stuck: BlobKey | None = None

    async def remove(self, key: BlobKey) -> None:
        if key == self.stuck:
            raise BlobError("file storage: the disk is read-only")
        await super().remove(key)


async def test_what_cannot_be_removed_is_named_and_what_was_uploaded_anew_stays(
    seeded_url: str, tmp_path: Path
) -> None:
    stuck, loose, anew = [BlobKey(UUID(SPACE), one) for one in (uuid4(), uuid4(), UUID(FILE))]
    await stored(tmp_path, stuck, loose, anew)
    blobs, pool = Stubborn.at(tmp_path), await PostgresPool.open(seeded_url)
    blobs.stuck = stuck
    removed = await remove_contents(pool, blobs, UUID(SPACE))
    assert (removed.count, removed.kept, removed.failed) == (1, 1, 1)
    assert removed.failures == [f"{stuck.file}: file storage: the disk is read-only"]
    assert await left_in(tmp_path) == {stuck, anew}
    blobs.stuck = None
    assert (await remove_contents(pool, blobs, UUID(SPACE))).count == 1
    assert await left_in(tmp_path) == {anew}
    await blobs.aclose()
    await pool.aclose(5)


async def test_a_store_that_is_not_there_stops_a_purge_before_anything_is_deleted(
    seeded_url: str, tmp_path: Path
) -> None:
    told = await purge(seeded_url, tmp_path / "gone", SPACE, "--yes")
    assert (told.status, "is its disk mounted?" in told.err, told.out) == (1, True, "")
    env = {"DATABASE_URL": seeded_url, "TRUSTED_ISSUERS": ISSUERS}
    told = await run_less_sync("admin", "purge", SPACE, "--yes", env=env)
    assert (told.status, "has 2 files, and there is no file storage here" in told.err) == (1, True)
    assert await value(seeded_url, "SELECT count(*) FROM records") == 2


async def test_a_space_that_lives_elsewhere_loses_what_is_kept_here(seeded_url: str, tmp_path: Path) -> None:
    space = uuid4()
    pool = await PostgresPool.open(seeded_url)
    await PostgresSpaceStore(pool).create_space(space, "c", b"\x02" + bytes(32), "home.example")
    await pool.aclose(5)
    told = await purge(seeded_url, tmp_path, str(space).upper(), "--yes")
    assert told.status == 0
    assert "home at home.example; what is kept here is deleted, nothing there" in told.out


async def test_doctor_tells_all_problems_of_the_settings_and_no_secret(tmp_path: Path) -> None:
    env = {"DATABASE_URL": "mysql://me:geheim@db/x", "LISTEN_ADDR": "nowhere", "DATA_DIR": str(tmp_path)}
    told = await run_less_sync("doctor", "--json", env=env)
    found = [json.loads(line) for line in told.out.splitlines()]
    assert (told.status, told.err) == (1, "")
    assert [one["check"] for one in found] == ["settings"] * 3 + ["all else"]
    assert "geheim" not in told.out


async def test_doctor_looks_at_everything_and_fails_when_something_does(
    database_url: str, tmp_path: Path
) -> None:
    async with closed_port() as port:
        env = {
            "DATABASE_URL": database_url,
            "DATA_DIR": str(tmp_path / "data"),
            "TRUSTED_ISSUERS": f"https://accounts.example=http://127.0.0.1:{port}/jwks.json",
            "LISTEN_ADDR": "127.0.0.1:0",
            "FILE_STORAGE_BACKEND": "local",
            "IDENTITY_HASH_KEY": "ab" * 32,
            "AUDIENCES": "less-sync",
        }
        told = await run_less_sync("doctor", "--json", env=env)
    found = {one["check"]: one["state"] for one in map(json.loads, told.out.splitlines())}
    assert (told.status, told.err) == (1, "")
    assert [check for check, state in found.items() if state == "failed"] == [
        "issuer https://accounts.example"
    ]
    assert (found["settings"], found["schema"], found["file storage"]) == ("ok", "ok", "ok")
    assert not (tmp_path / "data").exists()


async def test_doctor_before_the_first_start_makes_nothing(tmp_path: Path) -> None:
    told = await run_less_sync("doctor", "--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    assert (told.status, told.err) == (0, "")
    assert "none yet: the first `less-sync serve` makes one" in told.out
    assert list(tmp_path.iterdir()) == []
