"""Alice makes a shared space, lets Bob read it for a day, and takes that back.

SHARE_SERVER       wss://sync.example.org/api/v1/ws
ALICE_TOKEN_FILE   a file with a token of Alice; in life, each of the two runs on a machine of their own
BOB_TOKEN_FILE     a file with a token of Bob
"""

import asyncio
import os
import time
from pathlib import Path
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync import (
    Permission,
    PullRecord,
    PushChange,
    RequestFailed,
    SyncClient,
    TokenSource,
    delegate,
    token_claim,
    ucan_cid,
)

DAY_S = 24 * 60 * 60


class Space:
    """A space as its owner has it: who holds the root key decides who gets in."""

    def __init__(self) -> None:
        self.id: UUID = uuid4()
        self.root = generate_private_key(SECP256R1())
        self.key = AESGCM.generate_key(256)

    def root_public_key(self) -> bytes:
        """What the server checks grants with: the compressed point."""
        return self.root.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def grant(self, did: str, permission: Permission) -> str:
        """A UCAN for the person of this DID. Give it to them with the key, on a way of your own."""
        return delegate(
            self.root,
            audience=did,
            permission=permission,
            space_id=self.id,
            expires_at=int(time.time()) + DAY_S,
            nonce=os.urandom(16),
        )


async def read(client: SyncClient, space: str, ucan: str, key: bytes) -> list[str]:
    """The texts of all records of a space."""
    return [
        AESGCM(key).decrypt(event.blob[:12], event.blob[12:], event.id.encode()).decode()
        async for event in client.pull(space, 0, ucan=ucan)
        if isinstance(event, PullRecord) and event.blob is not None
    ]


def token_source(file: Path) -> TokenSource:
    """Reads the file at every connect, so that whoever renews tokens need only write it."""

    async def source() -> str:
        return (await asyncio.to_thread(file.read_text)).strip()

    return source


async def main() -> None:
    """Play both parts."""
    server = os.environ["SHARE_SERVER"]
    alices, bobs = (token_source(Path(os.environ[name])) for name in ("ALICE_TOKEN_FILE", "BOB_TOKEN_FILE"))
    space = Space()
    async with SyncClient(server, alices) as alice, SyncClient(server, bobs) as bob:
        await alice.space_create(str(space.id), space.root_public_key())
        admin = space.grant(token_claim(await alices(), "did"), Permission.ADMIN)
        reader = space.grant(token_claim(await bobs(), "did"), Permission.READ)

        record, nonce = str(uuid4()), os.urandom(12)
        blob = nonce + AESGCM(space.key).encrypt(nonce, b"dinner at eight", record.encode())
        change = PushChange(id=record, blob=blob, expected_cursor=0)
        await alice.push(str(space.id), [change], ucan=admin)
        print("bob reads:", await read(bob, str(space.id), reader, space.key))

        await alice.membership_revoke(str(space.id), ucan_cid(reader), ucan=admin)
        try:
            await read(bob, str(space.id), reader, space.key)
        except RequestFailed as error:
            print("bob is told:", error.code)


if __name__ == "__main__":
    asyncio.run(main())
