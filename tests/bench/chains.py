"""Validating UCAN chains against what no validation can do without: CPU of this process alone.

The floor verifies the signatures of a chain's tokens by the bare library, each with its issuer's key decoded
from the point it travels as. Every chain has keys of its own, and so tokens, and nothing of it is remembered
when it is validated first. Floor, cold and warm take turns, a few chains at a time.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth import (
    Permission,
    UcanCache,
    b64url_decode,
    check_chain,
    decode_did_key,
    delegate,
    encode_did_key,
    parse_chain,
)

DEPTH: Final = 4
CHAINS_PER_TURN: Final = 20
LIFE_S: Final = 3600
_NUMBER_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Chain:
    """A token with its proofs, and what its links are to the bare library."""

    leaf: str = field(repr=False)
    audience: str = field(repr=False)
    space: UUID
    links: Sequence[tuple[bytes, bytes, bytes]] = field(repr=False)
    """Of each: the issuer's compressed point, the signature in DER, and what was signed."""

    @property
    def root_key(self) -> bytes:
        """What the space was created with."""
        return self.links[0][0]


@dataclass(slots=True)
class Times:
    """CPU seconds for all chains together."""

    floor_s: float = 0.0
    cold_s: float = 0.0
    warm_s: float = 0.0


def new_chain(depth: int = DEPTH) -> Chain:
    """Make a chain from a new space's owner to somebody `depth` links away."""
    space, expires_at = uuid4(), int(time.time()) + LIFE_S
    keys = [generate_private_key(SECP256R1()) for _ in range(depth + 1)]
    links: list[tuple[bytes, bytes, bytes]] = []
    token: str | None = None
    audience = ""
    for giver, taker in pairwise(keys):
        audience = encode_did_key(taker.public_key())
        token = delegate(
            giver,
            audience=audience,
            permission=Permission.WRITE,
            space_id=space,
            expires_at=expires_at,
            nonce=os.urandom(16),
            proof=token,
        )
        signed, _, segment = token.rpartition(".")
        raw = b64url_decode(segment)
        r, s = int.from_bytes(raw[:_NUMBER_BYTES], "big"), int.from_bytes(raw[_NUMBER_BYTES:], "big")
        point = giver.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        links.append((point, encode_dss_signature(r, s), signed.encode()))
    assert token is not None
    return Chain(token, audience, space, links)


def verify_bare(chain: Chain) -> None:
    """The floor: one point decoded and one signature verified for each link."""
    for point, signature, signed in chain.links:
        key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point)
        key.verify(signature, signed, ECDSA(SHA256()))


def validate(chain: Chain, known: UcanCache) -> None:
    """What the server does with a UCAN, but for asking the database what is revoked."""
    check_chain(
        parse_chain(chain.leaf, parse=known.parse),
        audience=chain.audience,
        needed=Permission.WRITE,
        space_id=chain.space,
        root_public_key=chain.root_key,
        revoked=frozenset(),
        now=time.time(),
    )


def measure_chains(count: int) -> Times:
    """Validate `count` new chains bare, cold and warm."""
    times, known = Times(), UcanCache(entries_max=DEPTH * count)
    for start in range(0, count, CHAINS_PER_TURN):
        chains = [new_chain() for _ in range(min(CHAINS_PER_TURN, count - start))]
        times.floor_s += _cpu_s(chains, verify_bare)
        decode_did_key.cache_clear()  # making the chains has decoded their keys
        times.cold_s += _cpu_s(chains, lambda chain: validate(chain, known))
        times.warm_s += _cpu_s(chains, lambda chain: validate(chain, known))
    return times


def _cpu_s(chains: Sequence[Chain], do: Callable[[Chain], None]) -> float:
    started = time.process_time_ns()
    for chain in chains:
        do(chain)
    return (time.process_time_ns() - started) / 1e9
