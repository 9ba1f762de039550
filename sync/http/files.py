"""PUT, GET and HEAD of one file of a space, where file storage is configured (docs/files.md 1 and 2).

What a head alone can decide is decided before the body is touched, and one query answers all that the
database is asked before that. An upload comes to its end in a task of the announcer's, so that a hang-up does
not part content, row and announcement.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from less_sync.auth import Identity, Permission
from less_sync.storage import BlobKey, FileLook, RecordFileStatus, Staged, StorageError
from less_sync.sync.access.grants import Access, has_scope
from less_sync.sync.access.person import connection_key
from less_sync.sync.files.removals import HeldByBackup
from less_sync.sync.files.space_files import SpaceFiles, TooManyWaiting
from less_sync.sync.files.uploads import Upload
from less_sync.sync.forwarding import FileAsked
from less_sync.sync.http.body import BodyCut, BodyStalled, BodyTooLong, BodyTooShort, read_body
from less_sync.sync.http.file_heads import (
    RequestRefused,
    read_upload_head,
    record_named,
    ucan_shown,
)
from less_sync.sync.http.file_reads import NO_FILE, FileReads, file_named, refused_response
from less_sync.sync.http.file_relay import relay_file
from less_sync.sync.http.middleware import error_response
from less_sync.sync.http.paths import FILE_PATH
from less_sync.sync.protocol.codes import HOSTED_ELSEWHERE
from less_sync.sync.services import Services

_STORED: Final = {RecordFileStatus.RECORDED: 201, RecordFileStatus.EXISTS: 204}
_NOT_RECORDED: Final = {
    RecordFileStatus.NO_SPACE: (404, "space not found"),
    RecordFileStatus.NO_RECORD: (400, "record not found in this space"),
    RecordFileStatus.REVOKED: (403, "access denied"),
    RecordFileStatus.REMOTE_HOME: (409, HOSTED_ELSEWHERE),
    RecordFileStatus.NOT_PERSONAL: (403, "access denied"),
}
"""What has changed since the head was checked."""


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
        self._reads = FileReads(files)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, receive, send)
        except (RequestRefused, TooManyWaiting) as refused:
            response = refused_response(refused)
        except HeldByBackup as held:
            response = refused_response(RequestRefused(503, str(held), may_pass=True))
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
        access = self._access(request, Permission.READ)
        look, _ = await self._reads.authorised(request.key, access, no_space=NO_FILE)
        home = self._home_elsewhere(look)
        if home is not None:
            asked = FileAsked(*request.key, home, access.ucan, content=method == "GET")
            return await relay_file(self._services.forwarder, asked, receive, send, person=request.person)
        return await self._reads.answer(request.key, look, scope, receive, send, person=request.person)

    def _access(self, request: _FileRequest, needed: Permission) -> Access:
        services = self._services
        return Access(
            services.authority,
            services.spaces,
            request.identity,
            services.now,
            text=str(request.key.space),
            ucan=ucan_shown(request.headers),
            needed=needed,
        )

    def _home_elsewhere(self, look: FileLook) -> str | None:
        """The home of the file's space as its row names it; None when that is this server."""
        home = None if look.space is None else look.space.home_server
        return home if self._services.forwarder.is_foreign(home) else None

    # Uploads.

    async def _put(self, request: _FileRequest, receive: Receive) -> Response:
        look, grant = await self._reads.authorised(
            request.key,
            self._access(request, Permission.WRITE),
            no_space="space not found",
            record=record_named(request.headers),
        )
        if self._home_elsewhere(look) is not None:
            raise RequestRefused(409, HOSTED_ELSEWHERE)
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


def _read_request(scope: Scope) -> _FileRequest:
    """The first checks of each method: the token's scope, then the two ids.

    Raises:
        RequestRefused: 403 or 400.
    """
    identity: Identity = scope["state"]["identity"]
    if not has_scope(identity, "files"):
        raise RequestRefused(403, "files scope required")
    return _FileRequest(
        file_named(scope, FILE_PATH), identity, Headers(scope=scope), connection_key(identity)
    )
