"""Files of spaces at home here, for servers whose users may read them (docs/federation.md 10).

A request is signed by the server, and shows a user's UCAN, which is signed with it. What it is answered is
decided as for a pull, and read as for a client.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from less_sync.auth import SIGNED_CHARS_MAX, Identity, Permission, SignedRequest
from less_sync.federation.inbound.access import PeerAccess
from less_sync.sync.access.person import connection_key
from less_sync.sync.files.space_files import SpaceFiles, TooManyWaiting
from less_sync.sync.http.body import Gone, unless_gone
from less_sync.sync.http.file_heads import RequestRefused, ucan_shown
from less_sync.sync.http.file_reads import NO_FILE, FileReads, file_named, refused_response
from less_sync.sync.http.gate import UNAVAILABLE, Answer, Gate
from less_sync.sync.http.middleware import UCAN_HEADER_BYTES_MAX, UCAN_TOO_LARGE, refusal_response
from less_sync.sync.http.paths import PEER_FILE_PATH
from less_sync.sync.http.upgrade import Refusal
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.services import Services

COVERING: Final = ("x-ucan",)
"""What the gate of this route wants signed beside method, target and host."""
COVERED_CHARS_MAX: Final = UCAN_HEADER_BYTES_MAX + SIGNED_CHARS_MAX
WAITING_MAX: Final = 64
"""Requests whose key is being fetched."""


class PeerFiles:
    """The methods of a file's path for servers, as an ASGI application.

    Args:
        gate: wants what `COVERING` says, and takes what `COVERED_CHARS_MAX` says.
    """

    allow: Final = "GET,HEAD"

    def __init__(self, services: Services, files: SpaceFiles, gate: Gate) -> None:
        self._services = services
        self._reads = FileReads(files)
        self._gate = gate
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, receive, send)
        except (RequestRefused, TooManyWaiting) as refused:
            response = refused_response(refused)
        except Gone:
            response = None
        if response is not None:
            await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        if scope["method"] not in self.allow.split(","):
            return Response(status_code=405, headers={"Allow": self.allow})
        headers = Headers(scope=scope)
        peer = await self._admitted(_signed(scope, headers), receive)
        if isinstance(peer, Refusal):
            return refusal_response(peer)
        key = file_named(scope, PEER_FILE_PATH)
        ucan = ucan_shown(headers)
        if len(ucan) > UCAN_HEADER_BYTES_MAX:
            raise RequestRefused(401, UCAN_TOO_LARGE)
        access = PeerAccess(
            self._services,
            peer,
            text=str(key.space),
            ucan=ucan,
            needed=Permission.READ,
            personal_as=ErrorCode.NOT_FOUND,
        )
        look, _ = await self._reads.authorised(key, access, no_space=NO_FILE)
        return await self._reads.answer(key, look, scope, receive, send, person=connection_key(peer))

    async def _admitted(self, request: SignedRequest, receive: Receive) -> Answer:
        """Who asks, as the gate says: after a wait of bounded length if it must."""
        answer = self._gate.admit(request)
        if isinstance(answer, Identity | Refusal):
            return answer
        if self._waiting >= WAITING_MAX:
            return UNAVAILABLE
        self._waiting += 1
        try:
            return await unless_gone(receive, answer())
        finally:
            self._waiting -= 1


def _signed(scope: Scope, headers: Headers) -> SignedRequest:
    """The request as its signature sees it."""
    query: bytes = scope["query_string"]
    target: bytes = scope["raw_path"] + (b"?" + query if query else b"")
    return SignedRequest.of(method=scope["method"], target=target.decode("latin-1"), headers=headers.items())
