"""`space rotate`: give a space a new key, so that who was removed cannot read what is written from now on.

The server's state and the log say how far a rotation has come, so every step can be repeated and a crash
anywhere is made good by running it again; the folder only remembers that one is under way, and for whom:

    revoke their UCANs ─▶ `removed` entries ─▶ `epoch` entry n+1, with the key for each who stays
    ─▶ epoch.begin n+1, older keys refused ─▶ rewrap every DEK ─▶ epoch.complete

A rotation that somebody else left half done is completed first. If its key went to, or came from, somebody
who is to be removed, another one follows.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from less_sync.auth import AuthError, Permission, decode_did_key
from less_sync.client.folder.blocking import in_thread
from less_sync.client.folder.crypto import SharedCipher, Undecryptable
from less_sync.client.folder.errors import AccessLost, FolderError, KeyMismatch, UsageProblem
from less_sync.client.folder.shared import Grant, Rotation, SharedFile, SharedSpace
from less_sync.client.sharing.log import (
    EPOCH,
    Entry,
    MemberLog,
    append_entry,
    entry_by,
    read_log,
    removal_of,
    sealed_keys,
)
from less_sync.client.sharing.person import Person
from less_sync.client.sharing.session import Options, Output, bound, connected, own
from less_sync.sync.client import RequestFailed, SubscribeSpace, SyncClient
from less_sync.sync.client.sharing import DEKS_PER_REWRAP
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import EpochConflict, RewrappedDek

ROUNDS_MAX: Final = 8

_KEY_BYTES: Final = 32


@dataclass(slots=True)
class Rotator:
    """One rotation, from wherever it stands to its end. `step` is told before each change of the server."""

    client: SyncClient
    file: SharedFile
    person: Person
    grant: Grant
    output: Output
    step: Callable[[str], None] = lambda name: None
    undecryptable: set[str] = field(default_factory=set)

    async def run(self, remove: Iterable[str]) -> None:
        """Rotate, and remove members on the way.

        Raises:
            FolderError: the folder is not an administrator's, or others rotate all the time.
            SyncClientError: the server refuses, or is gone: run it again.
        """
        shared = self._begun(tuple(remove), (await self._where())[0])
        assert shared.rotation is not None
        gone = frozenset(shared.rotation.remove)
        for did in shared.rotation.remove:
            await self._remove(did)
        for _ in range(ROUNDS_MAX):
            epoch, pending = await self._where()
            log, shared = await read_log(self.client, self.file, self.person)
            if pending is not None:
                await self._complete(pending, shared)
            elif epoch > self._started_at(shared) and not _touches(log.epochs.get(epoch), gone | log.gone):
                self.step("done")
                self.file.update(_without_rotation)
                self._tell(epoch)
                return
            else:
                await self._enter(epoch + 1, gone)
        raise FolderError("others rotate the keys of this space at the same time", "run it again")

    def _begun(self, remove: tuple[str, ...], epoch: int) -> SharedSpace:
        """Note what is to be done, beside what an earlier run has left undone."""

        def note(now: SharedSpace | None) -> SharedSpace:
            assert now is not None
            former = now.rotation or Rotation(from_epoch=epoch)
            dids = tuple(dict.fromkeys((*former.remove, *remove)))
            return msgspec.structs.replace(now, rotation=msgspec.structs.replace(former, remove=dids))

        return self.file.update(note)

    @staticmethod
    def _started_at(shared: SharedSpace) -> int:
        return 0 if shared.rotation is None else shared.rotation.from_epoch

    async def _where(self) -> tuple[int, int | None]:
        """The space's epoch, and the one whose rewrap is pending."""
        shared = self._shared()
        space = SubscribeSpace(id=str(shared.space), since=0, ucan=shared.ucan)
        result = await self.client.subscribe([space])
        for refused in result.errors:
            if refused.error == ErrorCode.FORBIDDEN:
                raise self.grant.lost()
            raise RequestFailed(refused.error, "the server does not show the space")
        return max(1, result.spaces[0].key_generation), result.spaces[0].rewrap_epoch

    async def _remove(self, did: str) -> None:
        """Revoke every token of a member that is known, then say so in the log."""
        log, shared = await read_log(self.client, self.file, self.person)
        cids = set(log.members[did].cids if did in log.members else ())
        cids |= {note.cid for note in shared.delegated if note.did == did}
        for cid in sorted(cids):
            self.step("revoke")
            await self.client.membership_revoke(str(shared.space), cid, ucan=shared.ucan)
        self.file.update(lambda now: _marked_revoked(now, did))
        self.step("removed entry")
        removal = removal_of(sorted(cids), self.person)
        await append_entry(self.client, self.file, self.person, removal)
        text = f"removed: {did}, {len(cids)} {'token' if len(cids) == 1 else 'tokens'} revoked"
        self.output.tell("removed", text, did=did, tokens=len(cids))

    async def _enter(self, epoch: int, gone: frozenset[str]) -> None:
        """Hand out a key for the next epoch, unless somebody has, and enter it."""

        def handing_out(log: MemberLog, shared: SharedSpace) -> Entry | None:
            if epoch in log.epochs:
                return None
            dids = _recipients(log, shared, time.time()) | {self.person.did}
            dids -= gone
            keys = sealed_keys(shared.space, epoch, secrets.token_bytes(_KEY_BYTES), sorted(dids))
            return msgspec.structs.replace(entry_by(self.person, shared, EPOCH), epoch=epoch, keys=keys)

        self.step("epoch entry")
        _, shared = await append_entry(self.client, self.file, self.person, handing_out)
        self._check_key(epoch, shared)
        self.step("begin")
        begun = await self.client.epoch_begin(
            str(shared.space), epoch, set_min_key_generation=True, ucan=shared.ucan
        )
        if not isinstance(begun, EpochConflict):
            await self._complete(epoch, shared)

    async def _complete(self, epoch: int, shared: SharedSpace) -> None:
        """Rewrap what is left of a pending epoch and close it; in vain if somebody else was faster."""
        self._check_key(epoch, shared)
        cipher = SharedCipher(shared.epoch_keys, shared.space)
        try:
            await self._rewrap(cipher, epoch, shared, files=False)
            await self._rewrap_files(cipher, epoch, shared)
            self.step("complete")
            await self.client.epoch_complete(str(shared.space), epoch, ucan=shared.ucan)
        except RequestFailed as error:
            # A record was replaced since it was listed, or the epoch is another one now: look again.
            if error.code != ErrorCode.CONFLICT:
                raise

    async def _rewrap_files(self, cipher: SharedCipher, epoch: int, shared: SharedSpace) -> None:
        try:
            await self._rewrap(cipher, epoch, shared, files=True)
        except RequestFailed as error:
            if error.code != ErrorCode.FORBIDDEN or "scope" not in error.message:
                raise
            self.output.hint("keys of files were left as they are: the token is not for files")

    async def _rewrap(self, cipher: SharedCipher, epoch: int, shared: SharedSpace, *, files: bool) -> None:
        space, ucan = str(shared.space), shared.ucan
        listed = (
            [(one.id, one.dek) async for one in self.client.file_deks(space, ucan=ucan)]
            if files
            else [(one.id, one.dek) async for one in self.client.deks(space, ucan=ucan)]
        )
        stale = [one for one in listed if int.from_bytes(one[1][:4], "big") != epoch]
        send = self.client.file_deks_rewrap if files else self.client.deks_rewrap
        for start in range(0, len(stale), DEKS_PER_REWRAP):
            batch = stale[start : start + DEKS_PER_REWRAP]
            fresh = await in_thread(self._rewrapped, cipher, epoch, batch)
            if fresh:
                self.step("rewrap")
                await send(space, fresh, ucan=ucan)

    def _rewrapped(
        self, cipher: SharedCipher, epoch: int, batch: Iterable[tuple[str, bytes]]
    ) -> list[RewrappedDek]:
        fresh = []
        for entry_id, dek in batch:
            try:
                fresh.append(RewrappedDek(entry_id, cipher.wrap(cipher.unwrap(dek), epoch=epoch)))
            except Undecryptable:
                self.undecryptable.add(entry_id)
        return fresh

    def _check_key(self, epoch: int, shared: SharedSpace) -> None:
        if epoch not in shared.keys:
            raise KeyMismatch(
                f"the key of epoch {epoch} was not given to you by who began it",
                "another administrator must complete the rotation and invite you again",
            )

    def _shared(self) -> SharedSpace:
        shared = self.file.load()
        if shared is None:
            raise AccessLost("the folder was unbound from its space meanwhile")
        return shared

    def _tell(self, epoch: int) -> None:
        if self.undecryptable:
            number = len(self.undecryptable)
            self.output.tell(
                "not_rewrapped",
                f"{number} keys could not be rewrapped: nobody here can open them",
                count=number,
            )
        self.output.tell("rotated", f"the space is in epoch {epoch} with a new key", epoch=epoch)


def _touches(entry: Entry | None, dids: frozenset[str]) -> bool:
    """Whether one of these people knows the key of an epoch."""
    return entry is not None and (entry.author in dids or bool(dids & entry.keys.keys()))


def _recipients(log: MemberLog, shared: SharedSpace, now_s: float) -> set[str]:
    """Who is to have the next key: members by the log, and by tokens made in this folder."""
    members = {did for did, member in log.members.items() if member.expires_at >= now_s}
    noted = (one for one in shared.delegated if not one.revoked and one.cid not in log.revoked)
    return members | {one.did for one in noted if one.expires_at >= now_s}


def _without_rotation(now: SharedSpace | None) -> SharedSpace:
    assert now is not None
    return msgspec.structs.replace(now, rotation=None)


def _marked_revoked(now: SharedSpace | None, did: str) -> SharedSpace:
    assert now is not None
    notes = tuple(
        msgspec.structs.replace(note, revoked=True) if note.did == did else note for note in now.delegated
    )
    return msgspec.structs.replace(now, delegated=notes)


async def rotate_folder(options: Options, folder: Path, remove: Sequence[str], output: Output) -> None:
    """Rotate the keys of the folder's space, and remove members.

    Raises:
        UsageProblem: not an administrator, or somebody is to be removed who cannot be.
        FolderError: see `connected` and `Rotator.run`.
    """
    person = options.person()
    file, shared, grant = bound(folder)
    own(grant, person)
    if not grant.permission.covers(Permission.ADMIN):
        raise UsageProblem("only who administers the space can rotate its keys")
    for did in remove:
        if did == person.did:
            raise UsageProblem("you cannot remove yourself: who would hand out the new key?")
        try:
            decode_did_key(did)
        except AuthError as error:
            raise UsageProblem("--remove is not the did:key of a P-256 key") from error
    if shared.rotation is not None:
        output.hint("going on with a rotation that was interrupted")
    async with connected(options, person, grant=grant) as client:
        await Rotator(client, file, person, grant, output).run(remove)
