"""`restore` with contents in a bucket, and stopped by Ctrl-C."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg

from less_sync.storage import BlobKey, S3Blobs
from tests.bins.commands import Finished, run_less_sync
from tests.bins.restore.made import contents_of, fill, make_backup, put, stored, texts
from tests.weed import S3Server
from tests.wire.command import start_command

TIMEOUT_S = 30.0


def settings_of(server: S3Server, bucket: str) -> dict[str, str]:
    return {
        "FILE_STORAGE_BACKEND": "s3",
        "FILE_S3_ENDPOINT": server.endpoint,
        "FILE_S3_ACCESS_KEY": server.access_key,
        "FILE_S3_SECRET_KEY": server.secret_key,
        "FILE_S3_BUCKET": bucket,
    }


@asynccontextmanager
async def bucket_of(server: S3Server, staging: Path) -> AsyncIterator[tuple[str, S3Blobs]]:
    """A new bucket; it is there once something was put into it."""
    name = f"restored-{uuid4().hex[:12]}"
    store = S3Blobs(
        endpoint=server.endpoint,
        bucket=name,
        region="us-east-1",
        access_key=server.access_key,
        secret_key=server.secret_key,
        staging=staging,
    )
    try:
        key = BlobKey(uuid4(), uuid4())
        await put(store, {key: b"first"})
        await store.remove(key)
        yield name, store
    finally:
        await store.aclose()


async def test_contents_go_into_a_bucket_and_are_found_there_again(
    s3_server: S3Server, database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    contents = contents_of(await fill(database_url))
    backup = await make_backup(database_url, contents, tmp_path / "backup")
    env = {"DATABASE_URL": empty_database_url, "DATA_DIR": str(tmp_path / "data")}
    async with bucket_of(s3_server, tmp_path / "staging") as (bucket, store):
        env |= settings_of(s3_server, bucket)
        done = await run_less_sync("restore", str(backup.folder), env=env)
        assert (done.status, done.err) == (0, "")
        assert "contents: 12 copied, 0 were there already\n" in done.out
        assert await texts(empty_database_url) == await texts(database_url)
        assert await stored(store) == contents
    again = await run_less_sync("restore", str(backup.folder), env=env)
    assert "were there already\ncontents: 0 copied, 12 were there already\n" in again.out


async def test_a_bucket_out_of_reach_leaves_a_restore_that_goes_on_when_it_is_back(
    s3_server: S3Server, database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    contents = contents_of(await fill(database_url))
    backup = await make_backup(database_url, contents, tmp_path / "backup")
    env = {"DATABASE_URL": empty_database_url, "DATA_DIR": str(tmp_path / "data")}
    async with bucket_of(s3_server, tmp_path / "staging") as (bucket, _):
        settings = settings_of(s3_server, bucket)
    away = settings | {"FILE_S3_ENDPOINT": "http://127.0.0.1:1"}
    failed = await run_less_sync("restore", str(backup.folder), env=env | away)
    assert failed.status == 1
    assert failed.err.startswith("Error: file storage")
    assert failed.err.endswith("; nothing was changed\n")
    assert await texts(empty_database_url) == {}
    unset = await run_less_sync("restore", str(backup.folder), env=env)
    assert unset.err == (
        "Error: the backup holds contents of files (12) and there is no place for them: set "
        "FILE_STORAGE_BACKEND and what belongs to it as the server will have them; nothing was changed\n"
    )
    assert (await run_less_sync("restore", str(backup.folder), env=env | settings)).status == 0


async def test_ctrl_c_says_how_to_go_on(database_url: str, empty_database_url: str, tmp_path: Path) -> None:
    backup = await make_backup(database_url, {}, tmp_path / "backup")
    env = {"DATABASE_URL": empty_database_url, "DATA_DIR": str(tmp_path / "data")}
    assert (await run_less_sync("restore", str(backup.folder), env=env)).status == 0
    await fill(empty_database_url)
    reader = await asyncpg.connect(empty_database_url)
    try:
        async with reader.transaction():
            await reader.execute("LOCK TABLE spaces IN ACCESS SHARE MODE")
            process = await start_command(
                "less-sync", ["restore", str(backup.folder), "--force"], env=env, stderr_apart=True
            )
            async with asyncio.timeout(TIMEOUT_S):
                while not await reader.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    finally:
        await reader.close()
    said = "the restore has not finished, and no server starts until it has: the same command goes on"
    assert Finished(process.returncode or 0, out.decode(), err.decode()) == Finished(
        130, "", f"interrupted: {said}\n"
    )
    assert (await run_less_sync("restore", str(backup.folder), env=env)).status == 0
    assert await texts(empty_database_url) == await texts(database_url)
