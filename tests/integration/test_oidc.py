"""A real OpenID provider whose access tokens look like Keycloak's, and identities derived from them."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from less_sync import SyncClient, TokenRefused
from less_sync.auth import PERSONAL_SPACE_ROOTS, encode_did_key, personal_space_id
from tests.oidc import CLIENT_ID, Provider
from tests.ports import free_ports
from tests.wire.process import ServerProcess

APP = "http://127.0.0.1:1"


@dataclass(slots=True)
class Site:
    provider: Provider
    server: ServerProcess

    @property
    def address(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}/api/v1/ws"


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with Provider(free_ports(1)[0], APP) as provider:
        settings = {
            "DATABASE_URL": database_url,
            "ISSUERS_FILE": str(provider.issuers_file(tmp_path)),
            "IDENTITY_HASH_KEY": secrets.token_hex(32),
            "DATA_DIR": str(tmp_path / "data"),
            "LISTEN_ADDR": "127.0.0.1:0",
        }
        async with ServerProcess(settings) as server:
            yield Site(provider, server)


async def test_who_signed_in_at_the_provider_has_a_space_and_a_mailbox_that_derive_from_that(
    site: Site,
) -> None:
    token, key = (await site.provider.sign_in("alice")).access, generate_private_key(SECP256R1())

    async def source() -> str:
        return token

    async with SyncClient(site.address, source, did_key=key) as client:
        told = await client.info()
    space = personal_space_id(PERSONAL_SPACE_ROOTS["betterbase"], site.provider.issuer, "alice", CLIENT_ID)
    assert told.space == str(space)
    assert told.did == encode_did_key(key.public_key())
    assert len(told.mailbox) == 64
    assert told.scopes == ["sync", "files"]
    async with SyncClient(site.address, source) as unproven:
        assert (await unproven.info()).did == ""


async def test_two_people_have_nothing_in_common_and_one_person_the_same_on_two_devices(site: Site) -> None:
    found = []
    for name in ("alice", "alice", "bob"):
        token = (await site.provider.sign_in(name)).access

        async def source(token: str = token) -> str:
            return token

        async with SyncClient(site.address, source) as client:
            found.append(await client.info())
    first, second, other = found
    assert (first.space, first.mailbox) == (second.space, second.mailbox)
    assert first.space != other.space
    assert first.mailbox != other.mailbox


async def test_the_token_that_says_who_somebody_is_opens_nothing(site: Site) -> None:
    tokens = await site.provider.sign_in("alice")

    async def source() -> str:
        return tokens.identity

    with pytest.raises(TokenRefused):
        async with SyncClient(site.address, source) as client:
            await client.info()
