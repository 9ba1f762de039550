"""What the rest of the server needs of storage, one Protocol per domain."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from storage.errors import StorageError
from storage.types import PullMeta, PullRow, Push, PushOutcome, Space, SpacesRead

PushDone = Callable[[PushOutcome | StorageError], None]
"""Called once per submitted push, on the event loop, in cursor order within a space; must not raise."""


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

    async def create_space(self, id: UUID, client_id: str, root_public_key: bytes | None) -> Space:
        """Insert a space with the database's defaults.

        Raises:
            SpaceExists: the id is taken.
        """

    async def get_or_create_space(self, id: UUID, client_id: str) -> Space:
        """Return the space, created without root key if it was missing. One round trip."""


class PushStore(Protocol):
    def submit(self, push: Push, done: PushDone) -> None:
        """Queue one push; `done` is called with its outcome. A push once queued is written even if
        its author is gone."""

    @property
    def congested(self) -> bool:
        """True while the queue is over its bounds: readers should pause."""

    async def uncongested(self) -> None:
        """Return once the queue is back within its bounds."""


class Pull(Protocol):
    """One space's entries as of one snapshot."""

    meta: PullMeta

    def batches(self) -> AsyncIterator[Sequence[PullRow]]:
        """Yield the entries in order of (cursor, kind, id); the next batch is read ahead while one is used.

        A consumer that is still at it after some seconds loses the snapshot and reads on by pages (storage
        chapter 7.5): entries overwritten meanwhile are then missing here and come with the next pull, from
        `meta.cursor`. To be called once.

        Raises:
            Unavailable: the database was lost on the way.
            StorageError: it failed.
        """


class PullStore(Protocol):
    def pull(
        self, space: UUID, since: int, *, cursor_seen: int = 0
    ) -> AbstractAsyncContextManager[Pull | None]:
        """Open a pull of everything above `since`; None when the space is missing.

        A pull that fits one page holds nothing once it is open. A longer one holds one database connection of
        the share that pulls may use until it is read, left, or some seconds old.

        Args:
            since: any 64-bit value; 0 leaves tombstones out; beyond the cursor it is taken for 0.
            cursor_seen: the space's cursor if the caller has just read it: spares a page that will not do.

        Raises:
            Unavailable: no connection in time, or the database was lost.
            StorageError: it failed.
        """
