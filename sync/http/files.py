"""PUT, GET and HEAD of one file of a space, where file storage is configured (docs/files.md 1 and 2).

What a head alone can decide is decided before the body is touched, and one query answers all that the
database is asked before that. An upload comes to its end in a task of the announcer's, so that a hang-up does
not part content, row and announcement.
"""

import asyncio
import base64
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from less_sync.auth import Identity, Permission, parse_uuid
from less_sync.storage import BlobKey, FileLook, FileRow, Opened, RecordFileStatus, Staged, StorageError
from less_sync.sync.access.grants import Access, Denial, Grant, Refused, Seen, has_scope
from less_sync.sync.access.person import connection_key
from less_sync.sync.files.space_files import SpaceFiles, TooManyWaiting
from less_sync.sync.files.uploads import Upload
from less_sync.sync.http.body import BodyCut, BodyStalled, BodyTooLong, BodyTooShort, read_body, send_body
from less_sync.sync.http.file_heads import (
    RequestRefused,
    read_upload_head,
    record_named,
    ucan_shown,
)
from less_sync.sync.http.middleware import RETRY_AFTER_S, error_response
from less_sync.sync.http.paths import match_file_path
from less_sync.sync.protocol.codes import HOSTED_ELSEWHERE
from less_sync.sync.services import Services

_LOOKS_MAX: Final = 3
"""The database is asked again when the file was replaced meanwhile, or the space turned out to be shared."""

_STORED: Final = {RecordFileStatus.RECORDED: 201, RecordFileStatus.EXISTS: 204}
_NOT_RECORDED: Final = {
    RecordFileStatus.NO_SPACE: (404, "space not found"),
    RecordFileStatus.NO_RECORD: (400, "record not found in this space"),
    RecordFileStatus.REVOKED: (403, "access denied"),
    RecordFileStatus.REMOTE_HOME: (409, HOSTED_ELSEWHERE),
    RecordFileStatus.NOT_PERSONAL: (403, "access denied"),
}
"""What has changed since the head was checked."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _FileRequest:
    """A request whose path and scope are good."""

    key: BlobKey
    identity: Identity
    headers: Headers
    person: str


class FileEndpoint:
    """The methods of a file's path, as an ASGI application."""

    allow: Final = "PUT,GET,HEAD"

    def __init__(self, services: Services, files: SpaceFiles) -> None:
        self._services = services
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, receive, send)
        except RequestRefused as refused:
            response = error_response(refused.status, refused.error)
        except TooManyWaiting:
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            response = error_response(429, "too many requests are waiting", retry)
        except BodyStalled:
            response = error_response(408, "request timeout")
        except BodyCut:
            response = None  # nobody is there to be answered
        except (BodyTooShort, BodyTooLong):
            response = error_response(400, "Content-Length does not match request body length")
        if response is not None:
            await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        method = scope["method"]
        if method not in self.allow.split(","):
            return Response(status_code=405, headers={"Allow": self.allow})
        request = _read_request(scope)
        if method == "PUT":
            return await self._put(request, receive)
        look, _ = await self._authorised(request, Permission.READ, no_space="file not found")
        if look.row is None:
            raise RequestRefused(404, "file not found")
        if method == "HEAD":
            return Response(headers=_file_headers(request.key, look.row))
        async with self._files.downloading(request.person):
            return await self._download(request, look.row, receive, send)

    async def _authorised(
        self, request: _FileRequest, needed: Permission, *, no_space: str, record: UUID | None = None
    ) -> tuple[FileLook, Grant]:
        """What the database says about the file, and that the caller may see or write it.

        Raises:
            RequestRefused: he may not, or the space's home is another server.
            StorageError: the database could not be asked.
        """
        services, (space, file) = self._services, request.key
        access = Access(
            services.authority,
            services.spaces,
            request.identity,
            services.now,
            text=str(space),
            ucan=ucan_shown(request.headers),
            needed=needed,
        )
        for _ in range(_LOOKS_MAX):
            pairs = access.pairs
            look = await self._files.store.look(space, file, cids=access.cids, record=record)
            decision = access.decide(Seen(look.space, look.revoked, pairs))
            if isinstance(decision, Grant):
                if look.space is not None and services.forwarder.is_foreign(look.space.home_server):
                    raise RequestRefused(409, HOSTED_ELSEWHERE)
                return look, decision
            if isinstance(decision, Refused):
                raise _refusal(decision.denial, no_space)
        raise StorageError("a space keeps changing between personal and shared")

    # Uploads.

    async def _put(self, request: _FileRequest, receive: Receive) -> Response:
        look, grant = await self._authorised(
            request, Permission.WRITE, no_space="space not found", record=record_named(request.headers)
        )
        head = read_upload_head(request.headers, bytes_max=self._files.bytes_max)
        if look.space is None and grant.client_id is not None:
            await self._services.spaces.get_or_create_space(grant.space, grant.client_id)
        if not look.record_is_live:
            raise RequestRefused(400, "record not found in this space")
        caller = grant.caller
        if look.space is not None and look.space.home_server is not None:
            caller = replace(caller, local_only=False)  # it names this server
        upload = Upload(request.key, head.record, head.wrapped_dek, caller, request.person)
        stall_s = self._services.limits.file_body_stall_s
        async with self._files.uploading(request.person), self._files.blobs.stage(request.key) as staged:
            async for data in read_body(receive, length=head.length, stall_s=stall_s):
                await staged.write(data)
            status = await self._finished(upload, staged)
        if status not in _STORED:
            raise RequestRefused(*_NOT_RECORDED[status])
        return Response(status_code=_STORED[status])

    async def _finished(self, upload: Upload, staged: Staged) -> RecordFileStatus:
        """Bring an upload that came whole to its end, whatever becomes of its connection.

        Raises:
            StorageError: it failed, or the server was shut down over it.
        """
        ended: list[RecordFileStatus | Exception] = []

        async def finish() -> None:
            try:
                ended.append(await self._files.uploads.finish(upload, staged))
            except Exception as error:
                ended.append(error)

        task = self._services.announce.own(finish)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            await asyncio.wait({task})  # what was written aside is removed when nobody uses it any more
            raise
        if not ended:
            raise StorageError("the server was shut down before the upload was recorded")
        if isinstance(ended[0], Exception):
            raise ended[0]
        return ended[0]

    # Downloads.

    async def _download(
        self, request: _FileRequest, row: FileRow, receive: Receive, send: Send
    ) -> Response | None:
        """Send a content with the key it is sealed with; None once something was sent.

        The row is read again when the content is open: if it is still that of the same upload, so is the
        content. Its key may have been re-wrapped meanwhile.
        """
        for _ in range(_LOOKS_MAX):
            async with self._files.blobs.open(request.key) as opened:
                if opened is None:
                    break
                again = (await self._files.store.look(*request.key)).row
                if again is None:
                    break
                if again.cursor == row.cursor:
                    return await _send_content(request.key, again, opened, receive, send)
                row = again
        else:
            raise StorageError("a file keeps being replaced while it is opened")
        raise RequestRefused(404, "file not found")


def _read_request(scope: Scope) -> _FileRequest:
    """The first checks of each method: the token's scope, then the two ids.

    Raises:
        RequestRefused: 403 or 400.
    """
    identity: Identity = scope["state"]["identity"]
    if not has_scope(identity, "files"):
        raise RequestRefused(403, "files scope required")
    path = match_file_path(scope["raw_path"])
    assert path is not None, "or another route had it"
    key = BlobKey(_read_id(path.space, "invalid space ID"), _read_id(path.file, "invalid file ID"))
    return _FileRequest(key, identity, Headers(scope=scope), connection_key(identity))


def _read_id(text: str | None, error: str) -> UUID:
    parsed = None if text is None else parse_uuid(text)
    if parsed is None:
        raise RequestRefused(400, error)
    return parsed


def _refusal(denial: Denial, no_space: str) -> RequestRefused:
    match denial:
        case Denial.NO_SPACE:
            return RequestRefused(404, no_space)
        case Denial.NOTHING_SHOWN:
            return RequestRefused(401, "authorization required")
        case Denial.NOT_GRANTED:
            return RequestRefused(403, "access denied")


def _file_headers(key: BlobKey, row: FileRow) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(row.size_bytes),
        "ETag": f'"{key.file}"',
        "X-Wrapped-DEK": base64.b64encode(row.wrapped_dek).decode(),
    }


async def _send_content(
    key: BlobKey, row: FileRow, opened: Opened, receive: Receive, send: Send
) -> Response | None:
    if opened.size_bytes != row.size_bytes:
        raise StorageError(
            f"the content of file {key.file} of space {key.space} has {opened.size_bytes} bytes,"
            f" and its row says {row.size_bytes}"
        )
    headers = [(name.lower().encode(), value.encode()) for name, value in _file_headers(key, row).items()]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send_body(send, receive, opened.chunks())
    return None
