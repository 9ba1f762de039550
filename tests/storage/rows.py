"""What tests read and write beside the stores, as another server on the database would.

`support.rows` has them of a pool: of a real database by SQL (`sql_rows.py`), of the simulation's model of it
in its tables (`model_rows.py`).
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from less_sync.storage import MemberEntry, Space

DEK: Final = (1).to_bytes(4, "big") + bytes(range(40))
"""A wrapped DEK of epoch 1."""


class StoredRecord(NamedTuple):
    id: UUID
    space: UUID
    blob: bytes | None
    dek: bytes | None
    cursor: int
    deleted: bool


class StoredFile(NamedTuple):
    space: UUID
    id: UUID
    record: UUID
    dek: bytes
    cursor: int


class Rows(Protocol):
    """The rows of one database. Readers given no spaces read those of all."""

    async def add_space(
        self,
        id: UUID,
        *,
        client: str = "client",
        root_key: bytes | None = None,
        epoch: int = 1,
        cursor: int = 0,
    ) -> None:
        """A space whose epoch is the lowest it accepts."""

    async def set_space(self, id: UUID, **columns: int | str | None) -> None:
        """Change columns of a space."""

    async def spaces(self, ids: Sequence[UUID] | None = None) -> list[Space]:
        """In order of id."""

    async def add_records(
        self, space: UUID, *, count: int, each: int, blob: bytes, first_cursor: int = 1
    ) -> None:
        """New records, of which `each` share a cursor; the space's own does not move."""

    async def records(self, spaces: Sequence[UUID] | None = None) -> list[StoredRecord]:
        """In order of cursor and id, tombstones too."""

    async def add_file(
        self,
        space: UUID,
        record: UUID,
        *,
        id: UUID | None = None,
        size: int = 1,
        cursor: int,
        deleted: bool = False,
    ) -> UUID:
        """A file, without the checks of an upload."""

    async def add_file_of_each_record(self) -> None:
        """Files of the ids, DEKs and cursors of all records."""

    async def upload(self, space: UUID, id: UUID, record: UUID, dek: bytes) -> int | None:
        """Do as an upload does: under the space's row, to a live record, once. Returns its cursor."""

    async def files(self, spaces: Sequence[UUID] | None = None) -> list[StoredFile]:
        """In order of cursor and id."""

    async def add_member(self, space: UUID, entry: MemberEntry) -> None:
        """An entry of the membership log; the space's cursor and version do not move."""

    async def members(self, spaces: Sequence[UUID] | None = None) -> list[tuple[UUID, MemberEntry]]:
        """In order of space and place."""

    async def revocations(self, spaces: Sequence[UUID] | None = None) -> list[tuple[UUID, str]]:
        """Space and CID, in order."""

    async def add_invitation(
        self, mailbox: str, *, expires_in_s: int = 3600, at: datetime | None = None
    ) -> UUID:
        """An invitation made at a time, or now."""

    async def expire_invitation(self, id: UUID) -> None:
        """Let it have expired a second ago, if it has not already."""

    async def invitations(self) -> list[tuple[bytes, str, bool]]:
        """Payload, mailbox and whether it has expired."""

    async def add_slot(self, action: str, actor: str) -> None:
        """A slot of a rate limit that is taken now."""

    async def age_slots(self, seconds: int) -> None:
        """Let every slot have been taken so much earlier."""

    async def add_old_and_live(self, *, old: int, live: int) -> None:
        """Invitations of which so many have expired, and slots of which so many are two minutes old."""

    async def slots(self) -> dict[str, int]:
        """How many are taken, by actor."""

    async def clear(self) -> None:
        """Delete what belongs to no space: invitations and slots."""

    def locked(self, space: UUID) -> AbstractAsyncContextManager[None]:
        """Hold the row of a space, as a transaction of another server would."""

    async def lock_waits(self) -> int:
        """How many sessions wait for a lock."""

    async def transactions_open(self) -> int:
        """How many sessions are in a transaction and have nothing to do."""
