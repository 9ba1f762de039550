"""People with folders in one shared space, in this process: UCANs, keys, log entries, no commands."""

import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth import Permission, b64url_encode, delegate, encode_did_key
from less_sync.client.folder.shared import SharedFile, SharedSpace, grant_of
from less_sync.client.sharing.entries import (
    EPOCH,
    MEMBER,
    PLACED,
    Entry,
    key_check,
    next_digest,
    seal_entry,
    sealed_keys,
)
from less_sync.client.sharing.log_access import entry_by
from less_sync.client.sharing.person import Person
from less_sync.client.sharing.rotation import Rotator
from less_sync.client.sharing.session import Output
from less_sync.sync.client import SyncClient
from less_sync.sync.protocol.messages import MemberEntry
from tests.live import Live


def new_person() -> Person:
    key = generate_private_key(SECP256R1())
    return Person(key, encode_did_key(key.public_key()))


def jwk_of(person: Person) -> dict[str, str]:
    """The private key as browsers take it (RFC 7517)."""
    numbers = person.key.private_numbers()
    public = numbers.public_numbers
    x, y, d = (b64url_encode(one.to_bytes(32, "big")) for one in (public.x, public.y, numbers.private_value))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "d": d}


ROOT = new_person()
ROOT_KEY = ROOT.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def ucan(
    space: UUID,
    issuer: Person,
    audience: Person,
    permission: Permission,
    proof: str | None = None,
    *,
    life_s: int = 10_000,
) -> str:
    return delegate(
        issuer.key,
        audience=audience.did,
        permission=permission,
        space_id=space,
        expires_at=int(time.time()) + life_s,
        nonce=os.urandom(16),
        proof=proof,
    )


@dataclass(frozen=True)
class Member:
    """Somebody and what their folder keeps."""

    name: str
    person: Person
    file: SharedFile

    @property
    def shared(self) -> SharedSpace:
        shared = self.file.load()
        assert shared is not None
        return shared

    def entry(self, kind: str, **fields: object) -> Entry:
        return msgspec.structs.replace(entry_by(self.person, self.shared, kind), **fields)

    def letting_in(self, other: "Member") -> Entry:
        return self.entry(MEMBER, ucan=other.shared.ucan)

    def key_entry(self, epoch: int, key: bytes, *others: "Member") -> Entry:
        """Hands a key out to these and ourselves."""
        dids = [self.person.did, *(other.person.did for other in others)]
        keys = sealed_keys(self.shared.space, epoch, key, dids)
        return self.entry(EPOCH, epoch=epoch, keys=keys, check=key_check(key))

    @asynccontextmanager
    async def client(self, live: Live, *, scope: str = "sync files") -> AsyncIterator[SyncClient]:
        async def token() -> str:
            return live.token(self.name, did=self.person.did, scope=scope)

        async with SyncClient(f"ws://127.0.0.1:{live.port}/api/v1/ws", token) as client:
            yield client

    def rotator(self, client: SyncClient) -> Rotator:
        shared = self.shared
        return Rotator(client, self.file, self.person, grant_of(shared.ucan), Output(as_json=True))


def founder(parent: Path, name: str = "alice") -> Member:
    """Somebody with a space of their own, not yet on any server."""
    person, space = new_person(), uuid4()
    root_token = ucan(space, ROOT, person, Permission.ADMIN)
    file = SharedFile(parent / name)
    file.update(lambda _: SharedSpace(space=space, ucan=root_token, keys={1: os.urandom(32)}))
    return Member(name, person, file)


def joined(parent: Path, name: str, by: Member, permission: Permission) -> Member:
    """Somebody with a UCAN from a member, and the keys that member has."""
    person, shared = new_person(), by.shared
    token = ucan(shared.space, by.person, person, permission, shared.ucan)
    file = SharedFile(parent / name)
    file.update(lambda _: SharedSpace(space=shared.space, ucan=token, keys=shared.keys))
    return Member(name, person, file)


def chained(*written: tuple[Entry, Person, dict[int, bytes]]) -> list[MemberEntry]:
    """Entries as the server would list them, each made on top of those before."""
    payloads: list[bytes] = []
    digest = b""
    for entry, author, keys in written:
        placed = msgspec.structs.replace(entry, after=digest.hex()) if entry.v == PLACED else entry
        payloads.append(seal_entry(placed, author, keys))
        digest = next_digest(digest, hashlib.sha256(payloads[-1]).digest())
    return chained_payloads(*payloads)


def chained_payloads(*payloads: bytes) -> list[MemberEntry]:
    """Rows of a log with these payloads, rightly chained: what any server can make of what it has."""
    entries: list[MemberEntry] = []
    former = b""
    for number, payload in enumerate(payloads, 1):
        digest = hashlib.sha256(payload).digest()
        entries.append(MemberEntry(chain_seq=number, prev_hash=former, entry_hash=digest, payload=payload))
        former = digest
    return entries
