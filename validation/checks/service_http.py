"""What a target answers over HTTP: its health, headers, preflights, keys, routes, and long request heads."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from less_sync.auth import AuthError, b64url_decode
from less_sync.validation.canonical import parsed
from less_sync.validation.context import Context
from less_sync.validation.outcome import Faulty, slug
from less_sync.validation.people import Person
from less_sync.validation.targets import SOCKET_PATH, Answer

HEALTH: Final = "/health"
KEYS: Final = "/.well-known/jwks.json"
TRUSTED: Final = "/api/v1/federation/trusted"
NOWHERE: Final = "/less-sync-validate/nowhere"
"""A path that no server has."""
BETWEEN_S: Final = 0.2
PROTOCOL_VERSION: Final = "x-protocol-version"
"""A header of every answer that the application gave; what stands before it does not know it."""

COMMON_HEADERS: Final[Mapping[str, str]] = {
    PROTOCOL_VERSION: "1",
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, PUT, HEAD, POST, OPTIONS",
    "access-control-allow-headers": "Content-Type, Content-Length, Authorization, X-UCAN, X-Wrapped-DEK,"
    " X-Record-ID, X-DID-Proof",
    "access-control-expose-headers": "X-Wrapped-DEK",
    "access-control-max-age": "86400",
}
"""Of every answer (docs/operations.md 4.2)."""
EXPOSED_TOO: Final = "X-Wrapped-DEK, ETag"
"""What `CORS_EXPOSE_ETAG` makes of the exposed headers."""
PROOF: Final = ", X-DID-Proof"
"""An existing server knows no derived identities, and allows no proof."""
ASKED_HEADERS: Final = ("authorization", "content-type", "x-ucan", "x-wrapped-dek", "x-record-id")
"""What a browser asks for before it sends a file."""
KEYS_CACHE: Final = "public, max-age=3600, stale-while-revalidate=86400"
KEY_MEMBERS: Final = ("kid", "kty", "alg", "use", "crv", "x")
UCAN_HEADER_BYTES: Final = 65_536
"""The longest `X-UCAN` that is taken (docs/operations.md 4.3)."""
FILLING_BYTES_MAX: Final = 32 * 1024
"""Of one header that fills a request head up."""


def unknown_file(context: Context) -> str:
    """The path of a file that does not exist, in a space that does not."""
    return f"/api/v1/spaces/{context.stream.uuid()}/files/{context.stream.uuid()}"


def owner(context: Context) -> Person:
    """The identity with which a target is looked at."""
    return context.run.people.person(context.target.name, "owner")


async def health(context: Context) -> None:
    """`GET /health` some times, and HEAD once (docs/operations.md 5)."""
    deadline_ms, slowest_ms, times = context.number("deadline_ms"), 0, context.number("times")
    for number in range(times):
        if number:
            await asyncio.sleep(BETWEEN_S)
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                answer = await context.request("GET", HEALTH)
        except TimeoutError:
            context.say(f"answer {number + 1} of {times} took longer than {deadline_ms} ms")
            context.measured.number("slowest_ms", deadline_ms + 1, samples=number + 1)
            return
        slowest_ms = max(slowest_ms, answer.elapsed_ms)
        context.say(f"answer {number + 1} of {times}: {answer.status} after {answer.elapsed_ms} ms")
        context.measured.same("status", 200, answer.status, slug("status", answer.status))
        context.measured.number("slowest_ms", slowest_ms, samples=number + 1)
        told = (answer.header("content-type"), answer.body)
        context.measured.same("body", ("application/json", _healthy(answer)), told, "body")
    answer = await context.request("HEAD", HEALTH)
    context.measured.same("head", (200, b""), (answer.status, answer.body), slug("head", answer.status))


def _healthy(answer: Answer) -> bytes:
    """The body as it has to be; what only some servers tell is taken from the answer, if it has its form."""
    try:
        told = parsed(answer.body)
    except ValueError:
        told = None
    wanted: dict[str, object] = {"status": "healthy"}
    for name, members in (
        ("federation", {"enabled": bool, "peer_count": int, "connections": int}),
        ("cluster", {"node": str, "bus": str}),
    ):
        part = told.get(name) if isinstance(told, dict) else None
        if isinstance(part, dict) and part and all(type(part[one]) is members.get(one) for one in part):
            wanted[name] = {one: part[one] for one in members if one in part}
    return json.dumps(wanted, separators=(",", ":"), ensure_ascii=False).encode()


def common_headers(context: Context) -> dict[str, str]:
    """Those that the target's kind of server sends."""
    headers = dict(COMMON_HEADERS)
    if context.target.spec.server != "less-sync":
        name = "access-control-allow-headers"
        headers[name] = headers[name].removesuffix(PROOF)
    return headers


async def headers(context: Context) -> None:
    """The six common headers on answers of five statuses, and none that must not come."""
    person = owner(context)
    for status, method, path, who in (
        (200, "GET", HEALTH, None),
        (204, "OPTIONS", HEALTH, None),
        (401, "GET", NOWHERE, None),
        (404, "GET", NOWHERE, person),
        (405, "HEAD", SOCKET_PATH, None),  # a wrong method that may be sent where nothing may be written
    ):
        answer = await context.request(method, path, person=who)
        context.say(f"{method} {path}: {answer.status}")
        context.measured.same("status", status, answer.status, slug("status", answer.status))
        for name, wanted in common_headers(context).items():
            seen = answer.header(name)
            exposes = name == "access-control-expose-headers" and seen == EXPOSED_TOO
            context.measured.same("headers", EXPOSED_TOO if exposes else wanted, seen, slug("header", name))
        for name in ("vary", "access-control-allow-credentials"):
            context.measured.same("headers", None, answer.header(name), slug("header", name))


async def preflight(context: Context) -> None:
    """What a browser asks before it sends a file, as it asks."""
    answer = await context.request(
        "OPTIONS",
        unknown_file(context),
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": ",".join(sorted(ASKED_HEADERS)),
        },
    )
    context.measured.same("status", 204, answer.status, slug("status", answer.status))
    allowed = _words(answer.header("access-control-allow-headers"))
    context.say(f"{answer.status}, allowed: {', '.join(allowed) or 'none'}")
    for name in ASKED_HEADERS:
        context.measured.same("allowed", True, name in allowed, slug("not-allowed", name))
    methods = _words(answer.header("access-control-allow-methods"))
    context.measured.same("allowed", True, "put" in methods, "not-allowed:put")
    origin = answer.header("access-control-allow-origin")
    context.measured.same("allowed", "*", origin, "not-allowed:origin")


def _words(value: str | None) -> list[str]:
    return [word.strip().lower() for word in (value or "").split(",") if word.strip()]


async def jwks(context: Context) -> None:
    """The keys by which the server speaks to others: their form, and how long they may be kept."""
    answer = await context.request("GET", KEYS)
    context.measured.same("status", 200, answer.status, slug("status", answer.status))
    context.measured.same("cache-control", KEYS_CACHE, answer.header("cache-control"), "cache-control")
    document = answer.json()
    keys = document.get("keys") if isinstance(document, dict) and len(document) == 1 else None
    context.measured.same("keys", True, isinstance(keys, list), "body")
    if not isinstance(keys, list):
        return
    context.say(f"{len(keys)} keys")  # a server without peers may have none
    seen: set[str] = set()
    for number, key in enumerate(keys, 1):
        kid = key.get("kid") if isinstance(key, dict) else None
        right = isinstance(kid, str) and kid not in seen and _well_formed(key)
        context.measured.same("keys", True, right, slug("key", number))
        seen.add(str(kid))


def _well_formed(key: Mapping[str, object]) -> bool:
    fixed = {"kty": "OKP", "alg": "EdDSA", "use": "federation", "crv": "Ed25519"}
    if set(key) != set(KEY_MEMBERS) or any(key[name] != value for name, value in fixed.items()):
        return False
    kid, public = key["kid"], key["x"]
    if not isinstance(public, str) or not re.fullmatch(r"https?://[^\s#]+(#\S+)?", str(kid)):
        return False
    try:
        return len(b64url_decode(public)) == 32
    except AuthError:
        return False


@dataclass(frozen=True, slots=True)
class Route:
    """A request, and how it has to be answered."""

    method: str
    path: str
    status: int
    body: bytes | None = b""
    """None: whatever it is."""
    allow: str | None = None
    person: Person | None = None
    headers: Sequence[tuple[str, str]] = ()
    any_allow: bool = False
    """An existing server sends `Allow` there too, and nothing reads it."""


MISSING: Final = b'{"error":"missing authorization"}'
UPGRADE: Final = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "bGVzcy1zeW5jIHZhbGlkYQ=="),
)


def route_table(context: Context) -> tuple[Route, ...]:
    """Eighteen requests (docs/operations.md 4.1 to 4.5). Their order is that of the reasons `row:N`."""
    person, file, federation = (
        owner(context),
        unknown_file(context),
        context.run.manifest.features["federation"],
    )
    return (
        Route("GET", HEALTH, 200, None),
        Route("GET", f"{HEALTH}?a=b", 200, None),
        Route("POST", HEALTH, 405, allow="GET,HEAD"),
        Route("GET", f"{HEALTH}/", 401, MISSING),
        Route("GET", f"{HEALTH}/", 404, person=person),
        Route("GET", "/Health", 401, MISSING),
        Route("GET", f"{KEYS}/", 401, MISSING),
        Route("GET", NOWHERE, 401, MISSING),
        Route("GET", NOWHERE, 404, person=person),
        Route("POST", NOWHERE, 401, MISSING),
        Route("HEAD", KEYS, 200),
        Route("GET", TRUSTED, 401, MISSING),
        Route("GET", TRUSTED, 200 if federation else 404, None if federation else b"", person=person),
        Route("POST", TRUSTED, 405, allow="GET,HEAD", person=person),
        Route("GET", file, 401, MISSING, any_allow=True),
        Route("GET", SOCKET_PATH, 400, None),
        Route("GET", SOCKET_PATH, 400, headers=UPGRADE),
        Route("OPTIONS", NOWHERE, 204),
    )


async def routes(context: Context) -> None:
    """The whole table; where nothing may be written, without its requests by POST."""
    may_write = context.target.spec.writes != "none"
    for number, row in enumerate(route_table(context), 1):
        if row.method == "POST" and not may_write:
            context.say(f"row {number}: {row.method} {row.path}: not sent where nothing may be written")
            continue
        answer = await context.request(row.method, row.path, headers=dict(row.headers), person=row.person)
        allow = None if row.any_allow else answer.header("allow")
        body = answer.body if row.body is not None else None
        context.say(f"row {number}: {row.method} {row.path}: {answer.status}")
        wanted, seen = (row.status, row.body, row.allow), (answer.status, body, allow)
        context.measured.same("rows", wanted, seen, slug("row", number))


async def request_head(context: Context) -> None:
    """A request with a long head, the longest UCAN in it, is answered by the server itself."""
    long = {"X-UCAN": context.stream.take(UCAN_HEADER_BYTES // 2).hex()}
    left_bytes, number = context.number("head_kib") * 1024 - UCAN_HEADER_BYTES, 0
    while left_bytes > 0:
        size_bytes = min(left_bytes, FILLING_BYTES_MAX)
        number += 1
        long[f"X-Filling-{number}"] = context.stream.take(-(-size_bytes // 2)).hex()[:size_bytes]
        left_bytes -= size_bytes
    try:
        answer = await context.request("GET", NOWHERE, headers=long, person=owner(context))
    except Faulty as end:
        if end.outcome.reason != "cut":
            raise
        context.say("the connection was cut")
        context.measured.same("answered", "an answer", "none", "proxy-limit")
        return
    context.say(f"a head of over {context.number('head_kib')} KiB: {answer.status}")
    context.measured.same("answered", "1", answer.header(PROTOCOL_VERSION), "proxy-limit")
    context.measured.same("answered", 404, answer.status, slug("status", answer.status))
