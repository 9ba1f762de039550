"""What this server needs of others: spaces whose home is elsewhere are used through a `Forwarder`.

The row of such a space, a *shadow row*, holds its id, its root key and the name of its home, and nothing
else: no request is ever answered from it as if it were the space (docs/federation.md 9).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from less_sync.auth import MalformedText, ServerName, parse_server_name
from less_sync.sync.live.broker import Subscriber
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.frames import Chunk
from less_sync.sync.protocol.messages import PushResult

NAMES_MAX: Final = 4096
"""Names of servers that are kept as they were read."""

NO_FEDERATION: Final = "federation is not enabled on this server"


class HomeFault(Exception):
    """The home has not answered. Whether it did what was asked is unknown, unless `HomeUnreachable`."""


class HomeUnreachable(HomeFault):
    """Nothing was sent: no connection, no key to sign with, or no trust in that server."""


class HomeRefused(Exception):
    """The home answered with an error; `code` is an `ErrorCode`, or one that this version does not know."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class PullInterrupted(Exception):
    """The rest of a pull will not come, or is none; some of it may have been used already."""


class NotTrusted(Exception):
    """A name given by a client is no server that this one trusts."""


class Listener(Subscriber, Protocol):
    """A session that uses spaces of other servers."""

    def notify(self, payload: bytes) -> None:
        """Send one notification to this session alone."""


class Asked(NamedTuple):
    """One space that a caller may read as far as this server knows; its home decides."""

    space: UUID
    text: str
    """As the request spells it: what the home is told, and what it answers under."""
    since: int
    ucan: str
    home: str
    """As the row names it."""


class HomeSpace(NamedTuple):
    """A space as its home says it is."""

    cursor: int
    key_generation: int
    rewrap_epoch: int | None


class FileAsked(NamedTuple):
    """One file that a caller may read as far as this server knows; its space's home decides."""

    space: UUID
    file: UUID
    home: str
    """As the row names it."""
    ucan: str
    content: bool
    """False: only what is known of it is asked for."""


class RemoteFile(NamedTuple):
    """A file on its way here."""

    wrapped_dek: bytes
    size_bytes: int
    chunks: AsyncIterator[bytes]
    """`size_bytes` in pieces; nothing when the content was not asked for. Raises HomeFault."""


class Forwarder(Protocol):
    """The other servers. Every wait is bounded; cancelling one takes back what has not been sent.

    `person` is whose turn it is where turns are taken, as `Caller.person`.
    """

    @property
    def enabled(self) -> bool:
        """Whether there is anybody to forward to."""

    def is_foreign(self, home: str | None) -> bool:
        """Whether a row with this `home_server` has its home elsewhere: see `names_another`."""

    def home_key(self, home: str) -> str:
        """Equal for names of one home: what is asked of it together."""

    def trusted_name(self, server: str) -> str | None:
        """Our own text for a server that a client names; None when that is this server.

        Raises:
            NotTrusted: nobody said that it may be dialled.
        """

    async def subscribe(
        self, listener: Listener, asked: Sequence[Asked], *, person: str
    ) -> Sequence[HomeSpace | str]:
        """Subscribe for a session at the one home of all `asked`; for each how it is there, or an error code.

        What is announced from the moment the request is written on is relayed. Each space granted counts as
        used by the session until the broker says that it left.
        """

    async def confirm(self, asked: Asked, *, person: str) -> str | None:
        """Whether the home still grants this UCAN to read: None, or an error code. Asked at most every 5 min,
        but always for a while after something was revoked there."""

    async def push(self, space: UUID, home: str, params: bytes, *, person: str) -> PushResult:
        """Write to a space. Those of one person to one space are sent in the order of these calls.

        Args:
            params: CBOR.

        Raises:
            HomeFault, HomeRefused.
        """

    def pull(self, asked: Asked, *, person: str) -> AsyncGenerator[Chunk, None]:
        """Everything above `since`, each chunk checked to be this space's. To be closed when left early.

        Raises:
            HomeFault, HomeRefused: before the first chunk.
            PullInterrupted: after it, or because of it.
        """

    async def invite(self, server: str, mailbox_id: str, payload: str, *, person: str) -> None:
        """Leave an invitation at a server, by the name that `trusted_name` gave. Never sent twice.

        Raises:
            HomeFault, HomeRefused.
        """

    def file(self, asked: FileAsked, *, person: str) -> AbstractAsyncContextManager[RemoteFile]:
        """Ask for a file; leaving the block ends the transfer.

        Raises:
            HomeRefused: `not_found`, `forbidden`, or `method_not_found`: the home serves no files to servers.
            HomeUnreachable: there is no answer, or it may soon be another one.
            HomeFault: the answer is none.
            TooManyWaiting: of this person's requests.
        """

    def doubt(self, space: UUID, *, told: int | None = None) -> None:
        """Something was written that nobody may have been told of: find out, and let everybody pull.

        Args:
            told: up to which cursor everything was announced, if that is less than what the home announced.
        """


def names_another(home: str | None, own: Collection[str]) -> bool:
    """Whether a `home_server` is another server: the one rule (docs/federation.md 9.1).

    A text that is no server's name is somebody else's, so that nothing of it is served from here.

    Args:
        own: our public names, `host` or `host:port`; one without port is ours on every port.
    """
    if home is None:
        return False
    name = _server(home)
    return name is None or not any(_is(_server(text), name) for text in own)


@lru_cache(NAMES_MAX)
def _server(text: str) -> ServerName | None:
    """Read once: rows and settings name few servers, and every push to one asks."""
    try:
        return parse_server_name(text)
    except MalformedText:
        return None


def _is(ours: ServerName | None, name: ServerName) -> bool:
    return ours is not None and ours.host == name.host and ours.port in (None, name.port)


class Alone:
    """The forwarder of a server that speaks to no other: spaces of other homes cannot be used."""

    enabled: Final = False

    def __init__(self, own: Callable[[], Collection[str]] = tuple) -> None:
        self._own = own

    def is_foreign(self, home: str | None) -> bool:
        """As `names_another`."""
        return names_another(home, self._own())

    def home_key(self, home: str) -> str:
        """The name itself."""
        return home

    def trusted_name(self, server: str) -> str | None:
        """None for this server; no other is trusted.

        Raises:
            NotTrusted.
        """
        if self.is_foreign(server):
            raise NotTrusted
        return None

    async def subscribe(
        self, listener: Listener, asked: Sequence[Asked], *, person: str
    ) -> Sequence[HomeSpace | str]:
        """Nobody is asked."""
        return [ErrorCode.INTERNAL] * len(asked)

    async def confirm(self, asked: Asked, *, person: str) -> str | None:
        """Nobody can say."""
        return ErrorCode.INTERNAL

    async def push(self, space: UUID, home: str, params: bytes, *, person: str) -> PushResult:
        """Nothing is sent."""
        raise HomeUnreachable

    async def pull(self, asked: Asked, *, person: str) -> AsyncGenerator[Chunk, None]:
        """Nothing is sent."""
        none: tuple[Chunk, ...] = ()
        for chunk in none:
            yield chunk
        raise HomeUnreachable

    async def invite(self, server: str, mailbox_id: str, payload: str, *, person: str) -> None:
        """Nothing is sent."""
        raise HomeUnreachable

    @asynccontextmanager
    async def file(self, asked: FileAsked, *, person: str) -> AsyncGenerator[RemoteFile, None]:
        """No file of another server is served."""
        none: tuple[RemoteFile, ...] = ()
        for file in none:
            yield file
        raise HomeRefused(ErrorCode.METHOD_NOT_FOUND)

    def doubt(self, space: UUID, *, told: int | None = None) -> None:
        """Nobody can say."""


PUSHES_PER_PERSON_MAX: Final = 64
BYTES_PER_PERSON_MAX: Final = 8 * 1024 * 1024
"""Of pushes on their way to other servers; one more may come that goes beyond it."""


class _OnTheWay:
    __slots__ = ("pushes", "room", "size_bytes")

    def __init__(self) -> None:
        self.pushes = self.size_bytes = 0
        self.room: asyncio.Event | None = None


class ForwardRoom:
    """How much each person has on its way to other servers. Who has nothing there always finds room."""

    def __init__(self) -> None:
        self._people: dict[str, _OnTheWay] = {}

    def has(self, person: str) -> bool:
        """Whether this person may begin another one."""
        one = self._people.get(person)
        return one is None or (one.pushes < PUSHES_PER_PERSON_MAX and one.size_bytes < BYTES_PER_PERSON_MAX)

    async def wait(self, person: str) -> None:
        """Return once there is room: each push on its way ends with its deadline at the latest."""
        while not self.has(person):
            one = self._people[person]
            if one.room is None:
                one.room = asyncio.Event()
            await one.room.wait()

    def take(self, person: str, size_bytes: int) -> None:
        """Count one that begins."""
        one = self._people.setdefault(person, _OnTheWay())
        one.pushes += 1
        one.size_bytes += size_bytes

    def give_back(self, person: str, size_bytes: int) -> None:
        """Count one that has ended."""
        one = self._people[person]
        one.pushes -= 1
        one.size_bytes -= size_bytes
        if one.room is not None:
            one.room.set()
            one.room = None
        if not one.pushes:
            del self._people[person]
