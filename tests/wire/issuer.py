"""A token issuer of the tests' own: a P-256 key, its key set on a loopback port, and signed tokens."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

KID: Final = "1"
AUDIENCE: Final = "betterbase-sync"
LIFE_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs tokens under `KID`. The `iss` claim is the caller's: several issuers may share the key set."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def token(self, claims: Mapping[str, Any], *, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        """Sign ES256: audience, times and id, then `claims`. `exp_in` is the expiry in seconds from now."""
        now = int(time.time())
        body: dict[str, Any] = {"aud": AUDIENCE, "iat": now, "exp": now + LIFE_S, "jti": str(uuid4())} | dict(
            claims
        )
        if (exp_in := body.pop("exp_in", None)) is not None:
            body["exp"] = now + exp_in
        return jwt.encode(body, key or self.key, algorithm="ES256", headers={"kid": KID})

    def forged(self, claims: Mapping[str, Any]) -> str:
        """Sign as `token` does, with a key that is not in the key set."""
        return self.token(claims, key=new_key())

    def key_set(self) -> bytes:
        """The JWKS document."""
        entry = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return json.dumps({"keys": [entry | {"kid": KID, "use": "sig", "alg": "ES256"}]}).encode()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def new_issuer() -> Issuer:
    return Issuer(new_key())


@asynccontextmanager
async def served_key_set(issuer: Issuer) -> AsyncIterator[str]:
    """Serve the key set on a loopback port, whatever the path asked for, and yield its URL."""
    body = issuer.key_set()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    answer = f"{head}Connection: close\r\n\r\n".encode() + body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # a client that went away is no fault of the key set's
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/jwks.json"


@asynccontextmanager
async def closed_port() -> AsyncIterator[int]:
    """Hold a loopback port at which nothing listens: connecting to it is refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
