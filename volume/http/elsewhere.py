"""Reads of volumes that other servers have: passed on, or answered with where to go."""

import random
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus

from less_sync.volume.http.client import Incoming, OutgoingError
from less_sync.volume.http.content import Owned
from less_sync.volume.http.paths import escape_path, raw_bytes
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Header, Pieces, Response
from less_sync.volume.logs import Logger
from less_sync.volume.master.lookup import LookupFailed, Place

if TYPE_CHECKING:
    from less_sync.volume.services import Services

_HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""They belong to one connection (RFC 9110 section 7.6.1), or to a body that a read has not."""
_NOT_SENT: Final = _HOP_BY_HOP | {b"host"}
_NOT_COPIED: Final = _HOP_BY_HOP | {b"server", b"date"}
_log: Final = Logger(__name__)


async def answer_elsewhere(services: "Services", request: Request, volume_id: int) -> Response:
    """Answer a read of a volume by another server that has it: 404 if there is none.

    In read mode `proxy` the request is passed on, else the client is told to go there.
    """
    try:
        places = await services.lookup.find(volume_id)
    except LookupFailed as fault:
        _log.warning("a volume could not be looked up", volume=volume_id, fault=str(fault))
        return Response(404)
    place = _other(places, services.options.own_address)
    if place is None:
        services.counters.handlers["emptyReadProxyLocaction"] += 1
        return Response(404)
    if services.options.read_mode != "proxy":
        services.counters.handlers["readRedirectRequest"] += 1
        return _redirect(request, f"{services.outgoing.scheme}://{place.url}")
    services.counters.handlers["readProxyRequest"] += 1
    try:
        target = _target(request)
        incoming = await services.outgoing.get_stream(place.url, target, _sent(request))
    except OutgoingError as fault:
        # The volume may have moved: ask the master the next time.
        services.lookup.forget(volume_id)
        services.counters.handlers["failedReadProxyRequest"] += 1
        _log.warning("a read could not be passed on", volume=volume_id, to=place.url, fault=str(fault))
        return Response(500)
    return await _passed_on(request, incoming)


def _other(places: Sequence[Place], own: str) -> Place | None:
    """Any of the places that is not this server."""
    others = [place for place in places if own not in place.url]
    return random.choice(others) if others else None


def _target(request: Request) -> str:
    """The same path, and the query with its names sorted."""
    params = request.params | {"proxied": ["true"]}
    query = "&".join(f"{_quoted(name)}={_quoted(one)}" for name in sorted(params) for one in params[name])
    return f"{escape_path(request.path)}?{query}"


def _quoted(text: str) -> str:
    return quote_plus(raw_bytes(text))


def _sent(request: Request) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in request.headers if name not in _NOT_SENT]


async def _passed_on(request: Request, incoming: Incoming) -> Response:
    """The other server's answer. Its request id and its CORS headers come behind our own."""
    headers: list[Header] = [
        (name.decode("latin-1"), value) for name, value in incoming.headers if name.lower() not in _NOT_COPIED
    ]
    told = incoming.header(b"content-length")
    length = int(told) if told is not None and told.isdigit() else None
    if request.method == "HEAD" or length == 0 or incoming.status in (204, 304):
        await incoming.close()
        if told is not None:
            headers.append(("Content-Length", told))
        return Response(incoming.status, headers)
    return Response(incoming.status, headers, Pieces(Owned(incoming.pieces(), incoming.close), length))


def _redirect(request: Request, base: str) -> Response:
    """To the needle itself: name, extension and all parameters but the collection are dropped."""
    collection = request.param("collection")
    query = (f"collection={_quoted(collection)}&" if collection else "") + "proxied=true"
    url = f"{base}/{escape_path(f'{request.vid_text},{request.fid_text}')}?{query}"
    headers: list[Header] = [("Content-Type", "text/html; charset=utf-8"), ("Location", url)]
    if request.method == "HEAD":
        return Response(301, headers)
    shown = escape(url).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    return Response(301, headers, f'<a href="{shown}">Moved Permanently</a>.\n\n'.encode())
