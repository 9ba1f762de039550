"""What the rest of the server needs of storage, one Protocol per domain."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol
from uuid import UUID

from less_sync.storage.errors import StorageError
from less_sync.storage.types import (
    ActiveKey,
    AdvanceOutcome,
    AppendOutcome,
    Caller,
    CompleteOutcome,
    DeactivateStatus,
    DekKind,
    DekRow,
    FederationKey,
    FileLook,
    FileRow,
    HomeOutcome,
    Invitation,
    Invited,
    MemberLog,
    PullMeta,
    PullRow,
    Push,
    PushOutcome,
    RateSlot,
    RecordFileOutcome,
    RevokeStatus,
    RewrapStatus,
    Space,
    SpaceNews,
    SpacesRead,
    SpaceState,
    StoredKey,
)

PushDone = Callable[[PushOutcome | StorageError], None]
"""Called once per push taken, on the event loop, in order of submission within a space; must not raise."""


class SpaceStore(Protocol):
    async def ping(self) -> None:
        """Ask the database for `SELECT 1`.

        Raises:
            Unavailable: it did not answer.
        """

    async def get_spaces(self, ids: Sequence[UUID]) -> dict[UUID, Space]:
        """Read the spaces that exist among `ids`, in one round trip; none when `ids` is empty."""

    async def read_spaces(self, ids: Sequence[UUID], cids: Sequence[tuple[UUID, str]] = ()) -> SpacesRead:
        """Read what authorising needs, in one round trip: the spaces that exist among `ids`, and which of
        `cids` (a space and a CID each) are revoked."""

    async def create_space(
        self, space: UUID, client_id: str, root_public_key: bytes | None, home_server: str | None = None
    ) -> Space:
        """Insert a space with the database's defaults, or one that has its home at another server.

        Raises:
            SpaceExists: the id is taken.
        """

    async def get_or_create_space(self, space: UUID, client_id: str) -> Space:
        """Return the space, created without root key if it was missing. One round trip."""


class PushStore(Protocol):
    def submit(self, push: Push, done: PushDone) -> bool:
        """Queue one push. True: `done` will be called with its outcome, and it is written even if its author
        is gone. False: it is refused at once, because the store is closed or its author has far more queued
        than he may, and `done` is not called.

        `Unavailable` as outcome: unknown whether it was written, or certainly not; any other `StorageError`:
        it was not written.
        """

    def congested(self, author: str) -> bool:
        """True while `author` has more queued than he may: whoever reads from him should pause."""

    async def uncongested(self, author: str) -> None:
        """Return once `author` has at most half of that queued."""


class Pull(Protocol):
    """One space's entries as of one snapshot."""

    meta: PullMeta

    def batches(self) -> AsyncIterator[Sequence[PullRow]]:
        """Yield the entries in order of (cursor, kind, id); the next batch is read ahead while one is used.

        A consumer that is still at it after some seconds, or keeps others waiting, loses the snapshot and
        reads on by pages (docs/storage.md 7.3): entries overwritten meanwhile are then missing here and come
        with the next pull, from `meta.cursor`. To be called once.

        Raises:
            Unavailable: the database was lost on the way.
            StorageError: it failed.
        """


class PullStore(Protocol):
    def pull(self, space: UUID, since: int, *, reader: str = "") -> AbstractAsyncContextManager[Pull | None]:
        """Open a pull of everything above `since`; None when the space is missing.

        A pull that fits one page holds nothing once it is open. A longer one holds one database connection of
        the share that pulls may use until it is read, left, or some seconds old; it lets go of it at once
        when somebody waits for one and the next batch is not taken.

        Args:
            since: any 64-bit value; 0 leaves tombstones out; beyond the cursor it is taken for 0.
            reader: who reads, by whatever key the caller tells readers apart: they take turns.

        Raises:
            Unavailable: no connection in time, or the database was lost.
            StorageError: it failed.
        """


NOBODY: Final = Caller()
"""A change on the server's own behalf: nothing is checked of a caller, and a missing space is not created."""


class MemberStore(Protocol):
    async def append(
        self,
        space: UUID,
        *,
        expected_version: int,
        prev_hash: bytes | None,
        entry_hash: bytes,
        payload: bytes,
        caller: Caller = NOBODY,
    ) -> AppendOutcome:
        """Append an entry if the log is at `expected_version` and ends with `prev_hash`. One round trip.

        The space's cursor and the log's version advance by one. Hash and payload are the caller's to check.

        Args:
            prev_hash: None or empty for the first entry.
        """

    async def list(self, space: UUID, since_seq: int, *, cids: Sequence[str] = ()) -> MemberLog | None:
        """Read the entries after `since_seq`, and which of `cids` are revoked, in one round trip and one
        snapshot; None when the space is missing."""


class EpochStore(Protocol):
    async def advance(
        self, space: UUID, epoch: int, *, set_min: bool, caller: Caller = NOBODY
    ) -> AdvanceOutcome:
        """Begin `epoch` if it is the next one and no re-wrapping is pending. One round trip; no cursor moves.

        Args:
            set_min: make it the lowest epoch that pushes may use, too.
        """

    async def complete(self, space: UUID, epoch: int, *, caller: Caller = NOBODY) -> CompleteOutcome:
        """End the re-wrapping for `epoch` if it is the pending one. One round trip; no cursor moves."""


class DekListing(Protocol):
    """The DEKs of one space. Holds nothing of the database, whether it is read or not."""

    space: Space
    """As of the first page. The cursor bounds the listing: it is what the reader has read up to."""
    revoked: frozenset[tuple[UUID, str]]
    """This space with each CID, of those asked about, that is revoked."""

    def batches(self) -> AsyncIterator[Sequence[DekRow]]:
        """Yield the entries in order of cursor and id, a page at a time, each read when it is asked for.

        What is written while the listing is read has a cursor above `space.cursor` and is left out.
        To be called once.

        Raises:
            Unavailable: the database was lost on the way.
            StorageError: it failed.
        """


class DekStore(Protocol):
    async def get(
        self, kind: DekKind, space: UUID, since: int, *, cids: Sequence[str] = ()
    ) -> DekListing | None:
        """List the DEKs of records (tombstones included) or files with a cursor above `since`; None when the
        space is missing. One round trip for a listing of one page."""

    async def rewrap(
        self,
        kind: DekKind,
        space: UUID,
        ids: Sequence[UUID | str | None],
        deks: Sequence[bytes],
        *,
        read_cursor: int | None = None,
        caller: Caller = NOBODY,
    ) -> RewrapStatus:
        """Replace the DEKs of rows, all or none, in one round trip; no cursor moves.

        Args:
            ids: all in one spelling, as repeated ones are found by equality (the last counts); as text
                36 characters. None stands for an id that is no UUID. Empty: only the caller is checked.
            deks: one per id, carrying the space's current epoch.
            read_cursor: up to where the caller has read. Rows beyond it are refused, and rows that are at the
                epoch already keep their DEK; None: every row is overwritten.
        """


class InvitationStore(Protocol):
    async def create(self, mailbox: str, payload: bytes) -> Invitation:
        """Leave a message in a mailbox, 64 hex digits, for seven days. One round trip, as all of these."""

    async def list(
        self, mailbox: str, *, limit: int, after: UUID | None = None, bytes_max: int | None = None
    ) -> Sequence[Invitation]:
        """Read the unexpired invitations of a mailbox in order of time and id, at most `limit`.

        Args:
            after: begin behind this one; if it is not in this mailbox (any more), there are none.
            bytes_max: no further one once the payloads have reached this; at least one comes.
        """

    async def get(self, invitation: UUID, mailbox: str) -> Invitation | None:
        """Read one that has not expired; None when this mailbox has none such."""

    async def delete(self, invitation: UUID, mailbox: str) -> bool:
        """Delete one, expired or not; False when this mailbox has none such."""

    async def purge(self) -> int:
        """Delete those that have expired, in small transactions; return how many. None while another process
        is at it."""


class RevocationStore(Protocol):
    async def revoke(self, space: UUID, cid: str, *, caller: Caller = NOBODY) -> RevokeStatus:
        """Revoke a CID in a space; again is harmless. Once it has returned nobody writes by it.

        One round trip.
        """

    async def tagged(self, tags: Sequence[tuple[UUID, bytes]], prefix: bytes) -> set[tuple[UUID, bytes]]:
        """Say which of `tags`, a space and a tag each, stand for a CID that is revoked in the space: the
        SHA-256 of `prefix` and the CID begins with the tag. One round trip, however many are revoked there.
        """


class RateLimitStore(Protocol):
    async def take(self, action: str, actor_hash: str, *, window_s: int, slots_max: int) -> RateSlot | None:
        """Take one of `slots_max` slots that an actor has for an action within `window_s`; None if all are
        taken.

        One round trip, and exact however many take at once, in whatever process.

        Args:
            action: at most 32 characters.
            actor_hash: 64 hex digits (docs/storage.md 5.7).
        """

    async def undo(self, slot: RateSlot) -> None:
        """Give a slot back, because what it was taken for has failed."""

    async def forget_before(self, slot: RateSlot) -> None:
        """Delete the slots of its action and actor that were taken earlier."""

    async def cleanup(self, *, window_s: int) -> int:
        """Delete slots older than `window_s`, in small transactions; return how many. None while another
        process is at it. Those of the action `less-sync:turn` stay."""


class FileLock(Protocol):
    """One file that nobody else uploads, repairs or removes, in whatever process, until it is left."""

    @property
    def row(self) -> FileRow | None:
        """What is recorded of it, as of when the lock was obtained."""

    @property
    def held_by_backup(self) -> bool:
        """Whether a backup is under way, which must find every content that was there as it began. While this
        is False none begins before the lock is left."""

    async def check(self) -> None:
        """Ask the database whether the lock still holds: it ends with its connection.

        Raises:
            Unavailable: it does not.
        """

    async def record(
        self, record: UUID, size_bytes: int, wrapped_dek: bytes, *, replace: bool, caller: Caller = NOBODY
    ) -> RecordFileOutcome:
        """Write the row of a file whose content was published, and commit. To be called once, as the last.

        The space's row is locked for this statement alone; its cursor advances by one when a row was written.

        Args:
            record: must be in this space and live.
            wrapped_dek: 44 bytes.
            replace: overwrite a row that is there.

        Raises:
            Unavailable: unknown whether it was written.
            StorageError: it was not.
        """

    async def forget(self) -> None:
        """Delete the row, whose content is lost, and commit; no cursor moves. To be called once, as the last.

        Raises:
            Unavailable, StorageError: as `record`.
        """


class FileStore(Protocol):
    """Rows of `files`: what belongs to which content (docs/files.md)."""

    async def look(
        self, space: UUID, file: UUID, *, cids: Sequence[str] = (), record: UUID | None = None
    ) -> FileLook:
        """Read all that a request about a file asks, in one round trip and one snapshot.

        Args:
            cids: of which to say whether they are revoked in the space.
            record: of which to say whether it is in the space and live.
        """

    def lock(self, space: UUID, file: UUID, *, user: str) -> AbstractAsyncContextManager[FileLock]:
        """Hold a file's lock, in a transaction that is rolled back unless it was committed.

        At most 4 at a time in this process, by turns of `user`; the database ends none for being idle.

        Raises:
            Unavailable: no connection.
            StorageError: the database refused, or another process holds the lock for more than 10 s.
        """

    async def known(self, files: Sequence[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
        """Say which of these pairs of space and file have a row, in one round trip."""


class NewsStore(Protocol):
    """What a node compares itself with, and reads when it has missed something (docs/scaling.md 3.3).

    Each operation is one round trip, to the primary.
    """

    async def compare(self, ids: Sequence[UUID]) -> dict[UUID, SpaceState]:
        """Where the spaces that exist among `ids` are; some 2 ms of the database per 1,000."""

    async def between(
        self, space: UUID, above: int, up_to: int, *, rows_max: int, bytes_max: int
    ) -> SpaceNews | None:
        """What was written in a space above one cursor and up to another, tombstones too, and has not been
        written again since; None when the space is missing.

        Args:
            rows_max: more entries than that, or values of more than `bytes_max` together, are not read.
        """

    async def revoked_among(self, pairs: Sequence[tuple[UUID, str]]) -> set[tuple[UUID, str]]:
        """Those of `pairs`, a space and a CID each, that are revoked."""

    async def invited_since(self, seconds: float, after: Invited | None = None) -> Sequence[Invited]:
        """The invitations stored in the last `seconds`, oldest first, a page of them: none when there is no
        more.

        Args:
            after: begin behind this one.
        """


class FederationKeyStore(Protocol):
    """The keys this server signs with when it speaks to other servers. Each operation is one round trip.

    At most one key signs, the *primary*; all that are active are published. Writers take turns, so that of
    several first keys stored at once exactly one is the primary.
    """

    async def store(
        self, kid: str, *, seed: bytes, public_key: bytes, promote: bool, unless_host: str | None = None
    ) -> StoredKey:
        """Store a new key, active. A kid that is there keeps its row, whatever `promote` says.

        Args:
            promote: let it sign, and no other; without any primary it does anyway.
            unless_host: store nothing when a key of this host, with its port unless that is 443, signs.
        """

    async def promote(self, kid: str) -> None:
        """Let a key sign and no other, also one that was deactivated.

        Raises:
            FederationKeyNotFound: there is none; nothing has changed.
        """

    async def deactivate(self, kid: str, *, even_primary: bool = False) -> DeactivateStatus:
        """Take a key out of use, `DONE`; the one that signs with `even_primary` alone, else `PRIMARY`.

        Raises:
            FederationKeyNotFound: there is none.
        """

    async def all(self) -> Sequence[FederationKey]:
        """Every key, oldest first, without its private half."""

    async def active(self) -> Sequence[ActiveKey]:
        """The keys in use, oldest first; with its private half the one that signs, if any does."""


class SpaceHomeStore(Protocol):
    """Which spaces have their home at another server. Each operation is one round trip."""

    async def get(self, space: UUID) -> str | None:
        """The home of a space; None: it is here.

        Raises:
            SpaceNotFound: there is no row of it.
        """

    async def set_remote(
        self, space: UUID, root_key: bytes, home: str, *, whatever_it_holds: bool = False
    ) -> HomeOutcome:
        """Give a shared space a home elsewhere; its row is made if it is missing.

        Nobody reaches any more what the row holds, so one that holds anything is refused.

        Args:
            root_key: 33 bytes; of a row that is there it must be the same.
            home: a domain or a URL.
        """

    async def set_local(self, space: UUID) -> None:
        """Let a space have its home here.

        Raises:
            SpaceNotFound: there is no row of it.
        """

    async def remote(self) -> Sequence[tuple[UUID, str]]:
        """All spaces whose home is elsewhere, by id."""

    async def any_remote(self) -> bool:
        """Whether there is one."""
