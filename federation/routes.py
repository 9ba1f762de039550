"""What HTTP tells of peers and of our own keys (docs/federation.md 11)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from less_sync.auth import MalformedText, parse_server_name
from less_sync.federation.quotas import QuotaTracker
from less_sync.federation.settings import FederationSettings
from less_sync.sync.http.app import JWKS_CACHE_CONTROL
from less_sync.sync.http.paths import PEER_FILE_PATH, PathTemplate, decoded
from less_sync.sync.http.routing import Endpoint, Methods, RawRoute

_STATUS_PATH: Final = PathTemplate("/api/v1/federation/status/{domain}")


class OwnKeys(Protocol):
    """Our own public keys."""

    async def jwks(self) -> bytes:
        """The key set as JSON: active keys, oldest first."""


class PeerRoutes:
    """The three routes and the member of `/health`. All are there, whether or not peers are accepted.

    Args:
        files: serves files to peers; None where none are accepted, or there are no files.
    """

    def __init__(
        self,
        settings: FederationSettings,
        quotas: QuotaTracker,
        keys: OwnKeys,
        files: Endpoint | None = None,
    ) -> None:
        self._settings = settings
        self._quotas = quotas
        self._keys = keys
        self.routes: Sequence[RawRoute] = (
            RawRoute(PathTemplate("/.well-known/jwks.json"), Methods({"GET": self._jwks})),
            RawRoute(PathTemplate("/api/v1/federation/trusted"), Methods({"GET": self._trusted})),
            RawRoute(_STATUS_PATH, Methods({"GET": self._status})),
            *(() if files is None else (RawRoute(PEER_FILE_PATH, files, guards_itself=True),)),
        )

    def health(self) -> Mapping[str, Any] | None:
        """How many are trusted, and how many connections they have opened here."""
        if not self._settings.accepts_peers:
            return None
        trusted, connections = len(self._settings.trust.domains), self._quotas.connections
        return {"enabled": True, "peer_count": trusted, "connections": connections}

    async def _jwks(self, _request: Request) -> Response:
        headers = {"Cache-Control": JWKS_CACHE_CONTROL}
        return Response(await self._keys.jwks(), media_type="application/json", headers=headers)

    async def _trusted(self, _request: Request) -> Response:
        if not self._settings.accepts_peers:
            return Response(status_code=404)
        return JSONResponse({"domains": list(self._settings.trust.domains)})

    async def _status(self, request: Request) -> Response:
        """What a peer uses, by any spelling of its name."""
        if not self._settings.accepts_peers:
            return Response(status_code=404)
        found = _STATUS_PATH.match(request.scope["raw_path"])
        assert found is not None, "the route matched"
        try:
            name = parse_server_name(decoded(found[0]) or "")
        except MalformedText:
            name = None
        if name is None or self._settings.trust.entry_for(name.host, name.port) is None:
            return Response(status_code=404)
        return JSONResponse({"domain": str(name)} | self._quotas.usage(name.host)._asdict())
