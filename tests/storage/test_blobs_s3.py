"""How a bucket is spoken to, and what comes of a server that refuses, waits or hangs up."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from less_sync.storage import StorageError
from less_sync.storage.blobs import CHUNK_BYTES_MAX, BlobError, BlobKey
from less_sync.storage.objects.s3 import PART_BYTES, S3Blobs
from tests.storage.blob_process import Options, start
from tests.storage.blobs import everything, get, in_new_bucket, new_key, put, some_bytes, write
from tests.storage.scripted_s3 import TAG, Request, ScriptedS3, fail, say, scripted_s3, usual
from tests.weed import S3Server

MULTIPART = ["POST uploads", "PUT partNumber uploadId", "PUT partNumber uploadId", "POST uploadId"]
AMBIENT = {
    "AWS_ACCESS_KEY_ID": "ambient-key",
    "AWS_SECRET_ACCESS_KEY": "ambient-secret",
    "AWS_SESSION_TOKEN": "ambient-token",
    "AWS_REGION": "ambient-region",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    "AWS_BUCKET": "ambient-bucket",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_S3_EXPRESS": "true",
    "AWS_SERVER_SIDE_ENCRYPTION": "AES256",
    "AWS_CHECKSUM_ALGORITHM": "sha256",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere",
    "AWS_CONFIG_FILE": "/nowhere",
}


@pytest.fixture
async def script() -> AsyncIterator[ScriptedS3]:
    async with scripted_s3() as script:
        yield script


@pytest.fixture
async def store(script: ScriptedS3, tmp_path: Path) -> AsyncIterator[S3Blobs]:
    store = make(script.endpoint, tmp_path)
    try:
        yield store
    finally:
        await store.aclose()
        assert list(tmp_path.iterdir()) == []


def make(endpoint: str, staging: Path, *, answer_s: float = 20.0) -> S3Blobs:
    return S3Blobs(
        endpoint=endpoint,
        bucket="a-bucket",
        region="eu-test-1",
        access_key="the-access-key",
        secret_key="the-secret-key",
        staging=staging,
        answer_s=answer_s,
    )


def credential(request: Request) -> str:
    return request.headers["authorization"].split("Credential=")[1].split(",")[0]


async def test_objects_have_path_style_urls_and_signed_requests(script: ScriptedS3, tmp_path: Path) -> None:
    store = make(f"{script.endpoint}/objects/eu/", tmp_path)
    key = new_key()
    await put(store, key, b"content")
    await store.find(key)
    await store.remove(key)
    await store.aclose()
    path = f"/objects/eu/a-bucket/spaces/{key.space}/files/{key.file}"
    assert [(r.step, r.path) for r in script.requests] == [
        (step, path) for step in ("PUT", "HEAD", "GET", "DELETE")
    ]
    assert script.requests[0].body == b"content"
    for request in script.requests:
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        key_id, _, *scope = credential(request).split("/")
        assert (key_id, scope) == ("the-access-key", ["eu-test-1", "s3", "aws4_request"])
        assert "the-secret-key" not in str(request)


async def test_nothing_that_the_environment_says_of_s3_counts(script: ScriptedS3, tmp_path: Path) -> None:
    key = new_key()
    for env in (AMBIENT, {}):
        options = Options(str(key.space), str(key.file), str(tmp_path), script.endpoint)
        process = await start(options, env)
        told, _ = await process.communicate()
        assert told == b"published\n"
    misled, plain = script.requests
    assert (misled.path, misled.body) == (plain.path, plain.body)
    assert set(misled.headers) == set(plain.headers)
    assert credential(misled).split("/")[0] == "the-access-key"


def test_the_environment_is_as_it_was_once_a_store_is_made(tmp_path: Path) -> None:
    os.environ["AWS_REGION"] = "somewhere"
    try:
        make("http://127.0.0.1:1", tmp_path)
        assert os.environ["AWS_REGION"] == "somewhere"
    finally:
        del os.environ["AWS_REGION"]


@pytest.mark.parametrize("size", [0, 1, PART_BYTES])
async def test_up_to_eight_mebibytes_are_one_request(store: S3Blobs, script: ScriptedS3, size: int) -> None:
    content = some_bytes(size)
    await put(store, new_key(), content)
    assert script.steps == ["PUT"]
    assert script.requests[0].body == content


@pytest.mark.parametrize("size", [PART_BYTES + 1, PART_BYTES + CHUNK_BYTES_MAX, 2 * PART_BYTES])
async def test_more_are_parts_of_eight_mebibytes_one_after_the_other(
    store: S3Blobs, script: ScriptedS3, size: int
) -> None:
    content = some_bytes(size)
    at_work = 0

    async def one_at_a_time(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal at_work
        at_work += 1
        assert at_work == 1
        await asyncio.sleep(0.02)
        await usual(request, writer)
        at_work -= 1

    script.answer = one_at_a_time
    await put(store, new_key(), content)
    assert script.steps == MULTIPART
    assert [len(request.body) for request in script.requests[1:3]] == [PART_BYTES, size - PART_BYTES]
    assert b"".join(request.body for request in script.requests[1:3]) == content


@pytest.mark.parametrize(("size", "before"), [(100, 0), (PART_BYTES + 1, 2), (3 * PART_BYTES - 1, 3)])
async def test_after_the_last_look_only_the_last_part_and_the_end_are_sent(
    store: S3Blobs, script: ScriptedS3, size: int, before: int
) -> None:
    seen: list[str] = []

    async def look() -> None:
        await asyncio.sleep(0.1)  # whatever is under way arrives
        seen.extend(script.steps)

    async with store.stage(new_key()) as staged:
        await write(staged, bytes(size))
        await staged.publish(look)
    assert seen == ["POST uploads", *["PUT partNumber uploadId"] * 2][:before]
    assert script.steps[before:] == (["PUT partNumber uploadId", "POST uploadId"] if before else ["PUT"])


async def test_a_last_look_that_fails_shows_nothing_and_aborts_the_parts(
    store: S3Blobs, script: ScriptedS3
) -> None:
    async def lost() -> None:
        raise StorageError("the lock is gone")

    for size in (100, PART_BYTES + 1):
        async with store.stage(new_key()) as staged:
            await write(staged, bytes(size))
            with pytest.raises(StorageError, match="the lock is gone"):
                await staged.publish(lost)
    assert script.steps == ["POST uploads", "PUT partNumber uploadId", "DELETE uploadId"]


@pytest.mark.parametrize("status", [500, 503])
async def test_a_server_in_trouble_is_asked_four_times_in_all(
    store: S3Blobs, script: ScriptedS3, status: int
) -> None:
    async def refuse(request: Request, writer: asyncio.StreamWriter) -> None:
        await fail(writer, status, "InternalError")

    script.answer = refuse
    with pytest.raises(BlobError, match=f"file storage: .*{status}"):
        await put(store, new_key(), b"content")
    assert script.steps == ["PUT"] * 4


async def test_a_server_that_recovers_is_not_heard_of(store: S3Blobs, script: ScriptedS3) -> None:
    async def refuse_thrice(request: Request, writer: asyncio.StreamWriter) -> None:
        if len(script.requests) <= 3:
            await fail(writer, 503, "SlowDown")
        else:
            await usual(request, writer)

    script.answer = refuse_thrice
    await put(store, new_key(), b"content")
    assert script.steps == ["PUT"] * 4


@pytest.mark.parametrize("part", [1, 2])
async def test_a_part_that_cannot_be_stored_aborts_the_upload(
    store: S3Blobs, script: ScriptedS3, part: int
) -> None:
    async def refuse_it(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.query.get("partNumber") == [str(part)]:
            await fail(writer, 403, "AccessDenied")
        else:
            await usual(request, writer)

    script.answer = refuse_it
    with pytest.raises(BlobError):
        await put(store, new_key(), bytes(2 * PART_BYTES - 1))
    assert script.steps == ["POST uploads", *["PUT partNumber uploadId"] * part, "DELETE uploadId"]


async def test_parts_that_cannot_be_put_together_are_aborted(store: S3Blobs, script: ScriptedS3) -> None:
    async def refuse_the_end(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.step == "POST uploadId":
            await fail(writer, 403, "AccessDenied")
        else:
            await usual(request, writer)

    script.answer = refuse_the_end
    with pytest.raises(BlobError):
        await put(store, new_key(), bytes(PART_BYTES + 1))
    assert script.steps == [*MULTIPART, "DELETE uploadId"]


async def test_an_upload_cancelled_between_parts_is_aborted(store: S3Blobs, script: ScriptedS3) -> None:
    begun = asyncio.Event()

    async def slowly(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.query.get("partNumber"):
            begun.set()
            await asyncio.sleep(0.1)
        await usual(request, writer)

    script.answer = slowly
    task = asyncio.create_task(put(store, new_key(), bytes(3 * PART_BYTES)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert script.steps == ["POST uploads", "PUT partNumber uploadId", "DELETE uploadId"]


async def test_a_real_bucket_keeps_no_part_of_a_cancelled_upload(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = f"test-{uuid4()}"
    store = await in_new_bucket(s3_server, tmp_path, bucket)
    task = asyncio.create_task(put(store, new_key(), bytes(12 * PART_BYTES)))
    while not s3_server.unfinished_uploads(bucket):
        assert not task.done()
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert s3_server.unfinished_uploads(bucket) == []
    assert await everything(store) == {}
    await store.aclose()


async def test_a_real_server_without_the_bucket_or_with_another_secret_lacks_no_content(
    s3_server: S3Server, tmp_path: Path
) -> None:
    stranger = replace(s3_server, secret_key="another secret")
    for server, reason in ((s3_server, "the bucket does not exist"), (stranger, "file storage: ")):
        store = S3Blobs(
            endpoint=server.endpoint,
            bucket=f"nowhere-{uuid4()}",
            region="us-east-1",
            access_key=server.access_key,
            secret_key=server.secret_key,
            staging=tmp_path,
        )
        key = new_key()
        for attempt in attempts(store, key)[:3]:
            with pytest.raises(BlobError, match=reason):
                await attempt()
        await store.aclose()


async def test_a_request_under_way_comes_to_its_end_before_a_cancelled_upload_does(
    store: S3Blobs, script: ScriptedS3
) -> None:
    begun, answered = asyncio.Event(), asyncio.Event()

    async def slowly(request: Request, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.sleep(0.1)
        await usual(request, writer)
        answered.set()

    script.answer = slowly
    task = asyncio.create_task(put(store, new_key(), b"content"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert answered.is_set()


async def test_a_cancelled_upload_waits_for_a_server_that_hangs_only_so_long(
    store: S3Blobs, script: ScriptedS3
) -> None:
    begun = asyncio.Event()

    async def never(request: Request, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.Event().wait()

    script.answer = never
    task = asyncio.create_task(put(store, new_key(), b"content"))
    await begun.wait()
    task.cancel()
    async with asyncio.timeout(4):  # the grace period of a stop is over by then
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_only_an_object_that_is_missing_is_no_content(store: S3Blobs, script: ScriptedS3) -> None:
    key = new_key()
    assert await store.find(key) is None
    assert await get(store, key) is None
    await store.remove(key)

    async def no_bucket(request: Request, writer: asyncio.StreamWriter) -> None:
        await (say(writer, 404) if request.method == "HEAD" else fail(writer, 404, "NoSuchBucket"))

    async def nothing_there(request: Request, writer: asyncio.StreamWriter) -> None:
        await say(writer, 404)

    async def not_allowed(request: Request, writer: asyncio.StreamWriter) -> None:
        await fail(writer, 403, "AccessDenied")

    for answer in (no_bucket, nothing_there, not_allowed):
        script.answer = answer
        for attempt in attempts(store, key):
            with pytest.raises(BlobError, match="file storage: "):
                await attempt()


@pytest.mark.parametrize("body", [b"404 page not found\n", b"<html>\r\n<h1>404 Not Found: NoSuchPage</h1>"])
async def test_a_404_of_somebody_else_does_not_say_that_a_content_is_missing(
    store: S3Blobs, script: ScriptedS3, body: bytes
) -> None:
    async def elsewhere(request: Request, writer: asyncio.StreamWriter) -> None:
        await say(writer, 404, b"" if request.method == "HEAD" else body)

    script.answer = elsewhere
    key = new_key()
    for attempt in attempts(store, key)[:3]:
        with pytest.raises(BlobError, match="without a word about the key"):
            await attempt()


def attempts(store: S3Blobs, key: BlobKey) -> list[Callable[[], Coroutine[Any, Any, object]]]:
    """Everything that can be asked of a bucket."""
    return [
        lambda: store.find(key),
        lambda: get(store, key),
        lambda: store.remove(key),
        lambda: everything(store),
        lambda: put(store, key, b"content"),
    ]


async def test_nobody_at_the_address_is_a_failure(tmp_path: Path) -> None:
    store = make("http://127.0.0.1:1", tmp_path)
    for attempt in attempts(store, new_key())[::4]:
        with pytest.raises(BlobError):
            await attempt()
    await store.aclose()


async def test_a_server_that_does_not_answer_is_given_up(script: ScriptedS3, tmp_path: Path) -> None:
    async def never(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    script.answer = never
    store = make(script.endpoint, tmp_path, answer_s=0.1)
    key = new_key()
    for attempt in attempts(store, key)[:-1]:
        with pytest.raises(BlobError, match=r"S3 did not answer within 0\.1 s"):
            await attempt()
    await store.aclose()


def download_head(total: int) -> bytes:
    modified = "Last-Modified: Thu, 26 Nov 2026 10:00:00 GMT"
    return f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n{modified}\r\nETag: {TAG}\r\n\r\n".encode()


def content_of(pieces: list[bytes], total: int, pause_s: float = 0.0) -> Any:
    """Answer GET with these pieces, after a head that announces `total` bytes; then hang up."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(download_head(total))
        for piece in pieces:
            await asyncio.sleep(pause_s)
            writer.write(piece)
            await writer.drain()
        writer.close()

    return answer


async def test_a_download_that_ends_early_is_a_failure_and_never_a_short_content(
    store: S3Blobs, script: ScriptedS3
) -> None:
    script.answer = content_of([bytes(300_000)], 1_000_000)
    with pytest.raises(BlobError):
        await get(store, new_key())


async def test_a_slow_download_is_read_to_its_end(script: ScriptedS3, tmp_path: Path) -> None:
    content = some_bytes(100_000)
    pieces = [content[start : start + 10_000] for start in range(0, 100_000, 10_000)]
    script.answer = content_of(pieces, 100_000, pause_s=0.1)
    # No single wait is near the limit; all of them together are beyond it.
    store = make(script.endpoint, tmp_path, answer_s=0.8)
    assert await get(store, new_key()) == content
    await store.aclose()


async def test_a_download_that_stops_coming_is_given_up(script: ScriptedS3, tmp_path: Path) -> None:
    script.answer = content_of([bytes(200_000), bytes(1)], 1_000_000, pause_s=0.5)
    store = make(script.endpoint, tmp_path, answer_s=0.2)
    started = time.monotonic()
    with pytest.raises(BlobError, match="did not answer"):
        await get(store, new_key())
    assert time.monotonic() - started < 20
    await store.aclose()


async def test_a_client_that_leaves_lets_go_of_the_connection(store: S3Blobs, script: ScriptedS3) -> None:
    closed = asyncio.Event()

    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        head = 'HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\nETag: "a"\r\n'
        writer.write(f"{head}Last-Modified: Thu, 26 Nov 2026 10:00:00 GMT\r\n\r\n".encode())
        try:
            while True:
                writer.write(bytes(100_000))
                await writer.drain()
        finally:
            closed.set()

    script.answer = endless
    async with store.open(new_key()) as opened:
        assert opened is not None
        assert len(await anext(opened.chunks())) >= 64 * 1024
    async with asyncio.timeout(20):
        await closed.wait()


async def test_a_killed_upload_leaves_a_staging_file_that_is_tidied(
    script: ScriptedS3, store: S3Blobs, tmp_path: Path
) -> None:
    key = new_key()
    options = Options(
        str(key.space), str(key.file), str(tmp_path), script.endpoint, wait_before_publishing=True
    )
    process = await start(options)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"staged\n"
    process.kill()
    await process.communicate()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(f"{key.space}-{key.file}#")
    assert await store.tidy(older_than_s=3600) == 0
    assert await store.tidy(older_than_s=-1) == 1
    assert script.requests == []
