"""Records on their way in: as they came, once they are understood, and while their files are written."""

from dataclasses import dataclass, field
from enum import Enum, auto
from uuid import UUID

from less_sync.client.folder.crypto import SealedFile
from less_sync.client.folder.local import Here
from less_sync.client.folder.plaintext import PlainFile, Pointer
from less_sync.client.folder.plan import Content, Remote, Tombstone
from less_sync.client.folder.state import Row


class Mode(Enum):
    """What to do with a record."""

    APPLY = auto()
    """Bring the folder into agreement."""
    NOTE = auto()
    """Note what is new there and leave the files alone."""
    LOOK = auto()
    """Tell what would be done."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as the server gave it."""

    record: UUID
    cursor: int
    sealed: SealedFile | None = field(repr=False)
    """None for a bare tombstone."""


@dataclass(slots=True)
class PullCount:
    """What one pull met, to tell a wrong key file from a stray record."""

    opened: int = 0
    files: int = 0
    size_bytes: int = 0
    undecryptable: list[UUID] = field(default_factory=list)
    in_the_way: int = 0
    rolled_back: int = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record that was understood. `known` is what both sides had as far as `decide` is concerned."""

    row: Row
    path: str
    remote: Content | Tombstone
    known: Remote
    file: PlainFile | None = None
    proven: bool = True
    attempt: int = 1
    fetched: str = ""
    """Of a large file: what was downloaded, aside."""

    @property
    def is_to_be_fetched(self) -> bool:
        """Whether the content is elsewhere still."""
        return self.file is not None and self.file.pointer is not None and not self.fetched

    @property
    def size_bytes(self) -> int | None:
        """Of the file, if it is one."""
        return self.file.size_bytes if self.file is not None else None


@dataclass(frozen=True, slots=True)
class Placement:
    """A file that is written aside and not yet in its place."""

    arrival: Arrival
    here: Here
    spooled: str
    noted_ns: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A large file to be downloaded."""

    arrival: Arrival

    @property
    def record(self) -> UUID:
        """Of the file."""
        return self.arrival.row.record

    @property
    def path(self) -> str:
        """Of the file, in the folder."""
        return self.arrival.path

    @property
    def mtime_ns(self) -> int:
        """Of the file."""
        assert self.arrival.file is not None
        return self.arrival.file.mtime_ns

    @property
    def pointer(self) -> Pointer:
        """Where its content is."""
        assert self.arrival.file is not None
        assert self.arrival.file.pointer is not None
        return self.arrival.file.pointer
