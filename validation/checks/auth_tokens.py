"""Which tokens are taken and which are refused, in which words (docs/tokens.md 3)."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth import AuthError, b64url_decode, b64url_encode
from less_sync.sync.client import token_claim
from less_sync.sync.protocol.messages import SubscribeResult
from less_sync.validation.canonical import parsed
from less_sync.validation.checks.service_http import NOWHERE
from less_sync.validation.context import Context
from less_sync.validation.conversation import Closed, Conversation, Ended
from less_sync.validation.generated import Stream
from less_sync.validation.outcome import Blocked, Faulty, slug
from less_sync.validation.people import NAMES, Minter, Person, sign_token
from less_sync.validation.spaces import read

UNTRUSTED: Final = "https://untrusted.invalid"
ORDER: Final = int("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
"""Of P-256: private keys are below it."""
LONG_AGO_S: Final = 3600
CLOSE_S: Final = 5.0
TRY_AGAIN_S: Final = 0.05
TOO_MANY: Final = (4003, "too many connections")


def key_of(stream: Stream) -> ec.EllipticCurvePrivateKey:
    """A key of the run's own: the same run id makes the same one."""
    return ec.derive_private_key(int.from_bytes(stream.take(40), "big") % (ORDER - 1) + 1, ec.SECP256R1())


async def _taken(context: Context, person: Person, name: str) -> None:
    """Measure that a person's token is accepted, over HTTP and by the first message."""
    answer = await context.request("GET", NOWHERE, person=person)
    context.say(f"{name}: {answer.status} over HTTP")
    context.measured.same("http", 404, answer.status, slug("http", name, answer.status))
    seen = "answered"
    try:
        async with context.converse(person) as conversation:
            await conversation.barrier()
    except Ended as end:
        seen = f"closed:{end.closed.code}"
    context.say(f"{name}: {seen} by WebSocket")
    context.measured.same("socket", "answered", seen, slug("socket", name, *seen.split(":")))


async def token_ways(context: Context) -> None:
    """A token of every identity that was given, in whatever way, is accepted; a way has to give one."""
    for name in NAMES:
        try:
            person = context.run.people.person(context.target.name, name)
        except Blocked:
            context.say(f"{name}: no token is given")
            continue
        await _taken(context, person, name)


async def production_token(context: Context) -> None:
    """A token as production's users have it is accepted by another server."""
    await _taken(context, context.run.people.person("production", "owner"), "owner")


def _refused(text: str) -> bytes:
    return json.dumps({"error": text}, separators=(",", ":")).encode()


def _header_of(token: str) -> dict[str, Any]:
    """The header of a token; empty where it is none that can be read."""
    try:
        header = parsed(b64url_decode(token.split(".")[0]))
    except (AuthError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


async def http_refusals(context: Context) -> None:
    """Every refusal that can be had without a key that the server trusts, word by word."""
    token = await context.run.people.person(context.target.name, "owner").token()
    key, now = key_of(context.stream), int(time.time())
    issuer, kid = token_claim(token, "iss"), _header_of(token).get("kid")
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": "nobody",
        "client_id": "nobody",
        "aud": token_claim(token, "aud"),
    }
    claims |= {"scope": "sync files", "iat": now, "exp": now + LONG_AGO_S}
    header = {"alg": "ES256", "typ": "JWT", "kid": kid}
    unknown = sign_token(header, claims | {"iss": UNTRUSTED}, key)
    for name, value, text in (
        ("missing", None, "missing authorization"),
        ("scheme", "Basic bGVzcy1zeW5j", "invalid authorization header format"),
        ("bare", "Bearer", "invalid authorization header format"),
        ("junk", "Bearer junk", "invalid token"),
        ("segments", "Bearer a.b.c", "invalid token"),
        ("unsigned", f"Bearer {_unsigned(claims)}", "invalid token"),
        ("signature", f"Bearer {sign_token(header, claims, key)}", "invalid token"),
        ("issuer", f"Bearer {unknown}", "untrusted token issuer"),
    ):
        headers = {} if value is None else {"Authorization": value}
        answer = await context.request("GET", NOWHERE, headers=headers)
        context.say(f"{name}: {answer.status}")
        seen = (answer.status, answer.header("content-type"), answer.body)
        context.measured.same(
            "refusals", (401, "application/json", _refused(text)), seen, slug("refusal", name)
        )


def _unsigned(claims: dict[str, Any]) -> str:
    """A JWT of the algorithm `none` (RFC 7519, 6.1)."""
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join([*(b64url_encode(json.dumps(part).encode()) for part in parts), ""])


@dataclass(frozen=True, slots=True)
class Wrong:
    """A token that must be refused, and how."""

    name: str
    token: str
    reason: str
    """Of the close frame."""
    text: str
    """Over HTTP; empty: there it is taken."""


def _by_secret(minter: Minter, claims: dict[str, Any]) -> str:
    """Signed with the issuer's public key as if it were a secret (RFC 8725, 2.1)."""
    secret = minter.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    now = int(time.time())
    body = {"iss": minter.issuer, "aud": [minter.audience], "iat": now, "exp": now + LONG_AGO_S} | claims
    header = {"alg": "HS256", "typ": "JWT", "kid": minter.kid}
    text = ".".join(b64url_encode(json.dumps(part).encode()) for part in (header, body))
    return f"{text}.{b64url_encode(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def wrong_tokens(context: Context) -> list[Wrong]:
    """All of them, each a good one but for one thing."""
    target = context.target
    minter = context.run.people.minter(target.name)
    member = context.run.people.person(target.name, "member")
    claims, other, now = minter.claims("member", did=member.did), key_of(context.stream), int(time.time())
    invalid, text = "invalid auth token", "invalid token"
    expired = {"iat": now - 2 * LONG_AGO_S, "exp": now - LONG_AGO_S}
    rows = [
        Wrong("junk", context.stream.take(30).hex(), invalid, text),
        Wrong("signature", minter.token(claims, key=other), invalid, text),
        Wrong("expired", minter.token(claims | expired), "expired auth token", "token has expired"),
        Wrong(
            "issuer",
            minter.token(claims | {"iss": UNTRUSTED}, key=other),
            "untrusted auth issuer",
            "untrusted token issuer",
        ),
        Wrong("scope", minter.token(claims | {"scope": "files"}), "sync scope required", ""),
        Wrong("audience", minter.token(claims | {"aud": ["another-service"]}), invalid, text),
        Wrong("none", _unsigned(claims | {"iss": minter.issuer, "exp": now + LONG_AGO_S}), invalid, text),
        Wrong("secret", _by_secret(minter, claims), invalid, text),
        Wrong("critical", minter.token(claims, header={"crit": ["exp"]}), invalid, text),
    ]
    if target.spec.server == "less-sync":
        rows.append(Wrong("endless", minter.token(claims | {"exp": None}), invalid, text))
    return rows


async def _closed_by(context: Context, token: str) -> Closed | None:
    """How a connection ends whose first message brings this token; None: it does not."""
    async with context.converse() as conversation:
        await conversation.authenticate(token)
        try:
            await conversation.send("?", {})
            await conversation.next(CLOSE_S)
        except Ended as end:
            return end.closed
        except TimeoutError:
            pass
        return None


async def token_refusals(context: Context) -> None:
    """Every wrong token, by the first message and over HTTP."""
    closed = await _closed_by(context, "")
    seen = None if closed is None else (closed.code, closed.reason)
    context.measured.same("refusals", (4000, "empty auth token"), seen, "token:empty")
    for row in wrong_tokens(context):
        closed = await _closed_by(context, row.token)
        seen = None if closed is None else (closed.code, closed.reason)
        context.say(f"{row.name}: {'taken' if seen is None else f'closed with {seen[0]} {seen[1]}'}")
        context.measured.same("refusals", (4000, row.reason), seen, slug("token", row.name))
        headers = {"Authorization": f"Bearer {row.token}"}
        answer = await context.request("GET", NOWHERE, headers=headers)
        context.say(f"{row.name}: {answer.status} over HTTP")
        wanted = (401, _refused(row.text)) if row.text else (404, b"")
        context.measured.same(
            "refusals", wanted, (answer.status, answer.body), slug("token", row.name, "http")
        )


async def refresh(context: Context) -> None:
    """`token.refresh` with a good token, another user's, and one that has expired (docs/protocol.md 7.1)."""
    target = context.target.name
    minter = context.run.people.minter(target)
    owner, member = (context.run.people.person(target, name) for name in ("owner", "member"))
    now = int(time.time())
    expired = minter.token(
        minter.claims("owner", did=owner.did) | {"iat": now - 2 * LONG_AGO_S, "exp": now - LONG_AGO_S}
    )
    async with context.converse(owner) as conversation:
        for name, token, wanted in (
            ("good", await owner.token(), {"ok": True}),
            ("another", await member.token(), {"ok": False, "error": "token identity mismatch"}),
            ("expired", expired, {"ok": False, "error": "expired auth token"}),
        ):
            result = await conversation.call("token.refresh", {"token": token})
            context.say(f"{name}: {result}")
            context.measured.same("results", wanted, result, slug("refresh", name))
            await _measure_identity(context, conversation, owner, member, name)


async def _measure_identity(
    context: Context, conversation: Conversation, owner: Person, member: Person, name: str
) -> None:
    """Who the connection is, by whose personal space is open to it."""
    mine, theirs = str(await owner.personal_space()), str(await member.personal_space())
    entries = [{"id": mine, "since": 0}, {"id": theirs, "since": 0}]
    result = await conversation.call("subscribe", {"spaces": entries})
    spaces = [one.id for one in read(SubscribeResult, result, "subscribe").spaces]
    context.measured.same("identity", [mine], spaces, slug("identity", name))


async def connection_limit(context: Context) -> None:
    """As many sockets of one mailbox as are allowed, one more, and one again when one has gone."""
    allowed = context.target.spec.connections_per_mailbox
    member = context.run.people.person(context.target.name, "member")
    async with AsyncExitStack() as stack:
        last = stack
        for number in range(1, allowed + 1):
            last = await stack.enter_async_context(AsyncExitStack())
            conversation = await last.enter_async_context(context.converse(member))
            try:
                await conversation.barrier()
            except Ended as end:
                context.say(f"socket {number} of {allowed} was closed with {end.closed.code}")
                raise Faulty("closed", end.closed.code) from None
        context.say(f"{allowed} sockets are open")
        closed = await _one_more(context, member)
        seen = None if closed is None else (closed.code, closed.reason)
        context.measured.same(
            "one-more", TOO_MANY, seen, "admitted" if closed is None else slug("closed", closed.code)
        )
        await last.aclose()
        admitted = await _within(context.number("again_ms") / 1000, lambda: _one_more(context, member))
        context.say("one was closed, and one more " + ("admitted" if admitted else "refused"))
        context.measured.same("again", True, admitted, "not-admitted")


async def _one_more(context: Context, person: Person) -> Closed | None:
    try:
        async with context.converse(person) as conversation:
            await conversation.barrier()
    except Ended as end:
        return end.closed
    return None


async def _within(limit_s: float, attempt: Callable[[], Any]) -> bool:
    """Whether a socket is not closed again, tried until it is not."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + limit_s
    while await attempt() is not None:
        if loop.time() > end_s:
            return False
        await asyncio.sleep(TRY_AGAIN_S)
    return True
