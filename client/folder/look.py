"""What would be done, without doing it: `status`, `--dry-run` and `ls`.

They work on a copy of the folder's state in memory, so nothing of what they find out is kept.
"""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from less_sync.client.folder.arrivals import Mode
from less_sync.client.folder.blocking import in_thread
from less_sync.client.folder.crypto import RecordCipher, Undecryptable
from less_sync.client.folder.errors import KeyMismatch
from less_sync.client.folder.exchange import KEY_HINT, Exchange
from less_sync.client.folder.ignore import IGNORE_FILE
from less_sync.client.folder.job import Binding
from less_sync.client.folder.local import NOT_DECRYPTABLE, NOT_PULLED
from less_sync.client.folder.paths import shown
from less_sync.client.folder.plaintext import FileKind, ForeignRecord
from less_sync.client.folder.report import Amount, Event, Kind, Reporter
from less_sync.client.times import when

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
    await exchange.fetch_keys()
    await in_thread(exchange.replica.side.rescan)
    await exchange.pull(Mode.NOTE)
    await exchange.learn_of_storage()
    await in_thread(_tell_changes, exchange, tell)


async def would_pull(exchange: Exchange) -> None:
    """Have the replica tell what `pull` would do.

    Raises: as `Exchange.pull`.
    """
    await exchange.fetch_keys()
    await in_thread(exchange.replica.side.rescan, tell=False)
    await exchange.pull(Mode.LOOK)


async def would_sync(exchange: Exchange, tell: Callable[[Event], None]) -> None:
    """Tell what `pull` and then `push` would do, and what stands in the way of either.

    Raises: as `Exchange.pull`.
    """
    await in_thread(exchange.replica.side.rescan)
    await exchange.pull(Mode.LOOK)
    await exchange.learn_of_storage()
    await in_thread(_tell_changes, exchange, tell)
    if not exchange.read_only and not exchange.replica.state.proves_deletions:
        tell(Event(Kind.NOTE, detail=UPGRADE))


def _tell_changes(exchange: Exchange, tell: Callable[[Event], None]) -> None:
    for change in exchange.replica.outbox.changes():
        kind = Kind.DELETED_THERE if change.stat is None else Kind.PUSHED
        tell(Event(kind, change.path, size_bytes=change.size_bytes))


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
    await exchange.fetch_keys()
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
                if file.kind is not FileKind.DELETED:
                    found.append(Listed(file.path, file.size_bytes, file.mtime_ns))
    if closed and not found:
        raise KeyMismatch(f"the key file decrypts none of {len(closed)} records in the space", KEY_HINT)
    for name in closed:
        tell(Event(Kind.UNDECRYPTABLE, name, NOT_DECRYPTABLE))
    return sorted(found, key=lambda one: one.path)


async def tell_status(server: str, binding: Binding, exchange: Exchange, reporter: Reporter) -> None:
    """Tell where a folder belongs, and what `pull` and `push` would do.

    Raises: as `would_sync`.
    """
    await exchange.subscribe()
    kind = "personal" if binding.grant is None else f"shared, {binding.grant.permission.name.lower()}"
    fields = {
        "server": server,
        "space": str(binding.space),
        "kind": kind,
        "epoch": exchange.epoch,
        "person": binding.person,
    }
    text = (
        f"server {server}\nspace  {binding.space} ({kind}), epoch {exchange.epoch}\nperson {binding.person}"
    )
    reporter.show({"event": "status", **fields}, text)
    await would_sync(exchange, reporter.tell)
    ignored = len(exchange.replica.side.scan.ignored)
    if ignored:
        reporter.show({"event": "ignored", "count": ignored}, f"{ignored:,} ignored by {IGNORE_FILE}")


async def tell_files(binding: Binding, exchange: Exchange, reporter: Reporter) -> None:
    """Tell the files of a space.

    Raises: as `list_files`.
    """
    files = await list_files(exchange, binding.cipher, reporter.tell)
    for one in files:
        at_s = one.mtime_ns // 1_000_000_000
        fields = {"path": one.path, "bytes": one.size_bytes, "modified_at": at_s}
        text = f"{one.size_bytes:>13,}  {when(at_s)}  {shown(one.path)}"
        reporter.show({"event": "file", **fields}, text)
    reporter.summary.listed = Amount(len(files), sum(one.size_bytes for one in files))
