"""Folders on a real disk and a space in memory: the engine's steps without a network, and kills between."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import cbor2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from less_sync.client.folder.arrivals import Incoming, Mode, PullCount
from less_sync.client.folder.changes import Change
from less_sync.client.folder.crypto import RecordCipher, SealedFile
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.outbox import Ready
from less_sync.client.folder.plaintext import FileKind
from less_sync.client.folder.plan import Content
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Event, Kind
from less_sync.client.folder.state import FolderState
from less_sync.client.folder.walk import FileStat

SPACE = UUID("da29e793-3f05-51c3-9f72-63cc953f9c05")
KEY = FolderKey(bytes(range(32)))
CIPHER = RecordCipher(KEY, SPACE)


class Killed(BaseException):
    """The command was killed here."""


@dataclass
class Fuse:
    """Kills when it has burnt down; `None` never."""

    left: int | None = None

    def burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed


@dataclass
class Space:
    """What the server keeps, by its rules (docs/protocol.md 7.4 and 7.5)."""

    cursor: int = 0
    records: dict[UUID, tuple[int, SealedFile | None]] = field(default_factory=dict)

    def push(self, changes: list[tuple[UUID, SealedFile | None, int]]) -> int | None:
        """The new cursor, or None for a conflict: all or nothing."""
        for record, _, expected in changes:
            if self.records.get(record, (0, None))[0] != expected:
                return None
        self.cursor += 1
        self.records |= {record: (self.cursor, sealed) for record, sealed, _ in changes}
        return self.cursor

    def since(self, cursor: int) -> list[Incoming]:
        found = [Incoming(id, at, sealed) for id, (at, sealed) in self.records.items() if at > cursor]
        return sorted(found, key=lambda record: (record.cursor, record.record))

    def contents(self) -> list[bytes]:
        opened = [CIPHER.open(id, sealed) for id, (_, sealed) in self.records.items() if sealed is not None]
        return [file.content for file in opened if file.kind is FileKind.FILE]


class MortalTree(FileTree):
    """Dies before or after a change of the disk."""

    fuse: Fuse

    def place(self, spooled: str, path: str, *, expected: FileStat | None) -> FileStat:
        self.fuse.burn()
        placed = super().place(spooled, path, expected=expected)
        self.fuse.burn()
        return placed

    def delete(self, path: str, *, expected: FileStat) -> None:
        self.fuse.burn()
        super().delete(path, expected=expected)
        self.fuse.burn()

    def rename(self, path: str, new_path: str, *, expected: FileStat) -> FileStat:
        self.fuse.burn()
        renamed = super().rename(path, new_path, expected=expected)
        self.fuse.burn()
        return renamed


@dataclass
class Device:
    """One folder. Every `sync` is a command of its own: it opens the state and closes it."""

    root: Path
    space: Space
    cipher: RecordCipher = CIPHER
    second: int = 0
    accept_deletions: bool = False
    events: list[Event] = field(default_factory=list)

    def write(self, path: str, content: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)

    def delete(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and ".less-sync" not in path.parts
        }

    def unsynced(self) -> set[bytes]:
        """Contents that this folder never agreed on with the server."""
        with FolderState.open(self.root) as state:
            known = {row.path: row.base.digest for row in state.rows() if isinstance(row.base, Content)}
        return {
            content
            for path, content in self.files().items()
            if known.get(path) != hashlib.sha256(content).digest()
        }

    def sync(self, *, kill_after: int | None = None, pull: bool = True, push: bool = True) -> bool:
        """Pull and push; False when killed on the way, which leaves whatever the disk had by then."""
        fuse = Fuse(kill_after)
        with FolderState.open(self.root) as state:
            tree = MortalTree(self.root, state.directory)
            tree.fuse = fuse
            try:
                self._rounds(self._replica(state, tree), fuse, pull=pull, push=push)
            except Killed:
                return False
            finally:
                tree.close()
        return True

    def _replica(self, state: FolderState, tree: FileTree) -> Replica:
        self.second += 1
        number = int(self.root.name, 36) % 60
        at = datetime(2026, 11, 21, self.second // 60 % 24, self.second % 60, number, tzinfo=UTC)
        return Replica(
            self.root,
            state,
            tree,
            self.cipher,
            tell=self.events.append,
            now=lambda: at,
            accept_deletions=self.accept_deletions,
        )

    def _rounds(self, replica: Replica, fuse: Fuse, *, pull: bool, push: bool) -> None:
        replica.side.rescan()
        for _ in range(10):
            self._pull(replica, Mode.APPLY if pull else Mode.NOTE)
            replica.side.rescan()
            if not push or self._push(replica, fuse):
                return
        raise AssertionError("does not settle")

    def _pull(self, replica: Replica, mode: Mode) -> None:
        pending = replica.state.first_pending()
        since = replica.state.cursor if pending is None else min(replica.state.cursor, pending - 1)
        count = PullCount()
        replica.intake.start()
        replica.intake.receive(self.space.since(since), mode, count)
        replica.intake.finish(mode, count)
        replica.state.advance(self.space.cursor)

    def _push(self, replica: Replica, fuse: Fuse) -> bool:
        changes = iter(replica.outbox.changes())
        while batch := next_batch(replica, changes):
            replica.outbox.mark_sent(batch)
            fuse.burn()
            cursor = self.space.push([pushed(ready) for ready in batch])
            if cursor is None:
                return False
            fuse.burn()
            replica.outbox.acknowledge(batch, cursor)
            replica.side.flush()
            if cursor == replica.state.cursor + 1:
                replica.state.advance(cursor)
        replica.side.flush()
        return True

    def told(self, kind: Kind) -> list[tuple[str, str]]:
        return [(event.path, event.detail) for event in self.events if event.kind is kind]


def next_batch(replica: Replica, changes: Iterator[Change], *, changes_max: int = 2) -> list[Ready]:
    return replica.outbox.next_batch(
        changes, epoch=1, bytes_max=2**22, overhead_bytes=160, changes_max=changes_max
    )


def pushed(ready: Ready) -> tuple[UUID, SealedFile | None, int]:
    return ready.change.row.record, ready.sealed, ready.change.expected_cursor


def make_device(parent: Path, name: str, space: Space) -> Device:
    """A device with an empty folder; `name` is one character."""
    root = parent / name
    os.mkdir(root)
    return Device(root, space)


def sealed_value(record: UUID, value: object) -> SealedFile:
    """A record with any plaintext, as another release or another client of the space could write it."""

    def derived(info: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(KEY.secret)

    dek, iv = os.urandom(32), os.urandom(12)
    body = AESGCM(dek).encrypt(iv, cbor2.dumps(value), f"{SPACE}\x00{record}".encode())
    epoch = b"\x00\x00\x00\x01"
    kek = derived(b"less-sync/folder/v1/kek\x00" + epoch)
    return SealedFile(b"\x04" + iv + body, epoch + aes_key_wrap(kek, dek))


def former_release(space: Space, path: str, content: bytes | None) -> None:
    """What a release that knows format 1 alone pushes: a record without a version, or a bare tombstone."""
    record = CIPHER.record_id(path)
    value = {"v": 1, "path": path, "mtime_ns": 0, "content": content}
    sealed = None if content is None else sealed_value(record, value)
    assert space.push([(record, sealed, space.records.get(record, (0, None))[0])]) is not None
