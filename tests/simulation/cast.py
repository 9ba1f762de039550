"""Who takes part: keys, tokens and UCANs, signed once per process and the same in every run."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.simulation.system import (
    AUDIENCE,
    CLIENT_ID,
    ISSUER,
    KID,
    PERSONAL_SPACE_ROOTS,
    Authenticator,
    Issuer,
    IssuerKey,
    IssuerRules,
    KeyFetcher,
    Permission,
    TokenPolicy,
    claims,
    delegate,
    encode_did_key,
    make_did_proof,
    parse_ucan,
    personal_space_id,
    server_mailbox_id,
)

WALL_START_S: Final = 1_900_000_000
"""What the wall clock shows when a run begins."""
LIFE_S: Final = 30 * 24 * 3600
SHARED: Final = UUID("5a5a5a5a-0000-4000-8000-000000000001")
"""The space that everybody shares; its root is alice's."""
GRANTS: Final = 4
"""UCANs that each guest has one after the other: a revoked one is replaced."""
OWNER: Final = "alice"
GUESTS: Final = ("bob", "carol")
NEIGHBOURS: Final = ("dave", "erin")
DERIVED: Final = "carol"
"""Whose tokens are of an ordinary provider: space and mailbox are derived, and the DID is proven."""
LOGIN: Final = "https://login.example"
MAILBOX_KEY: Final = bytes(range(32))


@dataclass(frozen=True, slots=True)
class Person:
    """One user. `grants` are texts of UCANs for the shared space, with the CID of each."""

    name: str
    token: str
    did: str
    mailbox: str
    space: UUID
    root_key: bytes
    grants: tuple[tuple[str, str], ...]
    did_proof: str = ""


def _key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(1000 + number, ec.SECP256R1())


@cache
def issuer() -> Issuer:
    """Who signs tokens."""
    return Issuer(_key(0))


@cache
def people() -> dict[str, Person]:
    """Everybody by name."""
    keys = {name: _key(number) for number, name in enumerate((OWNER, *GUESTS), 1)}
    return {name: _person(name, key, keys[OWNER]) for name, key in keys.items()}


@cache
def neighbours() -> dict[str, Person]:
    """Who shares no space with anybody, by name: for worlds of two servers."""
    keys = {name: _key(number) for number, name in enumerate(NEIGHBOURS, 11)}
    return {name: _person(name, key, key) for name, key in keys.items()}


def _person(name: str, key: ec.EllipticCurvePrivateKey, root: ec.EllipticCurvePrivateKey) -> Person:
    did = encode_did_key(key.public_key())
    said = {
        **claims(name, did=did),
        "aud": AUDIENCE,
        "iat": WALL_START_S - 60,
        "exp": WALL_START_S + LIFE_S,
        "jti": f"token of {name}",
    }
    mailbox, space = str(said["mailbox_id"]), UUID(said["personal_space_id"])
    if name == DERIVED:
        # The claims of another issuer's stay in the token: they are not to be believed.
        said["iss"] = LOGIN
        mailbox = server_mailbox_id(MAILBOX_KEY, LOGIN, name)
        space = personal_space_id(PERSONAL_SPACE_ROOTS["betterbase"], LOGIN, name, CLIENT_ID)
    token = issuer().token(said)
    permission = Permission.ADMIN if name == OWNER else Permission.WRITE
    texts = [
        delegate(
            root,
            audience=did,
            permission=permission,
            space_id=SHARED,
            expires_at=WALL_START_S + LIFE_S,
            nonce=bytes([number]) * 16,
        )
        for number in range(1 if name == OWNER else GRANTS)
    ]
    return Person(
        name,
        token,
        did,
        mailbox,
        space,
        key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint),
        tuple((text, parse_ucan(text).cid) for text in texts),
        make_did_proof(key, token, WALL_START_S + LIFE_S) if name == DERIVED else "",
    )


def _rules() -> IssuerRules:
    return IssuerRules(name="login", url=LOGIN, keys_url=LOGIN, audiences=frozenset({AUDIENCE}), derived=True)


def _known() -> dict[str, dict[str, IssuerKey]]:
    return {url: {KID: issuer().key.public_key()} for url in (ISSUER, LOGIN)}


class LateKeys(KeyFetcher):
    """Keys that have to be awaited each time, as if they were fetched.

    Args:
        wait: returns when they have come.
    """

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        super().__init__({}, ruled=[_rules()], injected=_known())
        self._wait = wait

    def cached_key(self, issuer: str, kid: str) -> None:
        """Nothing is at hand."""

    async def key(self, issuer: str, kid: str) -> IssuerKey:
        await self._wait()
        key = super().cached_key(issuer, kid)
        assert key is not None
        return key


def authenticator(
    now: Callable[[], float], wait_for_keys: Callable[[], Awaitable[None]] | None
) -> Authenticator:
    """The real one, with the simulation's clock and the issuer's key at hand, or awaited."""
    policy = TokenPolicy(mailbox_key=MAILBOX_KEY)
    if wait_for_keys is not None:
        return Authenticator(LateKeys(wait_for_keys), policy=policy, now=now)
    return Authenticator(KeyFetcher({}, ruled=[_rules()], injected=_known()), policy=policy, now=now)
