"""The other servers, as `sync` uses them: which home a request goes to, and what became of it.

Implements `sync.forwarding.Forwarder`. One `Home` for each host and port that is dialled.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar, cast
from uuid import UUID

import structlog

from less_sync.federation.outbound.addresses import Addresses, NoAddress, link_key
from less_sync.federation.outbound.calls import (
    LinkState,
    MakeLink,
    PeerAddress,
    PeerFault,
    PeerRefused,
    PeerUnreachable,
    PullBroken,
    Repeat,
)
from less_sync.federation.outbound.checks import Checks
from less_sync.federation.outbound.home import Home
from less_sync.federation.outbound.requests import PullCheck
from less_sync.federation.outbound.wanted import LINGER_S
from less_sync.sync.announce import Announcer
from less_sync.sync.forwarding import (
    NAMES_MAX,
    Asked,
    FileAsked,
    HomeFault,
    HomeRefused,
    HomeSpace,
    HomeUnreachable,
    Listener,
    PullInterrupted,
    RemoteFile,
)
from less_sync.sync.live.broker import Broker, Subscriber
from less_sync.sync.metrics import Recorder
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import FRAME_BYTES_MAX, Chunk, encode_value
from less_sync.sync.protocol.messages import (
    InvitationCreateParams,
    PullParams,
    PullSpace,
    PushResult,
    decode_params,
)

if TYPE_CHECKING:
    from less_sync.federation.outbound.files import HomeFiles  # with an HTTP client that few servers need

HOMES_MAX: Final = 256
"""Servers with a link at a time. Beyond it, those that nobody wants anything of make room."""
MOVED_AFTER_S: Final = 10.0
"""How long a link is kept at least, when rows spell one home in several ways."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class PeerForwarder:
    """One per process.

    Args:
        can_sign: whether there is a key to sign with just now; without one nobody is asked for anything.
        make_link: makes the link to a peer, for whoever owns it.
        clock: monotonic seconds.
        chance: spreads what should not happen everywhere at once.
        linger_s: how long a home is kept to tell of a space that nobody uses.
        files: makes what asks homes for files, when it is needed; None: no file of another server is served.
    """

    def __init__(
        self,
        addresses: Addresses,
        announce: Announcer,
        broker: Broker,
        make_link: MakeLink,
        *,
        can_sign: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
        frame_bytes_max: int = FRAME_BYTES_MAX,
        linger_s: float = LINGER_S,
        files: "Callable[[], HomeFiles] | None" = None,
    ) -> None:
        self._addresses = addresses
        # Settings do not change while it runs; and a name that is not dialled is told of once, not each time.
        self._address_of = lru_cache(NAMES_MAX)(self._look_up)
        self._announce = announce
        self._broker = broker
        self._make_link = make_link
        self._can_sign = can_sign
        self._clock = clock
        self._chance = chance or random.Random()
        self._frame_bytes_max = frame_bytes_max
        self._linger_s = linger_s
        self._make_files = files
        self._files: HomeFiles | None = None
        self._checks = Checks(clock)
        self._homes: dict[tuple[str, int], Home] = {}
        self._made_s: dict[tuple[str, int], float] = {}
        self._home_of: dict[UUID, Home] = {}
        """Where a space that sessions here use has its home, as it was asked last."""
        self._closed = False
        broker.watch(self._left)

    @property
    def enabled(self) -> bool:
        """Whether there is a key to sign with."""
        return self._can_sign()

    @property
    def homes(self) -> Sequence[Home]:
        """Those there is a link to."""
        return tuple(self._homes.values())

    def measure(self, recorder: Recorder) -> None:
        """Let whoever listens ask for what links stand at, by host and port dialled."""

        def read(value: Callable[[Home], int]) -> Callable[[], dict[str, int]]:
            return lambda: {f"{host}:{port}": value(home) for (host, port), home in self._homes.items()}

        def open_links() -> dict[str, int]:
            # A link that nobody wants is neither open nor down.
            return {
                f"{host}:{port}": int(home.link.state is LinkState.OPEN)
                for (host, port), home in self._homes.items()
                if home.link.state is not LinkState.IDLE
            }

        recorder.measure("link_open", open_links)
        recorder.measure("link_opened", read(lambda home: home.relayed.opened))
        recorder.measure("link_spaces", read(lambda home: len(home.entries)))
        recorder.measure("relayed_rows", read(lambda home: home.relayed.rows))
        recorder.measure("relayed_bytes", read(lambda home: home.relayed.size_bytes))

    def is_foreign(self, home: str | None) -> bool:
        """Whether a row with this `home_server` has its home elsewhere."""
        return self._addresses.is_foreign(home)

    def home_key(self, home: str) -> str:
        """Host and port that are dialled; the text itself if none is."""
        address = self._address_of(home)
        if address is None:
            return home
        host, port = link_key(address.url)
        return f"{host} {port}"

    def trusted_name(self, server: str) -> str | None:
        """As `Addresses.trusted_name`."""
        return self._addresses.trusted_name(server)

    def _look_up(self, named: str) -> PeerAddress | None:
        try:
            address = self._addresses.of_home(named)
            link_key(address.url)
        except NoAddress as error:
            # What stands before an `@` may be a secret.
            log.warning("home is not dialled", home=named.rpartition("@")[2], why=str(error))
            return None
        return address

    def _address(self, named: str) -> PeerAddress:
        """Where the home that a row names is dialled.

        Raises:
            HomeUnreachable: nowhere.
        """
        if self._closed or not self._can_sign():
            raise HomeUnreachable
        address = self._address_of(named)
        if address is None:
            raise HomeUnreachable
        return address

    def _home(self, named: str) -> Home:
        """The home that a row names.

        Raises:
            HomeUnreachable: it is not dialled, or there are too many others.
        """
        address = self._address(named)
        key = link_key(address.url)
        home = self._homes.get(key)
        if home is None:
            self._make_room()
            home = self._homes[key] = Home(
                address,
                self._make_link,
                self._announce,
                self._broker,
                self._checks,
                self._chance,
                frame_bytes_max=self._frame_bytes_max,
                linger_s=self._linger_s,
            )
            self._made_s[key] = self._clock()
        elif home.address != address and self._clock() - self._made_s[key] >= MOVED_AFTER_S:
            self._made_s[key] = self._clock()
            home.moved(address)
        return home

    def _make_room(self) -> None:
        if len(self._homes) < HOMES_MAX:
            return
        for key, home in self._homes.items():
            if not home.wanted and home.link.state is LinkState.IDLE:
                del self._homes[key], self._made_s[key]
                return
        raise HomeUnreachable

    async def subscribe(
        self, listener: Listener, asked: Sequence[Asked], *, person: str
    ) -> Sequence[HomeSpace | str]:
        """Subscribe for a session at the one home of all `asked`."""
        try:
            home = self._home(asked[0].home)
        except HomeUnreachable:
            return [ErrorCode.INTERNAL] * len(asked)
        for one in asked:
            former = self._home_of.get(one.space)
            if former is not None and former is not home:
                former.give_up(one.space)  # another server is its home now
        outcomes = await home.subscribe(listener, asked, person=person)
        for one, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, HomeSpace):
                self._home_of[one.space] = home
        return outcomes

    def _left(self, subscriber: Subscriber, space: UUID) -> None:
        """A subscription has ended, whoever ended it."""
        home = self._home_of.get(space) if self._home_of else None
        if home is None:
            return
        # A session that is in an entry came here as a listener; any other is not found.
        home.entries.left(cast(Listener, subscriber), space)
        entry = home.entries.get(space)
        if entry is None or not entry.sessions:
            del self._home_of[space]

    async def confirm(self, asked: Asked, *, person: str) -> str | None:
        """Whether the home grants this UCAN to read, asked again when that was some time ago."""
        if self._checks.fresh(asked.space, asked.ucan):
            return None
        try:
            return await self._home(asked.home).confirm(asked, person=person)
        except HomeUnreachable:
            return ErrorCode.INTERNAL

    async def push(self, space: UUID, home: str, params: bytes, *, person: str) -> PushResult:
        """Write to a space at its home."""
        one = self._home(home)
        result = await _told(one.link.call("push", params, person=person))
        try:
            pushed = decode_params(PushResult, result)
        except ParamsError:
            raise HomeFault from None
        entry = one.entries.get(space)
        if entry is not None and pushed.ok and pushed.cursor > 0:
            entry.pushed(pushed.cursor)
        return pushed

    async def pull(self, asked: Asked, *, person: str) -> AsyncGenerator[Chunk, None]:
        """The chunks of one space, each checked before it is handed on."""
        home = self._home(asked.home)
        params = encode_value(PullParams([PullSpace(asked.text, asked.since, asked.ucan)]))
        check, begun = PullCheck(asked.text), False
        try:
            async with aclosing(home.link.pull(params, person=person)) as chunks:
                async for chunk in chunks:
                    home.relayed.count(*check.take(chunk))
                    begun = True
                    yield chunk
        except (PeerFault, PeerRefused) as fault:
            if begun or isinstance(fault, PullBroken):
                raise PullInterrupted(type(fault).__name__) from None
            raise _translated(fault) from None
        check.end()

    async def invite(self, server: str, mailbox_id: str, payload: str, *, person: str) -> None:
        """Leave an invitation at a server. A second one would be delivered too, so it is not sent again."""
        link = self._home(server).link
        params = encode_value(InvitationCreateParams(mailbox_id, payload))
        result = await _told(link.call("fed.invitation", params, person=person, repeat=Repeat.IF_UNWRITTEN))
        if not (isinstance(result, dict) and result.get("ok") is True):
            raise HomeRefused(ErrorCode.INTERNAL)

    @asynccontextmanager
    async def file(self, asked: FileAsked, *, person: str) -> AsyncGenerator[RemoteFile, None]:
        """A file, as its home serves it. The link has no part in it."""
        if self._files is None:
            if self._make_files is None:
                raise HomeRefused(ErrorCode.METHOD_NOT_FOUND)
            self._files = self._make_files()
        async with self._files.file(self._address(asked.home), asked, person=person) as file:
            yield file

    def doubt(self, space: UUID, *, told: int | None = None) -> None:
        """Ask the home for the cursor, and let everybody pull who is behind it."""
        home = self._home_of.get(space)
        if home is not None:
            home.doubt(space, told=told)

    async def aclose(self) -> None:
        """Close every link, and make no other."""
        self._closed = True
        await asyncio.gather(*(home.aclose() for home in self._homes.values()))
        if self._files is not None:
            await self._files.aclose()


async def _told(call: Awaitable[T]) -> T:
    """The result of a call, its faults in the terms of `sync`."""
    try:
        return await call
    except (PeerFault, PeerRefused) as fault:
        raise _translated(fault) from None


def _translated(fault: PeerFault | PeerRefused) -> HomeFault | HomeRefused:
    if isinstance(fault, PeerRefused):
        return HomeRefused(fault.code)
    return HomeUnreachable() if isinstance(fault, PeerUnreachable) else HomeFault()
