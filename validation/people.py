"""The validation users `owner`, `member` and `stranger`, their tokens and keys, and whoever makes tokens."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth import (
    PERSONAL_SPACE_ROOTS,
    Permission,
    b64url_encode,
    delegate,
    encode_did_key,
    personal_space_id,
    sign_es256,
)
from less_sync.sync.client import token_claim
from less_sync.validation.generated import Stream
from less_sync.validation.outcome import Blocked

SCRATCH_ISSUER: Final = "https://validate.invalid"
"""Never resolves (RFC 6761, 6.4): servers get its key set's address beside it."""
AUDIENCE: Final = "less-sync-validate"
CLIENT_ID: Final = "less-sync-validate"
SCOPE: Final = "sync files"
TOKEN_LIFE_S: Final = 3600
GRANT_LIFE_S: Final = 3600
NAMES: Final = ("owner", "member", "stranger")


@dataclass(frozen=True, slots=True)
class Minter:
    """An issuer that a target trusts for validation: makes any token, right or wrong."""

    issuer: str
    kid: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    audience: str = AUDIENCE
    told: Callable[[str, str], None] = lambda _name, _value: None
    """Hears of each secret that is made, by name."""

    def key_set(self) -> bytes:
        """Its public key as a JWKS document (RFC 7517)."""
        numbers = self.key.public_key().public_numbers()
        member = {
            name: b64url_encode(value.to_bytes(32, "big"))
            for name, value in (("x", numbers.x), ("y", numbers.y))
        }
        key = {"kty": "EC", "crv": "P-256", **member, "use": "sig", "alg": "ES256", "kid": self.kid}
        return json.dumps({"keys": [key]}).encode()

    def token(
        self,
        claims: Mapping[str, Any],
        *,
        header: Mapping[str, Any] | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> str:
        """Sign: issuer, audience and an hour's life, then `claims`; a claim or header of None is left out."""
        now = int(time.time())
        body = {"iss": self.issuer, "aud": [self.audience], "iat": now, "exp": now + TOKEN_LIFE_S} | dict(
            claims
        )
        head = {"alg": "ES256", "typ": "JWT", "kid": self.kid} | dict(header or {})
        token = sign_token(head, body, key or self.key)
        self.told("token", token)
        return token

    def claims(self, user: str, *, did: str) -> dict[str, Any]:
        """Those of a user: personal space and mailbox as clients of this issuer derive them."""
        space = personal_space_id(PERSONAL_SPACE_ROOTS["betterbase"], self.issuer, user, CLIENT_ID)
        return {
            "sub": user,
            "client_id": CLIENT_ID,
            "scope": SCOPE,
            "did": did,
            "personal_space_id": str(space),
            "mailbox_id": user.encode().hex().ljust(64, "0")[:64],
        }


def sign_token(header: Mapping[str, Any], claims: Mapping[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """A JWT signed ES256 whatever its header says (RFC 7515, 7.1); members that are None are left out."""
    parts = ({name: one for name, one in part.items() if one is not None} for part in (header, claims))
    text = ".".join(b64url_encode(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{text}.{sign_es256(key, text)}"


@dataclass(frozen=True, slots=True)
class Person:
    """One identity at one target. Without a key it can sign no UCAN."""

    name: str
    source: Callable[[], Awaitable[str]] = field(repr=False)
    private: ec.EllipticCurvePrivateKey | None = field(repr=False, default=None)
    told: Callable[[str, str], None] = field(repr=False, default=lambda _name, _value: None)
    user: str = field(repr=False, default="")
    """The `sub` of minted tokens."""
    minter: Minter | None = field(repr=False, default=None)

    async def token(self) -> str:
        """A valid token, asked for anew each time."""
        return await self.source()

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """Raises Blocked without one."""
        if self.private is None:
            raise Blocked("identity", self.name, "key")
        return self.private

    @property
    def did(self) -> str:
        """Of the key."""
        return encode_did_key(self.key.public_key())

    @property
    def root_key(self) -> bytes:
        """The compressed point with which a shared space of this person's is created."""
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def grant(
        self,
        to: "Person | str",
        space: UUID,
        permission: Permission,
        *,
        stream: Stream,
        proof: str | None = None,
        expires_at: int | None = None,
    ) -> str:
        """A UCAN for somebody, or for a DID; root without a proof. It is a secret, and masked as one."""
        ucan = delegate(
            self.key,
            audience=to if isinstance(to, str) else to.did,
            permission=permission,
            space_id=space,
            expires_at=int(time.time()) + GRANT_LIFE_S if expires_at is None else expires_at,
            nonce=stream.take(16),
            proof=proof,
        )
        self.told("ucan", ucan)
        return ucan

    async def personal_space(self) -> UUID:
        """As the token claims it. Raises Blocked where it does not."""
        return UUID(await self._claim("personal_space_id"))

    async def mailbox(self) -> str:
        """Where invitations for this person are left. Raises Blocked where the token does not say."""
        return await self._claim("mailbox_id")

    async def _claim(self, claim: str) -> str:
        value = token_claim(await self.token(), claim)
        if not isinstance(value, str) or not value:
            raise Blocked("identity", self.name, claim)
        return value


class People:
    """Who there is at each target, by what was given (docs/validation.md 3.1)."""

    def __init__(self, minters: Mapping[str, Minter], given: Mapping[tuple[str, str], Person]) -> None:
        self._minters = dict(minters)
        self._given = dict(given)
        self._minted: dict[tuple[str, str], Person] = {}

    def minter(self, target: str) -> Minter:
        """The issuer whose tokens this target takes. Raises Blocked without one."""
        minter = self._minters.get(target)
        if minter is None:
            raise Blocked("identity", "issuer", "mint")
        return minter

    def person(self, target: str, name: str) -> Person:
        """One of `NAMES` at a target. Raises Blocked when no token of theirs was given."""
        minter = self._minters.get(target)
        if minter is not None:
            return self.minted(target, name)
        person = self._given.get((target, name))
        if person is None:
            raise Blocked("identity", name, "token")
        return person

    def minted(self, target: str, user: str) -> Person:
        """Anybody, where tokens can be minted; the same person each time. Raises Blocked elsewhere."""
        minter = self.minter(target)
        if (target, user) not in self._minted:
            self._minted[target, user] = _minted(minter, user)
        return self._minted[target, user]

    def can(self, target: str, capability: str) -> bool:
        """Whether `owner:token`, `member:key` or `mint` is there."""
        if target in self._minters:
            return True
        name, _, what = capability.partition(":")
        person = self._given.get((target, name))
        return person is not None and (what == "token" or person.private is not None)


def _minted(minter: Minter, user: str) -> Person:
    key = ec.generate_private_key(ec.SECP256R1())
    claims = minter.claims(user, did=encode_did_key(key.public_key()))
    minter.told(f"did:{user}", claims["did"])
    minter.told(f"mailbox:{user}", claims["mailbox_id"])

    async def token() -> str:
        return minter.token(claims)

    return Person(user, token, key, minter.told, user, minter)


@asynccontextmanager
async def served_key_set(minter: Minter) -> AsyncIterator[str]:
    """Serve the minter's key set on a loopback port, whatever is asked for; yields its URL."""
    body = minter.key_set()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    answer = f"{head}Connection: close\r\n\r\n".encode() + body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # whoever asks anew is answered anew
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
