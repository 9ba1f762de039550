"""A backup of contents in an S3-compatible bucket, and what the next one takes over."""

from pathlib import Path

from tests.bins.backup.source import Source, assert_whole
from tests.bins.restore.made import contents_of, fill
from tests.storage.blobs import in_new_bucket, put
from tests.weed import S3Server


async def test_contents_come_from_a_bucket_and_unchanged_ones_are_not_fetched_again(
    database_url: str, tmp_path: Path, s3_server: S3Server
) -> None:
    store = await in_new_bucket(s3_server, tmp_path / "staging")
    source = Source(database_url, tmp_path / "data", contents_of(await fill(database_url)), store)
    for key, data in source.contents.items():
        await put(store, key, data)
        await source.execute("UPDATE files SET size = $2 WHERE id = $1", key.file, len(data))
    first = await source.take()
    await assert_whole(source, first)
    changed = next(key for key, data in source.contents.items() if data)
    await put(store, changed, bytes(len(source.contents[changed])))  # behind its row, as existing servers may
    source.contents[changed] = bytes(len(source.contents[changed]))
    second = await source.take()
    assert second.contents.taken_over == len(source.contents) - 1
    await assert_whole(source, second)
    await store.aclose()
