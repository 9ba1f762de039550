"""Own keys: what of the database is published and signed with, and how that stays current."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from nacl.signing import SigningKey
from structlog.testing import capture_logs

from less_sync.auth import SignedRequest, authenticate_peer, parse_federation_trust, sign_request
from less_sync.federation.keys import KeyFault, OwnKeys, check_keys
from less_sync.storage import ActiveKey, PostgresFederationKeyStore, PostgresPool, StorageError
from tests.storage.support import execute

BASE = "https://sync.example/.well-known/jwks.json"
ONE, TWO = f"{BASE}#one", f"{BASE}#two"
SEEDS = {ONE: b"1" * 32, TWO: b"2" * 32}


def key(kid: str = ONE) -> SigningKey:
    return SigningKey(SEEDS[kid])


def public(kid: str = ONE) -> bytes:
    return bytes(key(kid).verify_key)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[PostgresPool]:
    opened = await PostgresPool.open(database_url)
    yield opened
    await opened.aclose(5)


@pytest.fixture
def store(pool: PostgresPool) -> PostgresFederationKeyStore:
    return PostgresFederationKeyStore(pool)


async def add(store: PostgresFederationKeyStore, kid: str, *, promote: bool = False) -> None:
    await store.store(kid, seed=SEEDS[kid], public_key=public(kid), promote=promote)


async def loaded(store: PostgresFederationKeyStore, domain: str | None = None) -> OwnKeys:
    keys = OwnKeys(store, domain=domain, reload_s=0)
    await keys.load()
    return keys


def published(keys: OwnKeys) -> list[str]:
    return [entry["kid"] for entry in json.loads(document(keys))["keys"]]


def document(keys: OwnKeys) -> bytes:
    """What is published just now: asking for it waits for nothing."""
    with pytest.raises(StopIteration) as returned:
        keys.jwks().send(None)
    value: bytes = returned.value.value
    return value


def signing(keys: OwnKeys) -> str | None:
    signer = keys.primary()
    return None if signer is None else signer.key_id


async def test_without_keys_nothing_is_published_and_nothing_signed(
    store: PostgresFederationKeyStore,
) -> None:
    keys = await loaded(store)
    assert (document(keys), keys.primary(), set(keys.names())) == (b'{"keys":[]}', None, set())


async def test_the_document_is_spelled_byte_by_byte(
    pool: PostgresPool, store: PostgresFederationKeyStore
) -> None:
    await add(store, TWO)
    await add(store, ONE, promote=True)
    await execute(
        pool, "UPDATE federation_signing_keys SET created_at = now() - interval '1 day' WHERE kid = $1", ONE
    )
    keys = await loaded(store)
    rest = '"kty":"OKP","alg":"EdDSA","use":"federation","crv":"Ed25519","x":'
    assert document(keys).decode() == (
        f'{{"keys":[{{"kid":"{ONE}",{rest}"SAdaWX5yGhVuLgeZ3lzAxTJNxufq8c3UYlCGjsUyFd0"}},'
        f'{{"kid":"{TWO}",{rest}"XiEsCYDks5_AlyETSqAhCTdO39JgwNPQPLUByNZUV6k"}}]}}'
    )


async def test_an_entry_is_a_line_that_a_peer_can_trust_and_its_signature_holds(
    store: PostgresFederationKeyStore,
) -> None:
    await add(store, ONE)
    keys = await loaded(store)
    [entry] = json.loads(document(keys))["keys"]
    trust = parse_federation_trust(domains=None, keys=f"{entry['kid']}={entry['x']}")
    signer = keys.primary()
    assert signer is not None
    headers = sign_request(
        signer.key,
        key_id=signer.key_id,
        created=100,
        method="GET",
        target_uri="ws://home.example/x",
        host="home.example",
    )
    lines = [
        ("host", "home.example"),
        ("signature-input", headers.signature_input),
        ("signature", headers.signature),
    ]
    request = SignedRequest.of(method="GET", target="/x", headers=lines)
    assert authenticate_peer(request, trust, now=100).issuer == "https://sync.example"


async def test_a_promoted_key_signs_both_are_published_and_a_deactivated_one_disappears(
    store: PostgresFederationKeyStore,
) -> None:
    await add(store, ONE)
    await add(store, TWO)
    keys = await loaded(store)
    assert (signing(keys), published(keys)) == (ONE, [ONE, TWO])
    await store.promote(TWO)
    await keys.load()
    assert (signing(keys), published(keys)) == (TWO, [ONE, TWO])
    await store.deactivate(ONE)
    await keys.load()
    assert (signing(keys), published(keys)) == (TWO, [TWO])
    await store.deactivate(TWO, even_primary=True)
    await keys.load()
    assert (signing(keys), published(keys)) == (None, [])


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (ActiveKey(ONE, bytes(31), None), f'stored federation public key "{ONE}" is not 32 bytes'),
        (ActiveKey(ONE, bytes(32), None), f'stored federation public key "{ONE}" is invalid'),
        (
            ActiveKey(ONE, public(), SEEDS[ONE][:31]),
            f'stored federation private key "{ONE}" is not 32 bytes',
        ),
        (
            ActiveKey(ONE, public(), SEEDS[ONE] + b"x"),
            f'stored federation private key "{ONE}" is not 32 bytes',
        ),
        (ActiveKey(ONE, public(), SEEDS[TWO]), f'stored federation key pair mismatch for "{ONE}"'),
        (
            ActiveKey(ONE, public(), SEEDS[ONE] + public(TWO)),
            f'stored federation key pair mismatch for "{ONE}"',
        ),
        (
            ActiveKey("fed-1", public(), SEEDS[ONE]),
            'stored federation key id "fed-1" is no URL: FEDERATION_DOMAIN must be set',
        ),
        (
            ActiveKey(f"{BASE}#a=b", public(), SEEDS[ONE]),
            f'stored federation key id "{BASE}#a=b" cannot be signed with',
        ),
        (
            ActiveKey("ftp://a#b", public(), SEEDS[ONE]),
            'stored federation key id "ftp://a#b" cannot be signed with',
        ),
    ],
)
def test_a_stored_key_that_cannot_be_used_is_told(row: ActiveKey, fault: str) -> None:
    with pytest.raises(KeyFault) as caught:
        check_keys([row], None)
    assert str(caught.value) == fault


def test_a_key_that_does_not_sign_is_published_under_whatever_id_it_has() -> None:
    keys = check_keys([ActiveKey("fed-1", public(), None), ActiveKey(ONE, public(), None)], None)
    assert [entry["kid"] for entry in json.loads(keys.jwks)["keys"]] == ["fed-1", ONE]
    assert keys.signer is None
    assert keys.hosts == {"sync.example"}


def test_rows_of_the_existing_go_server_are_understood() -> None:
    """A fragment for the key id, and the public key behind the seed."""
    row = ActiveKey("fed-1", public(), SEEDS[ONE] + public())
    keys = check_keys([row], "sync.example:8443")
    assert keys.signer is not None
    assert keys.signer.key_id == "https://sync.example:8443/.well-known/jwks.json#fed-1"
    assert bytes(keys.signer.key) == SEEDS[ONE]
    assert json.loads(keys.jwks)["keys"][0]["kid"] == "fed-1"


async def test_this_server_is_its_domain_or_else_the_hosts_of_its_key_ids(
    store: PostgresFederationKeyStore,
) -> None:
    await add(store, ONE)
    assert set((await loaded(store)).names()) == {"sync.example"}
    assert set((await loaded(store, "other.example:5379")).names()) == {"other.example:5379"}


async def test_nothing_private_is_shown(store: PostgresFederationKeyStore) -> None:
    await add(store, ONE)
    keys = await loaded(store)
    assert "1111" not in f"{keys.primary()!r} {keys!r} {vars(keys)!r}"


# Reading again.


class Unsteady:
    """A store that fails as long as it is told to, and counts how often it was asked."""

    def __init__(self, store: PostgresFederationKeyStore) -> None:
        self._store = store
        self.fault: Exception | None = None
        self.asked = 0

    async def active(self) -> Sequence[ActiveKey]:
        rows = await self._store.active()
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return rows


@asynccontextmanager
async def kept(keys: OwnKeys) -> AsyncIterator[asyncio.Event]:
    """Keep them current; setting the event asks for a look."""
    asked = asyncio.Event()
    task = asyncio.create_task(keys.keep_current(asked))
    try:
        yield asked
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what is waited for happens in the task under test
            await asyncio.sleep(0.005)


async def test_keys_are_read_again_when_asked_and_not_before(store: PostgresFederationKeyStore) -> None:
    steady = Unsteady(store)
    keys = OwnKeys(steady, domain=None, reload_s=0)
    await keys.load()
    async with kept(keys) as asked:
        await add(store, ONE)
        await asyncio.sleep(0.05)
        assert (steady.asked, signing(keys)) == (1, None)
        asked.set()
        await until(lambda: signing(keys) == ONE)
        assert steady.asked == 2


async def test_keys_are_read_again_by_themselves_after_their_time(store: PostgresFederationKeyStore) -> None:
    keys = OwnKeys(store, domain=None, reload_s=0.05)
    await keys.load()
    async with kept(keys):
        await add(store, ONE)
        await until(lambda: published(keys) == [ONE])
        await store.deactivate(ONE, even_primary=True)
        await until(lambda: published(keys) == [] and signing(keys) is None)


async def corrupt(pool: PostgresPool, _steady: Unsteady) -> None:
    await execute(pool, "UPDATE federation_signing_keys SET private_key = 'short'")


async def lose(_pool: PostgresPool, steady: Unsteady) -> None:
    steady.fault = StorageError("lost")


async def confuse(_pool: PostgresPool, steady: Unsteady) -> None:
    steady.fault = RuntimeError("a fault of ours")


@pytest.mark.parametrize(
    ("harm", "level", "event"),
    [
        (corrupt, "error", "federation keys are not taken over"),
        (lose, "warning", "federation keys could not be read again"),
        (confuse, "error", "reading the federation keys again failed"),
    ],
)
async def test_what_cannot_be_used_or_read_leaves_the_keys_as_they_were(
    pool: PostgresPool,
    store: PostgresFederationKeyStore,
    harm: Callable[[PostgresPool, Unsteady], Awaitable[None]],
    level: str,
    event: str,
) -> None:
    steady = Unsteady(store)
    keys = OwnKeys(steady, domain=None, reload_s=0)
    await add(store, ONE)
    await keys.load()
    async with kept(keys) as asked:
        with capture_logs() as logs:
            await harm(pool, steady)
            await store.promote(ONE)
            asked.set()
            await until(lambda: any(line["event"] == event for line in logs))
        assert [line["log_level"] for line in logs] == [level]
        assert (signing(keys), published(keys)) == (ONE, [ONE])
        steady.fault = None
        await execute(pool, "UPDATE federation_signing_keys SET private_key = $1", SEEDS[ONE])
        await add(store, TWO, promote=True)
        asked.set()
        await until(lambda: signing(keys) == TWO)
