"""Contents in a bucket of an S3-compatible server, as objects `spaces/{space}/files/{file}` and nothing else.

A content is staged in a file of this machine first: what is published is sent whole or not at all, and a slow
client keeps no connection to S3 busy. It is sent as one request, above `PART_BYTES` as a multipart upload of
which one part at a time is in memory.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

import obstore
from obstore.store import S3Store

from less_sync.storage.blobs import CHUNK_BYTES_MAX, BlobError, BlobKey, Stored
from less_sync.storage.objects.keys import parse_path
from less_sync.storage.objects.staging import StagingFile, StagingWriter, is_staging_name, staging_path
from less_sync.storage.objects.threads import DiskThreads

if TYPE_CHECKING:
    from obstore import AsyncWritableFile, BytesStream, GetResult, ObjectMeta

T = TypeVar("T")

PART_BYTES: Final = 8 * 1024 * 1024
"""Of a multipart upload; 5 GiB have 640 of the 10,000 parts that S3 allows."""
CONNECT_S: Final = 5
ANSWER_S: Final = 60.0
UPLOAD_ANSWER_S: Final = 180
"""For the answer to one part or to a whole content below that, sending it included. How far it has got cannot
be seen, so this is the time of 8 MiB on a line of 400 kbit/s."""
RETRIES: Final = 3
CANCELLED_S: Final = 1
"""For a request under way, and again to abort a multipart upload, once the caller was cancelled: a server
cancels when the grace period of its stop is over, and is soon killed."""

_LISTED_MAX: Final = 1000
_ERROR_CHARS_MAX: Final = 300
FAILURES: Final = (obstore.exceptions.BaseError, OSError, ValueError, TimeoutError)
_AMBIENT: Final = re.compile("AWS_", re.IGNORECASE)
_STREAM_CHUNK_BYTES_MIN: Final = 64 * 1024


class S3Blobs:
    """`BlobStore` in a bucket. Making one contacts nobody.

    Args:
        endpoint: URL with `http` or `https`; a path in it comes before the bucket.
        staging: directory of this machine, made if it is missing, for contents on their way.
        answer_s: for any answer but to an upload, retries included, and for the next bytes of a content.

    Raises:
        BlobError: the library refuses these.
        OSError: the staging directory cannot be made.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        bucket: str,
        region: str,
        access_key: str,
        secret_key: str,
        staging: Path,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._answer: Final = _Patience(answer_s)
        staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._staging: Final = staging.absolute()
        self._threads: Final = DiskThreads()
        self._bucket: Final = open_bucket(
            endpoint=endpoint, bucket=bucket, region=region, access_key=access_key, secret_key=secret_key
        )

    @asynccontextmanager
    async def stage(self, key: BlobKey) -> AsyncIterator["_Staged"]:
        """As `BlobStore.stage`."""
        begin = partial(StagingFile, staging_path(self._staging / f"{key.space}-{key.file}"), keep=False)
        writer = StagingWriter(await self._threads.obtain(begin, StagingFile.remove), self._threads)
        try:
            yield _Staged(writer, self._bucket, key)
        finally:
            await writer.aclose()

    async def find(self, key: BlobKey) -> Stored | None:
        """As `BlobStore.find`."""
        try:
            meta = await self._answer(obstore.head_async(self._bucket, key.path))
        except FileNotFoundError:
            # The answer to HEAD has no body, which alone tells a missing content from a missing bucket.
            found = await self._get(key)
            return None if found is None else _stored(key, found.meta)
        return _stored(key, meta)

    async def _get(self, key: BlobKey) -> "GetResult | None":
        try:
            return await self._answer(obstore.get_async(self._bucket, key.path))
        except FileNotFoundError as error:
            _refuse_other_absence(error)
            return None

    @asynccontextmanager
    async def open(self, key: BlobKey) -> AsyncIterator["_Opened | None"]:
        """As `BlobStore.open`."""
        found = await self._get(key)
        if found is None:
            yield None
            return
        opened = _Opened(found, self._answer)
        del found
        try:
            yield opened
        finally:
            opened.close()

    async def remove(self, key: BlobKey) -> None:
        """As `BlobStore.remove`."""
        try:
            await self._answer(obstore.delete_async(self._bucket, key.path))
        except FileNotFoundError as error:
            _refuse_other_absence(error)

    async def listing(self) -> AsyncIterator[Sequence[Stored]]:
        """As `BlobStore.listing`."""
        async for stored in self._listed("spaces/"):
            yield stored

    async def of_space(self, space: UUID) -> AsyncIterator[Sequence[Stored]]:
        """As `BlobStore.of_space`."""
        async for stored in self._listed(f"spaces/{space}/files/"):
            yield stored

    async def _listed(self, prefix: str) -> AsyncIterator[Sequence[Stored]]:
        pages = obstore.list(self._bucket, prefix, chunk_size=_LISTED_MAX)
        while (page := await self._answer(anext(pages, None))) is not None:
            named = [(parse_path(meta["path"]), meta) for meta in page]
            stored = [_stored(key, meta) for key, meta in named if key is not None]
            if stored:
                yield stored

    async def tidy(self, *, older_than_s: float) -> int:
        """As `BlobStore.tidy`. Parts that the bucket keeps of an upload which nobody aborted are its own."""
        return await self._threads.run(_remove_leftovers, self._staging, time.time() - older_than_s)

    async def aclose(self) -> None:
        """As `BlobStore.aclose`."""
        await self._threads.aclose()


def open_bucket(*, endpoint: str, bucket: str, region: str, access_key: str, secret_key: str) -> S3Store:
    """The library's store of a bucket, with the options of this project; contacts nobody.

    Raises:
        BlobError: the library refuses these settings.
    """
    try:
        with _no_ambient_options():
            return S3Store(
                bucket,
                endpoint=endpoint.rstrip("/"),
                region=region,
                access_key_id=access_key,
                secret_access_key=secret_key,
                virtual_hosted_style_request=False,
                disable_bulk_delete=True,
                client_options={
                    "allow_http": endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=CONNECT_S),
                    "read_timeout": timedelta(seconds=UPLOAD_ANSWER_S),
                    "timeout": timedelta(days=1),  # of a whole transfer: a slow one is no fault
                },
                retry_config={
                    "max_retries": RETRIES,
                    "retry_timeout": timedelta(seconds=UPLOAD_ANSWER_S),
                },
            )
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise failed(error) from error


class _Patience:
    """Waits for the bucket's answer, so long and no longer."""

    def __init__(self, answer_s: float) -> None:
        self._answer_s: Final = answer_s

    async def __call__(self, request: Awaitable[T]) -> T:
        """Return the answer.

        Raises:
            FileNotFoundError: the object, or the bucket, is not there.
            BlobError: it failed otherwise, or took too long.
        """
        try:
            async with asyncio.timeout(self._answer_s):
                return await request
        except FileNotFoundError:
            raise
        except TimeoutError as error:
            raise BlobError(f"file storage: S3 did not answer within {self._answer_s:g} s") from error
        except FAILURES as error:
            raise failed(error) from error


class _Staged:
    def __init__(self, writer: StagingWriter, bucket: S3Store, key: BlobKey) -> None:
        self._writer: Final = writer
        self._bucket: Final = bucket
        self._key: Final = key
        self.write: Final = writer.write

    @property
    def size_bytes(self) -> int:
        return self._writer.size_bytes

    async def publish(self, check: Callable[[], Awaitable[None]]) -> None:
        # The library begins a multipart upload once its buffer is full, not when more than that comes.
        one_request = self.size_bytes <= PART_BYTES
        upload = obstore.open_writer_async(
            self._bucket, self._key.path, buffer_size=PART_BYTES + one_request, max_concurrency=1
        )
        try:
            async for chunk in self._writer.written_chunks():
                await _to_its_end(upload.write(chunk))
            await check()
            # What the library still holds, less than a part, goes with the request that ends the upload.
            await _to_its_end(upload.close())
        except BaseException:
            await _abort(upload)
            raise


async def _abort(upload: "AsyncWritableFile") -> None:
    """Let the bucket forget the parts. What cannot be aborted it has to expire itself (docs/files.md 4.1)."""
    with contextlib.suppress(*FAILURES):
        async with asyncio.timeout(CANCELLED_S):
            await upload.__aexit__(BlobError, None, None)


async def _to_its_end(request: Awaitable[T]) -> T:
    """Wait for a step of an upload. When cancelled, let it come to an end first: then nothing of it reaches
    the bucket after the caller has gone.

    Raises:
        BlobError: the step failed.
    """
    work = asyncio.ensure_future(request)
    try:
        return await asyncio.shield(work)
    except FAILURES as error:
        raise failed(error) from error
    except asyncio.CancelledError:
        try:
            await asyncio.wait({work}, timeout=CANCELLED_S)
        finally:
            if not work.cancel() and not work.cancelled():
                work.exception()  # seen; being cancelled matters more
        raise


class _Opened:
    def __init__(self, found: "GetResult", answer: _Patience) -> None:
        self.size_bytes: Final[int] = found.meta["size"]
        self.version: Final[str] = _version(found.meta)
        self._answer: Final = answer
        self._stream: BytesStream | None = found.stream(_STREAM_CHUNK_BYTES_MIN)

    async def chunks(self) -> AsyncIterator[bytes]:
        left = self.size_bytes
        while (
            self._stream is not None
            and (received := await self._answer(anext(self._stream, None))) is not None
        ):
            data = bytes(received)
            left -= len(data)
            for part in _parts(data):
                yield part
        if left:
            raise BlobError("file storage: S3 sent another number of bytes than it had said")

    def close(self) -> None:
        """Let go of the connection, whatever is still to come."""
        self._stream = None


def _parts(data: bytes) -> Iterator[bytes]:
    """The same in parts of equal length, none above `CHUNK_BYTES_MAX`."""
    count = -(-len(data) // CHUNK_BYTES_MAX) or 1
    part_bytes = -(-len(data) // count)
    return (data[start : start + part_bytes] for start in range(0, len(data), part_bytes or 1))


def _stored(key: BlobKey, meta: "ObjectMeta") -> Stored:
    return Stored(key, meta["size"], meta["last_modified"], _version(meta))


def _version(meta: "ObjectMeta") -> str:
    """The ETag tells contents apart, and the time those of a store whose ETag is no digest."""
    return f"{meta.get('e_tag') or ''} {meta['last_modified'].isoformat()}"


def _refuse_other_absence(error: FileNotFoundError) -> None:
    """A missing bucket is 404 as well, and so is a wrong endpoint: those are failures.

    Only a key that is said to be missing is none, as the row of a file whose content is missing is given up.
    """
    said = str(error)
    if "NoSuchKey" not in said:
        reason = "the bucket does not exist" if "NoSuchBucket" in said else "404 without a word about the key"
        raise BlobError(f"file storage: {reason}") from error


def failed(error: Exception) -> BlobError:
    """Word a failure for the operator: what the library says first, without its inner workings."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return BlobError(f"file storage: {lines[0][:_ERROR_CHARS_MAX]}")


def _remove_leftovers(staging: Path, before: float) -> int:
    """Remove what was staged before that time."""
    removed = 0
    with os.scandir(staging) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # its owner was quicker
                if is_staging_name(entry.name) and entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)
                    removed += 1
    return removed


@contextlib.contextmanager
def _no_ambient_options() -> Iterator[None]:
    """Hide the variables that the library takes options from whenever a store is made.

    They would override what the operator set for this server: the endpoint, the credentials, the signature.
    """
    hidden = {name: value for name, value in os.environ.items() if _AMBIENT.match(name)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)
