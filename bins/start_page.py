"""What a server in dev mode answers at its address: a page to try it, and the people of that page.

Signing in there needs no password: whoever may ask becomes the person they name. So nobody else may ask.
Every other page in a browser of this machine can send requests here, and other users of the machine can too:

- The secret is in the fragment of the address that `less-sync serve` prints. Browsers send fragments to
  nobody, and only who may read the data directory, and so is everybody to this server anyway, knows it.
- Another page cannot send the header that carries it without asking first, and is told nothing here then.
- A name that was made to stand for 127.0.0.1 stays in `Host` as it is, and is refused.

What is learnt here ends with the server: a page that is open signs in again when it was restarted.
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from less_sync.auth import DidKeyError, MalformedText, decode_did_key, parse_json_object
from less_sync.bins.dev import DEV_TOKEN_TTL_S, DevIssuer, dev_mailbox_id, dev_start_secret
from less_sync.bins.pages.assets import Asset, assets_in
from less_sync.bins.people import People, RememberedPeople
from less_sync.bins.settings.parts import ListenAddress
from less_sync.sync.http.body import BodyError, read_body
from less_sync.sync.http.middleware import error_response
from less_sync.sync.http.paths import PathTemplate
from less_sync.sync.http.routing import RawRoute

SECRET_HEADER: Final = "x-start-secret"
BODY_BYTES_MAX: Final = 4096
BODY_STALL_S: Final = 5.0

_HTTP_PORT: Final = 80
"""What a `Host` without a port means."""

Handler = Callable[[Request], Awaitable[Response]]
Check = Callable[[Request], str | None]
"""Why a request may not be made; None: it may."""


class StartPage:
    """The page, its files, and what it asks (docs/first-app.md 7).

    Args:
        data_dir: of the server, whose issuer mints the tokens.
        now: timezone-aware.
        people: who has signed in; of this process alone unless given.

    Raises:
        KeyFileError: the issuer's key or the secret cannot be kept there.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        people: People | None = None,
    ) -> None:
        self._issuer: Final = DevIssuer(data_dir)
        self._secret: Final = dev_start_secret(data_dir).encode()
        self._now = now
        self._people: Final = people or RememberedPeople()
        self._hosts: frozenset[str] = frozenset()

    def routes(self, addresses: Iterable[ListenAddress]) -> list[RawRoute]:
        """What the public port serves of it.

        Args:
            addresses: those it listens on.
        """
        self._hosts = own_hosts(addresses)
        start, client = assets_in("start"), assets_in("client")
        table = {
            "/": self._reading(_file_of({"": start["index.html"]}, "/")),
            "/start/about": self._reading(_about),
            "/start/token": OneMethod("POST", self._sign_in, self._refused_to_act),
            "/start/people": OneMethod("POST", self._find_person, self._refused_to_act),
            "/start/{file}": self._reading(_file_of(start, "/start/")),
            "/client/{file}": self._reading(_file_of(client, "/client/")),
            "/client/{folder}/{file}": self._reading(_file_of(client, "/client/")),
        }
        return [
            RawRoute(PathTemplate(template), endpoint, guards_itself=True, same_origin=True)
            for template, endpoint in table.items()
        ]

    def _reading(self, handler: Handler) -> "OneMethod":
        return OneMethod("GET", handler, self._refused)

    def _refused(self, request: Request) -> str | None:
        if request.headers.get("host", "").lower() in self._hosts:
            return None
        return "this page is served at the address that the server printed, and at no other name"

    def _refused_to_act(self, request: Request) -> str | None:
        refused = self._refused(request)
        if refused is not None:
            return refused
        if request.headers.get("origin") != f"http://{request.headers['host'].lower()}":
            return "only the start page may ask this"
        # In constant time: how long a wrong secret takes must not tell how much of it is right.
        if not hmac.compare_digest(request.headers.get(SECRET_HEADER, "").encode(), self._secret):
            return "open the page at the address that the server printed, with what follows the #"
        return None

    async def _sign_in(self, request: Request) -> Response:
        members = await _members(request, "name", "did")
        if isinstance(members, Response):
            return members
        name, did = members
        try:
            decode_did_key(did)
            now = self._now()
            token = self._issuer.mint(name, now=now, ttl_s=DEV_TOKEN_TTL_S, did=did)
        except DidKeyError:
            return error_response(400, "did is no did:key of a P-256 key")
        except ValueError as error:
            return error_response(400, str(error))
        self._people.remember(name, did)
        return _told({"token": token, "expires_at": int(now.timestamp()) + DEV_TOKEN_TTL_S})

    async def _find_person(self, request: Request) -> Response:
        members = await _members(request, "name")
        if isinstance(members, Response):
            return members
        (name,) = members
        did = self._people.did_of(name)
        if did is None:
            return error_response(404, "nobody has signed in under that name yet")
        return _told({"did": did, "mailbox": dev_mailbox_id(name)})


class OneMethod:
    """A path that answers one method, and before that says who may not ask.

    Args:
        method: GET answers HEAD too.
        refused: asked first, whatever the method.
    """

    def __init__(self, method: str, handler: Handler, refused: Check) -> None:
        self._methods: Final = ("GET", "HEAD") if method == "GET" else (method,)
        self.allow: Final = ",".join(self._methods)
        self._handler: Final = handler
        self._refused: Final = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        refused = self._refused(request)
        if refused is not None:
            response = error_response(403, refused)
        elif scope["method"] not in self._methods:
            response = Response(status_code=405, headers={"Allow": self.allow})
        else:
            response = await self._handler(request)
        await response(scope, receive, send)


def own_hosts(addresses: Iterable[ListenAddress]) -> frozenset[str]:
    """The values of `Host` by which a server on loopback is asked for itself, in lower case."""
    found = {str(ListenAddress(host, one.port)) for one in addresses for host in (one.host, "localhost")}
    bare = {name.removesuffix(f":{_HTTP_PORT}") for name in found if name.endswith(f":{_HTTP_PORT}")}
    return frozenset(name.lower() for name in found | bare)


def _file_of(assets: Mapping[str, Asset], prefix: str) -> Handler:
    """What sends the file that follows the prefix in a path."""

    async def send_file(request: Request) -> Response:
        asset = assets.get(request.scope["path"].removeprefix(prefix))
        if asset is None:
            return Response(status_code=404)
        # Not every browser takes a WebSocket to the page's own address for 'self', and none takes an IPv6
        # address in a policy: its grammar has no brackets.
        host = request.headers["host"].lower()
        return asset.response(request, connect="'self'" if host.startswith("[") else f"'self' ws://{host}")

    return send_file


async def _about(_request: Request) -> Response:
    return _told({"version": version("less-sync")})


async def _members(request: Request, *names: str) -> list[str] | Response:
    """The text members of a small JSON body; an answer that says what is wrong with it."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return error_response(415, "the body must be application/json")
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return error_response(411, "Content-Length is missing")
    if int(length) > BODY_BYTES_MAX:
        return error_response(413, f"the body may have {BODY_BYTES_MAX} bytes")
    try:
        pieces = [
            piece async for piece in read_body(request.receive, length=int(length), stall_s=BODY_STALL_S)
        ]
        document: dict[str, Any] = parse_json_object(b"".join(pieces))
    except BodyError:
        return error_response(400, "the body did not come whole")
    except MalformedText:
        return error_response(400, "the body is no JSON object")
    values = [document.get(name) for name in names]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(names):
        return error_response(400, f"wanted as text: {', '.join(names)}")
    return texts


def _told(document: Mapping[str, object]) -> Response:
    return JSONResponse(document, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
