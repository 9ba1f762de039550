"""The client itself: `SyncClient`, described where it is exported."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from msgspec import Struct

from less_sync.sync.client.errors import (
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    NotThisProtocol,
    RequestFailed,
    ServerUnavailable,
    SyncClientError,
    TokenRefused,
)
from less_sync.sync.client.link import ClientLimits, Link, open_link
from less_sync.sync.client.notices import (
    Notice,
    NoticeQueue,
    SubscriptionLost,
)
from less_sync.sync.client.sharing import SharingCalls
from less_sync.sync.client.tokens import DidProofs, TokenSource, asked_token
from less_sync.sync.protocol.codes import CloseCode, ErrorCode
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import Chunk
from less_sync.sync.protocol.messages import (
    PullBegin,
    PullCommit,
    PullParams,
    PullRecord,
    PullSpace,
    PushChange,
    PushParams,
    PushResult,
    SessionInfo,
    SessionInfoParams,
    SpaceCreateParams,
    SpaceCreateResult,
    SubscribeParams,
    SubscribeResult,
    SubscribeSpace,
    TokenRefreshParams,
    TokenRefreshResult,
    UnsubscribeParams,
    decode_params,
    shown,
)

CHANGE_OVERHEAD_BYTES: Final = 160
"""More than the keys, the id, the cursor and all heads of one change take in a push frame."""
PUSH_OVERHEAD_BYTES: Final = 1024
CHANGES_PER_PUSH: Final = 1000
SPACES_PER_SUBSCRIBE: Final = 1000

R = TypeVar("R", bound=Struct)


@dataclass(frozen=True, slots=True, repr=False)
class PullOther:
    """A membership or file entry of a pull, as it came."""

    name: str
    data: object

    def __repr__(self) -> str:
        return f"PullOther(name={self.name!r}, data={shown(self.data)})"


PullEvent = PullBegin | PullRecord | PullOther | PullCommit


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """Told to `on_connection`: connected, or lost with the reason and the wait before the next attempt."""

    connected: bool
    reason: str = ""
    retry_in_s: float = 0.0


def split_changes(
    changes: Iterable[PushChange], *, frame_bytes: int = ClientLimits().frame_bytes
) -> Iterator[list[PushChange]]:
    """Group changes into pushes that fit into one frame each. A change too large for any stands alone."""
    batch: list[PushChange] = []
    size_bytes = PUSH_OVERHEAD_BYTES
    for change in changes:
        more_bytes = CHANGE_OVERHEAD_BYTES + len(change.blob or b"") + len(change.dek or b"")
        if batch and (size_bytes + more_bytes > frame_bytes or len(batch) >= CHANGES_PER_PUSH):
            yield batch
            batch, size_bytes = [], PUSH_OVERHEAD_BYTES
        batch.append(change)
        size_bytes += more_bytes
    if batch:
        yield batch


class SyncClient(SharingCalls):
    """A client of one server with one identity. Use as an async context manager; entering connects.

    Args:
        url: `ws://` or `wss://` address of the WebSocket route.
        token_source: asked at every connect. Whatever it raises is a `TokenUnavailable`.
        did_key: the P-256 key behind our DID. Where tokens do not name a DID it is proven by this key, for
            each token (docs/tokens.md 11); other servers ignore that.
        on_connection: told of every connect and loss. What it raises goes to the loop's exception handler.
        sleep, uniform, now: how to wait, a number in [0, 1) for the jitter, this machine's clock; replaced
            by tests.
    """

    def __init__(
        self,
        url: str,
        token_source: TokenSource,
        *,
        did_key: EllipticCurvePrivateKey | None = None,
        limits: ClientLimits | None = None,
        on_connection: Callable[[ConnectionChange], None] = lambda change: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__()
        self._url = url
        self._token_source = token_source
        self._limits = limits or ClientLimits()
        self._on_connection = on_connection
        self._sleep = sleep
        self._uniform = uniform
        self._now = now
        self._proofs = DidProofs(did_key, now)
        self._notices = NoticeQueue(self._limits)
        self._subscribed: dict[str, SubscribeSpace] = {}
        self._link: Link | None = None
        self._changed = asyncio.Event()
        self._end: SyncClientError | None = None
        self._last_trouble = ""
        self._keeper: asyncio.Task[None] | None = None
        self._clock_difference: timedelta | None = None

    async def __aenter__(self) -> Self:
        """Connect and wait for the first authenticated answer.

        Raises:
            ConnectFailed, ConnectionLost, RequestTimeout, TokenUnavailable, TokenRefused, NotThisProtocol.
        """
        self._link = await self._connect()
        self._tell(ConnectionChange(connected=True))
        self._keeper = asyncio.create_task(self._keep(self._link), name="sync-client-keeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection; calls still waiting raise ClientClosed."""
        self._finish(ClientClosed())
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._link is not None:
            self._link.give_up(ClientClosed())
            await self._link.close()

    @property
    def clock_difference(self) -> timedelta | None:
        """As of `TokenRefused`, at the last connect: a UCAN made here may be refused for it as well."""
        return self._clock_difference

    async def subscribe(self, spaces: Sequence[SubscribeSpace]) -> SubscribeResult:
        """Hear of these spaces from now on, also after reconnects (docs/protocol.md 7.3).

        Errors are told per space, in the result.
        """
        result = await self._call("subscribe", SubscribeParams(list(spaces)), SubscribeResult)
        accepted = {space.id for space in result.spaces}
        self._subscribed |= {space.id: space for space in spaces if space.id in accepted}
        return result

    async def unsubscribe(self, spaces: Sequence[str]) -> None:
        """Hear no more of these spaces (docs/protocol.md 8.3)."""
        for space in spaces:
            self._subscribed.pop(space, None)
        link = await self._link_for("unsubscribe")
        await link.notify("unsubscribe", UnsubscribeParams(list(spaces)))

    async def push(
        self, space: str, changes: Sequence[PushChange], *, ucan: str = "", timeout_s: float | None = None
    ) -> PushResult:
        """Write changes, all or none (docs/protocol.md 7.4). A refusal is a value: `ok` False and `error`.

        Raises:
            FrameTooLarge: use `split_changes`. Nothing was sent.
            ConnectionLost, RequestTimeout: it may have been written.
        """
        params = PushParams(space=space, ucan=ucan, changes=list(changes))
        return await self._call("push", params, PushResult, timeout_s=timeout_s)

    async def space_create(
        self, space: str, root_public_key: bytes, *, home_server: str = ""
    ) -> SpaceCreateResult:
        """Create a shared space (docs/protocol.md 7.2), or use one whose home is another server from here.

        Args:
            home_server: the domain by which this server trusts the space's home; empty: the space is new,
                and this server its home. A result that does not echo it comes from a server that knows
                nothing of other servers, and has made an empty space of its own.
        """
        params = SpaceCreateParams(space, root_public_key, home_server)
        return await self._call("space.create", params, SpaceCreateResult)

    async def refresh(self, token: str | None = None) -> TokenRefreshResult:
        """Give the server a fresh token for this connection (docs/protocol.md 7.1). A refusal is a value."""
        fresh = token if token is not None else await asked_token(self._token_source)
        params = TokenRefreshParams(fresh, self._proofs.of(fresh))
        return await self._call("token.refresh", params, TokenRefreshResult)

    async def info(self) -> SessionInfo:
        """Who the server takes this connection for: personal space, mailbox, DID (docs/protocol.md 7.19).

        Raises:
            RequestFailed: `method_not_found`: the server does not tell. The claims of the token say it then.
        """
        return await self._call("session.info", SessionInfoParams(), SessionInfo)

    async def pull(self, space: str, since: int, *, ucan: str = "") -> AsyncGenerator[PullEvent, None]:
        """Yield what changed in a space after `since`: PullBegin, entries by cursor, PullCommit.

        A lost connection is resumed where it broke, without repeating an entry; then another PullBegin
        comes, which replaces the former. Close the iterator when leaving it early (`contextlib.aclosing`).
        Holds a bounded number of entries, however long the space is.

        Raises:
            RequestFailed: an error response, or `forbidden` when the server skipped the space.
            ServerUnavailable: lost too often without getting on.
        """
        seen = _Seen(since)
        failures = 0
        while True:
            before = seen.entries
            try:
                async with aclosing(self._pull_once(space, seen, ucan)) as events:
                    async for event in events:
                        yield event
                return
            except ServerUnavailable:
                failures = failures + 1 if seen.entries == before else 0
                if failures > self._limits.pull_resumptions:
                    raise

    async def notices(self) -> AsyncIterator[Notice]:
        """Yield announcements as they come, for one consumer. Ends when the client is closed.

        Raises:
            TokenRefused, NotThisProtocol: the client gave up.
        """
        try:
            while True:
                yield await self._notices.get()
        except ClientClosed:
            return

    async def next_notice(self) -> Notice:
        """Wait for one announcement. Cancelling loses none.

        Raises:
            TokenRefused, NotThisProtocol, ClientClosed: none will come.
        """
        return await self._notices.get()

    async def _pull_once(self, space: str, seen: "_Seen", ucan: str) -> AsyncGenerator[PullEvent, None]:
        link = await self._link_for("pull")
        request = PullParams([PullSpace(space, seen.since, ucan)])
        begun = committed = False
        entries = 0
        async with aclosing(link.stream("pull", request)) as chunks:
            async for chunk in chunks:
                event = _pull_event(chunk)
                if isinstance(event, PullRecord | PullOther):
                    entries += 1
                    if seen.is_new(event):
                        yield event
                    continue
                begun = True
                if isinstance(event, PullCommit):
                    committed = True
                    if event.count != entries:
                        raise NotThisProtocol(f"pull: {entries} entries came, not {event.count}")
                yield event
        if not begun:
            raise RequestFailed(ErrorCode.FORBIDDEN, "the server does not show this space")
        if not committed:
            raise NotThisProtocol("pull: it ended without a commit")

    async def _call(self, method: str, params: Struct, kind: type[R], *, timeout_s: float | None = None) -> R:
        timeout_s = self._limits.request_timeout_s if timeout_s is None else timeout_s
        link = await self._ready(timeout_s, method)
        return await link.call(method, params, kind, timeout_s=timeout_s)

    async def _link_for(self, method: str) -> Link:
        return await self._ready(self._limits.request_timeout_s, method)

    async def _ready(self, timeout_s: float, method: str) -> Link:
        """The present connection, or the next one if it comes in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._link is None or self._link.ended:
                    if self._end is not None:
                        raise self._end
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise ConnectFailed(f"{method}: no connection ({self._last_trouble})") from None
        if self._end is not None:
            raise self._end
        return self._link

    async def _keep(self, link: Link) -> None:
        """Own the connection until the end: whoever waits for something is told of it."""
        try:
            await self._keep_connected(link)
        except Exception as error:
            failed = SyncClientError(f"the client failed: {type(error).__name__}")
            failed.__cause__ = error
            self._finish(failed)

    async def _keep_connected(self, link: Link) -> None:
        """Wait for the loss of the connection, wait, make the next."""
        while True:
            opened_at = asyncio.get_running_loop().time()
            error = await link.wait_ended()
            self._link = None
            if not isinstance(error, ServerUnavailable):
                self._finish(error)
                return
            lived_s = asyncio.get_running_loop().time() - opened_at
            expired = isinstance(error, ConnectionLost) and error.code == CloseCode.TOKEN_EXPIRED
            # An expired token is renewed at once, but never in a circle.
            next_link = await self._reconnect(
                error, at_once=expired and lived_s >= self._limits.settled_after_s
            )
            if next_link is None:
                return
            link = self._link = next_link
            self._changed.set()
            self._tell(ConnectionChange(connected=True))
            self._notices.resync("reconnected")

    async def _reconnect(self, error: SyncClientError, *, at_once: bool) -> Link | None:
        attempt = 0
        while True:
            self._last_trouble = str(error)
            wait_s = 0.0 if at_once and attempt == 0 else self._backoff_s(attempt)
            self._tell(ConnectionChange(False, str(error), wait_s))
            await self._sleep(wait_s)
            attempt += 1
            try:
                return await self._connect()
            except TokenRefused as final:
                self._finish(final)
                return None
            except SyncClientError as again:
                error = again  # it was this server before, so even a strange answer may pass

    def _backoff_s(self, attempt: int) -> float:
        limits = self._limits
        base_s = min(limits.backoff_first_s * 2 ** min(attempt, 16), limits.backoff_max_s)
        return float(base_s * (1 + limits.backoff_jitter * self._uniform()))

    async def _connect(self) -> Link:
        """Connect, authenticate, subscribe again. Only an answer proves that the token was taken."""
        token = await asked_token(self._token_source)
        link = await open_link(
            self._url,
            token,
            did_proof=self._proofs.of(token),
            limits=self._limits,
            on_notification=self._notices.receive,
            now=self._now,
        )
        self._clock_difference = link.clock_difference
        timeout_s = self._limits.request_timeout_s
        spaces = list(self._subscribed.values())
        try:
            for start in range(0, max(1, len(spaces)), SPACES_PER_SUBSCRIBE):
                params = SubscribeParams(spaces[start : start + SPACES_PER_SUBSCRIBE])
                result = await link.call("subscribe", params, SubscribeResult, timeout_s=timeout_s)
                for refused in result.errors:
                    self._subscribed.pop(refused.space, None)
                    self._notices.put(SubscriptionLost(refused.space, refused.error))
        except BaseException:
            await link.close()
            raise
        return link

    def _tell(self, change: ConnectionChange) -> None:
        try:
            self._on_connection(change)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "on_connection raised", "exception": error}
            )

    def _finish(self, error: SyncClientError) -> None:
        if self._end is None:
            self._end = error
            self._notices.end(error)
            self._changed.set()


class _Seen:
    """How far a pull has come, so that a second one goes on where the first broke.

    Entries come by ascending cursor and several may share one, so the next request asks again for the last
    cursor seen and what was seen of it is left out. A `since` of 0 would hide tombstones: -1 does not.
    """

    def __init__(self, since: int) -> None:
        self.since = since
        self.entries = 0
        self._cursor = since
        self._at_cursor: set[tuple[str, str]] = set()

    def is_new(self, event: PullRecord | PullOther) -> bool:
        """Note one entry; False for one that was seen before the connection broke."""
        cursor, key = _place(event)
        if cursor != self._cursor:
            self._cursor = cursor
            self._at_cursor.clear()
            self.since = cursor - 1 if cursor > 1 else -1
        if key in self._at_cursor:
            return False
        self._at_cursor.add(key)
        self.entries += 1
        return True


def _place(event: PullRecord | PullOther) -> tuple[int, tuple[str, str]]:
    if isinstance(event, PullRecord):
        return event.cursor, ("pull.record", event.id)
    data = event.data if isinstance(event.data, dict) else {}
    cursor = data.get("cursor")
    if type(cursor) is not int:
        raise NotThisProtocol("pull: an entry without a cursor")
    return cursor, (event.name, str(data.get("id", "")))


def _pull_event(chunk: Chunk) -> PullEvent:
    try:
        match chunk.name:
            case "pull.begin":
                return decode_params(PullBegin, chunk.data)
            case "pull.record":
                return decode_params(PullRecord, chunk.data)
            case "pull.commit":
                return decode_params(PullCommit, chunk.data)
            case name:
                return PullOther(name, chunk.data)
    except ParamsError:
        raise NotThisProtocol(f"a chunk {chunk.name} of another shape") from None
