"""What every route of files does alike: who may, which file that is, and its content (docs/files.md 2.2)."""

import base64
from typing import Final
from uuid import UUID

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from less_sync.auth import parse_uuid
from less_sync.storage import BlobKey, FileLook, FileRow, Opened, StorageError
from less_sync.sync.access.grants import Access, Denial, Grant, Refused, Seen
from less_sync.sync.files.space_files import SpaceFiles, TooManyWaiting
from less_sync.sync.http.body import send_body
from less_sync.sync.http.file_heads import RequestRefused
from less_sync.sync.http.middleware import RETRY_AFTER_S, error_response
from less_sync.sync.http.paths import PathTemplate, match_file_path

NO_FILE: Final = "file not found"

_LOOKS_MAX: Final = 3
"""The database is asked again when the file was replaced meanwhile, or the space turned out to be shared."""


def file_named(scope: Scope, template: PathTemplate) -> BlobKey:
    """The space and the file that a path names.

    Raises:
        RequestRefused: 400.
    """
    path = match_file_path(scope["raw_path"], template)
    assert path is not None, "or another route had it"
    return BlobKey(_read_id(path.space, "invalid space ID"), _read_id(path.file, "invalid file ID"))


def _read_id(text: str | None, error: str) -> UUID:
    parsed = None if text is None else parse_uuid(text)
    if parsed is None:
        raise RequestRefused(400, error)
    return parsed


def refused_response(refused: RequestRefused | TooManyWaiting) -> Response:
    """What a client is told of a request that ended early."""
    if isinstance(refused, TooManyWaiting):
        refused = RequestRefused(429, "too many requests are waiting", may_pass=True)
    retry = {"Retry-After": str(RETRY_AFTER_S)} if refused.may_pass else None
    return error_response(refused.status, refused.error, retry)


def file_headers(file: UUID, wrapped_dek: bytes, size_bytes: int) -> dict[str, str]:
    """What an answer says of the file that it holds."""
    return {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(size_bytes),
        "ETag": f'"{file}"',
        "X-Wrapped-DEK": base64.b64encode(wrapped_dek).decode(),
    }


async def begin_file(send: Send, headers: dict[str, str]) -> None:
    """Send the start of an answer whose body follows in pieces."""
    lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": lines})


class FileReads:
    """The files of this server."""

    def __init__(self, files: SpaceFiles) -> None:
        self._files = files

    async def authorised(
        self, key: BlobKey, access: Access, *, no_space: str, record: UUID | None = None
    ) -> tuple[FileLook, Grant]:
        """What the database says about a file, and that the caller may do what `access` is about.

        Args:
            no_space: what a space that does not exist is answered with.
            record: is looked up as well.

        Raises:
            RequestRefused: he may not.
            StorageError: the database could not be asked.
        """
        for _ in range(_LOOKS_MAX):
            pairs = access.pairs
            look = await self._files.store.look(*key, cids=access.cids, record=record)
            decision = access.decide(Seen(look.space, look.revoked, pairs))
            if isinstance(decision, Grant):
                return look, decision
            if isinstance(decision, Refused):
                raise _refusal(decision.denial, no_space)
        raise StorageError("a space keeps changing between personal and shared")

    async def answer(
        self, key: BlobKey, look: FileLook, scope: Scope, receive: Receive, send: Send, *, person: str
    ) -> Response | None:
        """Answer a GET or HEAD of somebody who may; None once something was sent.

        Raises:
            RequestRefused: there is no such file.
            TooManyWaiting: of this person's downloads.
            StorageError: database or content could not be read.
        """
        if look.row is None:
            raise RequestRefused(404, NO_FILE)
        if scope["method"] == "HEAD":
            return Response(headers=_headers(key, look.row))
        async with self._files.downloading(person):
            return await self._download(key, look.row, receive, send)

    async def _download(self, key: BlobKey, row: FileRow, receive: Receive, send: Send) -> Response | None:
        """Send a content with the key it is sealed with.

        The row is read again when the content is open: if it is still that of the same upload, so is the
        content. Its key may have been re-wrapped meanwhile.
        """
        for _ in range(_LOOKS_MAX):
            async with self._files.blobs.open(key) as opened:
                if opened is None:
                    break
                again = (await self._files.store.look(*key)).row
                if again is None:
                    break
                if again.cursor == row.cursor:
                    return await _send_content(key, again, opened, receive, send)
                row = again
        else:
            raise StorageError("a file keeps being replaced while it is opened")
        raise RequestRefused(404, NO_FILE)


def _refusal(denial: Denial, no_space: str) -> RequestRefused:
    match denial:
        case Denial.NO_SPACE:
            return RequestRefused(404, no_space)
        case Denial.NOTHING_SHOWN:
            return RequestRefused(401, "authorization required")
        case Denial.NOT_GRANTED:
            return RequestRefused(403, "access denied")


def _headers(key: BlobKey, row: FileRow) -> dict[str, str]:
    return file_headers(key.file, row.wrapped_dek, row.size_bytes)


async def _send_content(
    key: BlobKey, row: FileRow, opened: Opened, receive: Receive, send: Send
) -> Response | None:
    if opened.size_bytes != row.size_bytes:
        raise StorageError(
            f"the content of file {key.file} of space {key.space} has {opened.size_bytes} bytes,"
            f" and its row says {row.size_bytes}"
        )
    await begin_file(send, _headers(key, row))
    await send_body(send, receive, opened.chunks())
    return None
