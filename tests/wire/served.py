"""The server in this process, made from settings as `less-sync serve` makes it, one scenario at a time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from less_sync.bins.http_server import HttpServer
from less_sync.bins.listening import open_listeners
from less_sync.bins.services import open_services
from less_sync.bins.settings.config import Settings
from less_sync.storage import PostgresFederationKeyStore, PostgresPool
from tests.wire.issuer import AUDIENCE, closed_port, new_issuer, served_key_set
from tests.wire.replay import Target
from tests.wire.scenario import Scenario, Vectors

DRAIN_S: Final = 1.0
CLOSE_S: Final = 5.0
KEY_ID: Final = "https://edge.example/.well-known/jwks.json#k"
EXISTING_CONNECTIONS: Final = "3"
"""What the server allows whose answers were recorded; ours allows more (docs/decisions.md)."""


@asynccontextmanager
async def served(
    scenario: Scenario, vectors: Vectors, database_url: str, directory: Path
) -> AsyncIterator[Target]:
    """Serve `database_url` (migrated, empty) on a loopback port with the settings the scenario asks for.

    All trusted issuers share one key set, served on a loopback port; the unreachable one has an address where
    nothing listens. `directory` takes the files of the scenario.
    """
    issuer = new_issuer()
    async with AsyncExitStack() as stack:
        key_set_url = await stack.enter_async_context(served_key_set(issuer))
        nowhere = f"http://127.0.0.1:{await stack.enter_async_context(closed_port())}/jwks.json"
        urls = dict.fromkeys(vectors.trusted_issuers, key_set_url) | {vectors.unreachable_issuer: nowhere}
        environment = {
            "LISTEN_ADDR": "127.0.0.1:0",
            "DATABASE_URL": database_url,
            "TRUSTED_ISSUERS": " ".join(f"{name}={url}" for name, url in urls.items()),
            "AUDIENCES": AUDIENCE,
            "DATA_DIR": str(directory),
            "LIMIT_CONNECTIONS_PER_MAILBOX": EXISTING_CONNECTIONS,
            "FILE_STORAGE_BACKEND": "local",
            "IDENTITY_HASH_KEY": scenario.identity_hash_key or "",
            "FEDERATION_TRUSTED_DOMAINS": ",".join(scenario.federation_trusted),
        }
        settings = Settings.from_env(environment)
        if scenario.federation_trusted:
            await _give_signing_key(database_url)
        opened = await open_services(settings, database_url, stack)
        server = HttpServer(opened.services, opened.federation)
        await server.start(open_listeners(settings.listen))
        stack.push_async_callback(server.drain, DRAIN_S)
        yield Target(server.address.host, server.address.port, database_url, issuer, vectors.users)


async def _give_signing_key(database_url: str) -> None:
    """Put a key into the database by which the server speaks to others."""
    pool = await PostgresPool.open(database_url)
    pair = SigningKey.generate()
    keys = PostgresFederationKeyStore(pool)
    await keys.store(KEY_ID, seed=bytes(pair), public_key=bytes(pair.verify_key), promote=True)
    await pool.aclose(CLOSE_S)
