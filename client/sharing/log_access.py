"""Reading the membership log from the server and appending to it, and what the server says of the space."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from less_sync.client.folder.errors import FolderError
from less_sync.client.folder.shared import SharedFile, SharedSpace, grant_of
from less_sync.client.folder.subscribing import subscribed
from less_sync.client.sharing.entries import EPOCH, PLACED, REMOVED, Entry, seal_entry
from less_sync.client.sharing.log import MemberLog, Reader
from less_sync.client.sharing.person import Person
from less_sync.sync.client import RequestFailed, SubscribeSpace, SyncClient
from less_sync.sync.protocol.codes import ErrorCode

APPEND_ATTEMPTS: Final = 8
CIDS_PER_ENTRY: Final = 400
"""With the largest proof beside them they can be signed."""

Make = Callable[[MemberLog, SharedSpace], Entry | None]
"""Makes the next entry of the log as it is, or None if there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A space as the server sees it: its epoch, and the one whose rewrap is pending."""

    epoch: int
    pending: int | None


async def standing(client: SyncClient, ucan: str) -> Standing:
    """Ask the server in which epoch the space of a UCAN is.

    Raises: as `subscribed`.
    """
    grant = grant_of(ucan)
    space = await subscribed(client, SubscribeSpace(id=grant.space, since=0, ucan=ucan), grant)
    return Standing(max(1, space.key_generation), space.rewrap_epoch)


async def read_log(
    client: SyncClient, file: SharedFile, person: Person, *, epoch: int
) -> tuple[MemberLog, SharedSpace]:
    """Read the log, and keep how far it went and the keys found in it of epochs that have begun.

    The key of an epoch that has not begun may yet be replaced by another, so it is not kept.

    Args:
        epoch: the space's, by the server.

    Raises:
        FolderError: the log is broken, or the folder's file is.
        SyncClientError: see `SyncClient.membership_list`.
    """
    log, shared, _ = await _read(client, file, person, epoch)
    return log, shared


async def _read(
    client: SyncClient, file: SharedFile, person: Person, epoch: int
) -> tuple[MemberLog, SharedSpace, Reader]:
    shared = _present(file.load())
    listed = await client.membership_list(str(shared.space), ucan=shared.ucan)
    reader = Reader(shared, person)
    log = reader.read(listed.entries, listed.metadata_version)
    log.epoch = epoch
    if _kept(shared, log) != shared:
        shared = file.update(lambda now: _kept(_present(now), log))
    return log, shared, reader


def _kept(shared: SharedSpace, log: MemberLog) -> SharedSpace:
    # What was kept of an epoch that has not begun came from an older release, and follows the log.
    known = {
        epoch: log.keys.get(epoch, key) if epoch > log.epoch else key for epoch, key in shared.keys.items()
    }
    begun = {epoch: key for epoch, key in log.keys.items() if epoch <= log.epoch}
    # Another command may have read further meanwhile.
    place = max(shared.log, log.place, key=lambda one: one.entries)
    return msgspec.structs.replace(shared, keys={**begun, **known}, log=place)


async def append_entry(
    client: SyncClient, file: SharedFile, person: Person, make: Make
) -> tuple[MemberLog, SharedSpace]:
    """Append what `make` makes of the log as it is, or nothing if that is None; return what it is then.

    The server takes an entry only on top of the log it was made of, so nothing comes between.

    Raises:
        AccessLost: the space does not let us in any more.
        FolderError: the entry would not count, others write all the time, or as `read_log`.
        SyncClientError: see `SyncClient.membership_append`.
    """
    for _ in range(APPEND_ATTEMPTS):
        ucan = _present(file.load()).ucan
        log, shared, reader = await _read(client, file, person, (await standing(client, ucan)).epoch)
        entry = make(log, shared)
        if entry is None:
            return log, shared
        entry = msgspec.structs.replace(entry, after=log.place.digest.hex())
        if not reader.counts(entry):
            raise FolderError(
                "the members would not believe this: by their log your token is revoked or has ended",
                "ask for another bundle; with the root key of the space, `less-sync space recover`",
            )
        payload = seal_entry(entry, person, _sealing(entry, shared, log))
        try:
            await client.membership_append(
                str(shared.space),
                expected_version=log.version,
                prev_hash=log.last_hash,
                entry_hash=hashlib.sha256(payload).digest(),
                payload=payload,
                ucan=shared.ucan,
            )
        except RequestFailed as error:
            if error.code != ErrorCode.CONFLICT:
                raise
            continue
        # The epoch is asked again: one that began meanwhile has a key that whoever we let in must be given.
        return await read_log(client, file, person, epoch=(await standing(client, ucan)).epoch)
    raise FolderError("the membership log changes faster than this command can follow", "run it again")


def _sealing(entry: Entry, shared: SharedSpace, log: MemberLog) -> dict[int, bytes]:
    """Keys that everybody has: not of an epoch that has not begun, nor of the one that an entry is about."""
    newest = entry.epoch - 1 if entry.kind == EPOCH else max(log.epoch, log.begun)
    return {epoch: key for epoch, key in shared.keys.items() if epoch <= newest} or shared.keys


def entry_by(person: Person, shared: SharedSpace, kind: str) -> Entry:
    """An entry of ours, to be filled in with `msgspec.structs.replace`; `append_entry` gives it its place."""
    return Entry(
        v=PLACED,
        kind=kind,
        space=shared.space,
        author=person.did,
        proof=shared.ucan,
        at=int(time.time()),
    )


async def note_removal(client: SyncClient, file: SharedFile, person: Person, cids: Sequence[str]) -> None:
    """Have the log say that these CIDs were revoked, unless it does.

    They must have been revoked at the server before: the epoch that it names then is one that nobody of
    them can go beyond.

    Raises: as `append_entry`.
    """
    for start in range(0, max(1, len(cids)), CIDS_PER_ENTRY):
        await append_entry(client, file, person, _removal_of(cids[start : start + CIDS_PER_ENTRY], person))


def _removal_of(cids: Sequence[str], person: Person) -> Make:
    def removal(log: MemberLog, shared: SharedSpace) -> Entry | None:
        return None if set(cids) <= log.revoked else removed_by(person, shared, log, cids)

    return removal


def removed_by(person: Person, shared: SharedSpace, log: MemberLog, cids: Sequence[str]) -> Entry:
    """A `removed` entry of ours. No epoch is believed to have begun of which nobody handed out the key."""
    epoch = min(log.epoch, max(log.epochs, default=1))
    return msgspec.structs.replace(entry_by(person, shared, REMOVED), cids=tuple(cids), epoch=epoch)


def _present(shared: SharedSpace | None) -> SharedSpace:
    if shared is None:
        raise FolderError("the folder was unbound from its space meanwhile")
    return shared
