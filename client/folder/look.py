"""What would be done, without doing it: `status`, `--dry-run` and `ls`.

They work on a copy of the folder's state in memory, so nothing of what they find out is kept.
"""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from less_sync.client.folder.blocking import in_thread
from less_sync.client.folder.crypto import FileKind, ForeignRecord, RecordCipher, Undecryptable
from less_sync.client.folder.errors import KeyMismatch
from less_sync.client.folder.exchange import KEY_HINT, Exchange
from less_sync.client.folder.intake import Mode
from less_sync.client.folder.local import NOT_DECRYPTABLE, NOT_PULLED
from less_sync.client.folder.report import Event, Kind

UPGRADE: Final = (
    "the next push makes this space one of format 2: update less-sync on every device first"
    " (docs/folder-format.md)"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of the space."""

    path: str
    size_bytes: int
    mtime_ns: int


async def would_push(exchange: Exchange, tell: Callable[[Event], None]) -> None:
    """Tell what `push` would push.

    Raises: as `Exchange.pull`.
    """
    await exchange.subscribe()
    await in_thread(exchange.replica.side.rescan)
    await exchange.pull(Mode.NOTE)
    await in_thread(_tell_changes, exchange, tell)


async def would_pull(exchange: Exchange) -> None:
    """Have the replica tell what `pull` would do.

    Raises: as `Exchange.pull`.
    """
    await exchange.subscribe()
    await in_thread(exchange.replica.side.rescan, tell=False)
    await exchange.pull(Mode.LOOK)


async def would_sync(exchange: Exchange, tell: Callable[[Event], None]) -> None:
    """Tell what `pull` and then `push` would do, and what stands in the way of either.

    Raises: as `Exchange.pull`.
    """
    await exchange.subscribe()
    await in_thread(exchange.replica.side.rescan)
    await exchange.pull(Mode.LOOK)
    await in_thread(_tell_changes, exchange, tell)
    if not exchange.read_only and not exchange.replica.state.proves_deletions:
        tell(Event(Kind.NOTE, detail=UPGRADE))


def _tell_changes(exchange: Exchange, tell: Callable[[Event], None]) -> None:
    for change in exchange.replica.outbox.changes():
        if change.content is None:
            tell(Event(Kind.DELETED_THERE, change.path))
        else:
            tell(Event(Kind.PUSHED, change.path, size_bytes=len(change.content)))


def without_what_is_to_pull(tell: Callable[[Event], None]) -> Callable[[Event], None]:
    """Leave out that a file is not pushed because it is to be pulled: `status` has told so already."""

    def telling(event: Event) -> None:
        if (event.kind, event.detail) != (Kind.SKIPPED, NOT_PULLED):
            tell(event)

    return telling


async def list_files(exchange: Exchange, cipher: RecordCipher, tell: Callable[[Event], None]) -> list[Listed]:
    """The files of the space by path, as the server has them. What cannot be read is told.

    Raises:
        KeyMismatch: nothing can be read with this key.
        SyncClientError, FolderError: as `Exchange.pull`.
    """
    await exchange.subscribe()
    found: list[Listed] = []
    closed: list[str] = []
    async with aclosing(exchange.records()) as records:
        async for incoming in records:
            if incoming.sealed is None:
                continue
            try:
                file = cipher.open(incoming.record, incoming.sealed)
            except Undecryptable:
                closed.append(f"record {incoming.record}")
            except ForeignRecord:
                continue
            else:
                if file.kind is FileKind.FILE:
                    found.append(Listed(file.path, len(file.content), file.mtime_ns))
    if closed and not found:
        raise KeyMismatch(f"the key file decrypts none of {len(closed)} records in the space", KEY_HINT)
    for name in closed:
        tell(Event(Kind.UNDECRYPTABLE, name, NOT_DECRYPTABLE))
    return sorted(found, key=lambda one: one.path)
