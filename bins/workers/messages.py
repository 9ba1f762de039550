"""What a supervisor and its workers tell each other (docs/scaling.md 1.1).

Over a socket pair that a worker inherits, as JSON behind four bytes of length, most significant first. Both
ends belong to the same program, which may have been upgraded between them.
"""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Generic, Self, TypeVar

import msgspec

from less_sync.bins.nats.access import BusAccess
from less_sync.bins.settings.env_file import EnvFile
from less_sync.bins.settings.given import Given

MESSAGE_BYTES_MAX: Final = 8 << 20
"""An environment is most of it, and systems allow processes 2 MiB of that."""
_LENGTH_BYTES: Final = 4

T = TypeVar("T")


class Sources(msgspec.Struct, frozen=True):
    """Where settings come from, as the supervisor has read it: in no argument, and in no environment."""

    environment: dict[str, str]
    options: dict[str, str]
    file: tuple[str, dict[str, str]] | None
    embedded: bool
    dev: bool
    issuers: bytes | None

    @classmethod
    def of(cls, given: Given) -> Self:
        """What is no Unicode stays behind: it counts as unset anyway."""
        return cls(
            environment=_unicode(given.environment),
            options=dict(given.options),
            file=None if given.file is None else (str(given.file.path), _unicode(given.file.values)),
            embedded=given.embedded,
            dev=given.dev,
            issuers=given.issuers,
        )

    def given(self) -> Given:
        """The same as the settings are read from."""
        given = Given(self.environment, self.options, embedded=self.embedded, dev=self.dev)
        file = None if self.file is None else EnvFile(Path(self.file[0]), self.file[1])
        return replace(given, file=file, issuers=self.issuers)


class Begin(msgspec.Struct, tag=True, frozen=True):
    """To a worker, once: serve."""

    number: int
    sources: Sources
    """As at the start of the server: most settings take effect with its next start alone."""
    live: Sources | None
    """As they were last read again, for the settings that take effect at once."""
    database: str = ""
    """Its URL."""
    migrate: bool = False
    """Whether the database's schema is this worker's to bring up to date."""
    listeners: tuple[int, ...] = ()
    """Descriptors of bound sockets."""
    profiler: tuple[int, ...] = ()
    admin: str | None = None
    """Path of the Unix socket to make for the supervisor's questions."""
    bus: BusAccess | None = None
    """How the other workers are reached."""
    people: str = ""
    """Directory for who has signed in at the start page."""


class Reload(msgspec.Struct, tag=True, frozen=True):
    """To a worker: look at `ENV_FILE`, `ISSUERS_FILE` and the own keys again."""


class Stop(msgspec.Struct, tag=True, frozen=True):
    """To a worker: drain and end."""

    replaced: bool
    """A successor accepts connections at the same sockets."""


class Migrated(msgspec.Struct, tag=True, frozen=True):
    """From a worker: the schema is up to date."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """From a worker: it accepts connections."""


class Failed(msgspec.Struct, tag=True, frozen=True):
    """From a worker, before it ends: why, for the operator."""

    words: str
    causes: tuple[str, ...]


ToWorker = Begin | Reload | Stop
FromWorker = Migrated | Ready | Failed


class ChannelBroken(Exception):
    """What came is no message of the other side's."""


class Channel(Generic[T]):
    """One end. What is sent is small and rare: nobody waits for it to leave, but for the socket's buffer.

    Args:
        hears: decodes what the other side may say.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hears: object) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder: Final[msgspec.json.Decoder[T]] = msgspec.json.Decoder(hears)

    @classmethod
    async def open(cls, end: socket.socket, hears: object) -> Self:
        """Talk over an end of the pair, which is the channel's from here on."""
        reader, writer = await asyncio.open_unix_connection(sock=end)
        return cls(reader, writer, hears)

    def send(self, message: ToWorker | FromWorker) -> None:
        """Say it, if the other side is still there."""
        content = msgspec.json.encode(message)
        assert len(content) <= MESSAGE_BYTES_MAX
        self._writer.write(len(content).to_bytes(_LENGTH_BYTES) + content)

    async def sent(self) -> None:
        """Wait until all that was said has left, or cannot."""
        self._writer.transport.set_write_buffer_limits(0)
        try:
            await self._writer.drain()
        except OSError:
            return

    async def receive(self) -> T | None:
        """The next message; None at the end.

        Raises:
            ChannelBroken: it is none.
        """
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES))
            if length > MESSAGE_BYTES_MAX:
                raise ChannelBroken("a message is too long")
            return self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError):
            return None
        except msgspec.DecodeError as error:
            raise ChannelBroken("a message is not understood") from error

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def _unicode(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if _is_unicode(name) and _is_unicode(value)}


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
