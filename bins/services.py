"""Settings to services: what the sessions of one server process share, opened and closed in order."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from less_sync.auth import parse_jwks
from less_sync.bins.dev import DevIssuer, dev_identity_hash_key
from less_sync.bins.errors import CommandError
from less_sync.bins.federation import Federation, open_federation
from less_sync.bins.file_storage import open_blobs
from less_sync.bins.logs import set_log_level
from less_sync.bins.replicas import use_replicas
from less_sync.bins.settings.config import Settings
from less_sync.bins.supervisor import Supervisor
from less_sync.client.kept_key import KeyFileError
from less_sync.storage import (
    BlobStore,
    PostgresDekStore,
    PostgresEpochStore,
    PostgresFileStore,
    PostgresInvitationStore,
    PostgresMemberStore,
    PostgresNewsStore,
    PostgresPool,
    PostgresPullStore,
    PostgresRateLimitStore,
    PostgresRevocationStore,
    PostgresSpaceStore,
    PushLanes,
    StorageError,
)
from less_sync.sync.access.authority import Authority
from less_sync.sync.access.hourly_limits import RateLimits
from less_sync.sync.access.key_fetch import KeyFetcher
from less_sync.sync.access.sign_in import Authenticator
from less_sync.sync.announce import Announcer
from less_sync.sync.files.space_files import FILE_BYTES_MAX, SpaceFiles
from less_sync.sync.http.framing import ws_frame
from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Broker
from less_sync.sync.live.bus import Bus
from less_sync.sync.live.cork import Cork
from less_sync.sync.live.mailboxes import Mailboxes
from less_sync.sync.live.measured import measure_nodes
from less_sync.sync.live.presence import Presence
from less_sync.sync.metrics import Recorder
from less_sync.sync.services import Services
from less_sync.sync.session.open_sessions import Sessions
from less_sync.sync.turns import Turns

if TYPE_CHECKING:
    from less_sync.sync.live.nodes import Nodes

VERBOSE_LEVELS: Final = frozenset({"debug", "trace"})
"""Of `LOG_LEVEL`: those at which every request has a line."""
CLOSE_TIMEOUT_S: Final = 1.0
"""For what follows the grace period: lanes and pool, which have nothing left to do by then."""
_log = structlog.get_logger(__name__)


def log_at(services: Services, level: str) -> None:
    """Log from now on what is at least as grave as `level`, and every request where that is asked for."""
    set_log_level(level)
    services.metrics.be_verbose(level in VERBOSE_LEVELS)


class Opened(NamedTuple):
    """What a server works with, over one database."""

    services: Services
    federation: Federation
    pool: PostgresPool
    lanes: PushLanes


async def open_services(
    settings: Settings,
    url: str,
    stack: AsyncExitStack,
    vital: Supervisor | None = None,
    *,
    open_bus: Callable[[], Bus] | None = None,
) -> Opened:
    """Connect to the migrated database at `url` and build what sessions need; `stack` closes it again.

    The lanes are watched by `vital`, if given, and so is the comparison with the database that a bus to other
    nodes asks for. It is opened when it can be listened to at once; whoever opens it closes it, after the
    stack.

    Raises:
        CommandError: the database did not let us in, a signing key in it cannot be used, or the dev issuer's
            files cannot.
    """
    try:
        pool = await PostgresPool.open(url, max_connections=settings.database.connections_max)
        stack.push_async_callback(pool.aclose, CLOSE_TIMEOUT_S)
        lanes = await PushLanes.start(pool, lanes=settings.database.push_lanes)
    except StorageError as error:
        raise CommandError(f"database error: {str(error).removeprefix('database error: ')}") from error
    stack.push_async_callback(lanes.aclose, CLOSE_TIMEOUT_S)
    if vital is not None:
        vital.start("push lanes", lanes.watch())
    authenticator = _authenticator(settings)
    stack.push_async_callback(authenticator.aclose)
    blobs = open_blobs(settings)
    if blobs is not None:
        stack.push_async_callback(blobs.aclose)
    services = build_services(
        pool,
        lanes,
        authenticator,
        limits=settings.limits,
        identity_hash_key=_identity_hash_key(settings),
        blobs=blobs,
        file_bytes_max=settings.files.bytes_max,
        bus=None if open_bus is None else open_bus(),
    )
    if services.nodes is not None:
        stack.push_async_callback(services.nodes.aclose)
        if vital is not None:
            vital.start("news of other nodes", services.nodes.run())
    services.authority.admin_operations = settings.admin_operations
    services.subprotocols = settings.subprotocols
    services.enforce_token_expiry = settings.enforce_token_expiry
    services.node_name = settings.cluster.node_name
    if services.elsewhere is not None:
        services.elsewhere.name = settings.cluster.node
    services.metrics = Recorder(verbose=settings.log.level in VERBOSE_LEVELS)
    if services.nodes is not None:
        measure_nodes(services.metrics, services.nodes)
    use_replicas(settings, pool, services, stack)
    stack.callback(services.mailboxes.close)
    if services.files is not None:
        stack.push_async_callback(services.files.removals.aclose, CLOSE_TIMEOUT_S)
    stack.push_async_callback(services.announce.aclose, CLOSE_TIMEOUT_S)
    federation = await open_federation(settings.federation, pool, services, stack)
    return Opened(services, federation, pool, lanes)


def build_services(
    pool: PostgresPool,
    lanes: PushLanes,
    authenticator: Authenticator,
    *,
    limits: Limits,
    identity_hash_key: bytes | None,
    clock: Callable[[], float] = time.monotonic,
    chance: random.Random | None = None,
    presence_secret: bytes | None = None,
    blobs: BlobStore | None = None,
    file_bytes_max: int = FILE_BYTES_MAX,
    bus: Bus | None = None,
    node: bytes | None = None,
) -> Services:
    """Everything sessions share, over one database; what else there is to set has its default.

    Args:
        clock: monotonic seconds. chance: spreads what should not happen everywhere at once. presence_secret:
        keys the pseudonyms of who is present, 32 bytes; random by default. blobs: contents of files; without
        it there are no files. file_bytes_max: of one content. bus: to the other processes on this database;
        None: there are none. Whoever gives one runs `nodes.run()`. node: this one's id for them, 8 bytes;
        random by default.
    """
    chance = chance or random.Random()
    spaces = PostgresSpaceStore(pool)
    cork = Cork(lambda end: asyncio.get_running_loop().call_soon(end))
    broker = Broker(ws_frame, held_frames_max=limits.queue_frames, cork=cork)
    presence = Presence(limits, secret=presence_secret, clock=clock)
    mailboxes = Mailboxes(limits, chance, frame=ws_frame)
    announce = Announcer(broker, presence, mailboxes, spaces)
    files = None
    if blobs is not None:
        store = PostgresFileStore(pool)
        files = SpaceFiles(store, blobs, announce, limits, bytes_max=file_bytes_max)
    authority = Authority()
    nodes = None
    if bus is not None:
        nodes = _nodes(bus, pool, announce, broker, mailboxes, authority, limits, node)
    rates = PostgresRateLimitStore(pool)
    return Services(
        spaces=spaces,
        pushes=lanes,
        pulls=PostgresPullStore(pool),
        members=PostgresMemberStore(pool),
        epochs=PostgresEpochStore(pool),
        deks=PostgresDekStore(pool),
        invitations=PostgresInvitationStore(pool),
        revocations=PostgresRevocationStore(pool),
        rates=RateLimits(rates, key=identity_hash_key, window_s=limits.rate_window_s),
        turns=Turns(rates),
        authenticator=authenticator,
        sessions=Sessions(),
        broker=broker,
        presence=presence,
        mailboxes=mailboxes,
        announce=announce,
        authority=authority,
        nodes=nodes,
        files=files,
        limits=limits,
        clock=clock,
        chance=chance,
    )


def _nodes(
    bus: Bus,
    pool: PostgresPool,
    announce: Announcer,
    broker: Broker,
    mailboxes: Mailboxes,
    authority: Authority,
    limits: Limits,
    node: bytes | None,
) -> "Nodes":
    # Loaded where there are other nodes alone.
    from less_sync.sync.live.nodes import Nodes

    return Nodes(
        bus,
        broker,
        announce,
        mailboxes,
        PostgresNewsStore(pool),
        node=node,
        frame_bytes_max=limits.outbound_frame_bytes,
        forget_key=authority.root_keys.forget,
    )


def _authenticator(settings: Settings) -> Authenticator:
    keys = KeyFetcher(
        settings.issuers.plain,
        ruled=settings.issuers.ruled,
        injected={
            issuer: parse_jwks(document)
            for issuer, document in (_dev_keys(settings.data_dir) if settings.dev else {}).items()
        },
        policy=settings.jwks_policy,
    )
    return Authenticator(keys, policy=settings.token_policy)


def _dev_keys(data_dir: Path) -> dict[str, bytes]:
    """The key set of dev mode's own issuer, which nothing has to be fetched for."""
    try:
        issuer = DevIssuer(data_dir)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    return {issuer.issuer: json.dumps(issuer.jwks()).encode()}


def _identity_hash_key(settings: Settings) -> bytes | None:
    """Persons are counted under a key of the operator's; dev mode keeps one of its own."""
    if settings.identity_hash_key is not None or not settings.dev:
        return settings.identity_hash_key
    try:
        return dev_identity_hash_key(settings.data_dir)
    except KeyFileError as error:
        raise CommandError(str(error)) from error


async def fetch_issuer_keys(services: Services) -> None:
    """Fetch the issuers' key sets, so that the first client of each does not wait and a wrong URL shows.

    Nothing depends on it: a key set that is missing is fetched when a token asks for it.
    """
    try:
        await services.authenticator.prefetch()
    except Exception:
        _log.exception("fetching the key sets of issuers ahead failed")


@asynccontextmanager
async def beside(work: Coroutine[object, object, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run something beside the block that may end when it likes; it is cancelled at the block's end."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
