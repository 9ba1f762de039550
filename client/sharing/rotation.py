"""`space rotate`: give a space a new key, so that who was removed cannot read what is written from now on.

The server's state and the log say how far a rotation has come, so every step can be repeated and a crash
anywhere is made good by running it again; the folder only remembers that one is under way, and for whom:

    revoke their UCANs ─▶ `removed` entries ─▶ `epoch` entry n+1, with the key for each who stays
    ─▶ epoch.begin n+1, older keys refused ─▶ rewrap every DEK (`rewrapping`) ─▶ epoch.complete

A rotation that somebody else left half done is completed first. If its key went to, or came from, somebody
who is to be removed, another one follows. A key for an epoch that has not begun, by somebody who is out, is
voided and replaced; one for an epoch that has begun, which we were not given, is passed through.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from less_sync.auth import AuthError, Permission, decode_did_key, ucan_cid
from less_sync.client.folder.errors import FolderError, KeyMismatch, UsageProblem
from less_sync.client.folder.shared import Grant, Rotation, SharedFile, SharedSpace
from less_sync.client.sharing.bundle import SIGNED_BYTES_MAX
from less_sync.client.sharing.entries import EPOCH, PLACED, Entry, key_check, sealed_keys
from less_sync.client.sharing.log import MemberLog
from less_sync.client.sharing.log_access import (
    Standing,
    append_entry,
    entry_by,
    note_removal,
    read_log,
    removed_by,
    standing,
)
from less_sync.client.sharing.person import Person
from less_sync.client.sharing.rewrapping import Rewrapper
from less_sync.client.sharing.session import Options, Output, bound, connected, own
from less_sync.sync.client import RequestFailed, SyncClient
from less_sync.sync.protocol.codes import ErrorCode

ROUNDS_MAX: Final = 12
KEY_ENTRIES_MAX: Final = 100
"""Of one epoch, each for as many people as can be signed at once: 60 to 190."""

_KEY_BYTES: Final = 32
_SEALED_KEY_BYTES: Final = 500
"""In an entry, with the DID. It takes 477, which leaves enough for what else an entry has."""


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
            FilesLeft: the new key is in use; what is left to do takes a token with the scope `files`.
            SyncClientError: the server refuses, or is gone: run it again.
        """
        shared = self._begun(tuple(remove), (await self._where()).epoch)
        assert shared.rotation is not None
        gone = frozenset(shared.rotation.remove)
        for did in shared.rotation.remove:
            await self._remove(did)
        for _ in range(ROUNDS_MAX):
            now = await self._where()
            log, shared = await read_log(self.client, self.file, self.person, epoch=now.epoch)
            if now.pending is not None:
                await self._complete(now.pending, log, shared, gone)
            elif now.epoch > self._started_at(shared) and not _is_foul(log, now.epoch, gone):
                self.step("done")
                self.file.update(_without_rotation)
                self._tell(now.epoch)
                return
            else:
                if not _is_foul(log, now.epoch, gone):
                    _check_key(now.epoch, log, shared)
                await self._enter(now.epoch + 1, gone)
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

    async def _where(self) -> Standing:
        return await standing(self.client, self._shared().ucan)

    async def _remove(self, did: str) -> None:
        """Revoke every token of a member that is known, then say so in the log."""
        now = await self._where()
        log, shared = await read_log(self.client, self.file, self.person, epoch=now.epoch)
        cids = set(log.members[did].cids if did in log.members else ()) | log.shown.get(did, set())
        cids |= {note.cid for note in shared.delegated if note.did == did}
        for cid in sorted(cids):
            self.step("revoke")
            await self.client.membership_revoke(str(shared.space), cid, ucan=shared.ucan)
        self.file.update(lambda now: _marked_revoked(now, did))
        self.step("removed entry")
        await note_removal(self.client, self.file, self.person, sorted(cids))
        text = f"removed: {did}, {len(cids)} {'token' if len(cids) == 1 else 'tokens'} revoked"
        self.output.tell("removed", text, did=did, tokens=len(cids))

    async def _enter(self, epoch: int, gone: frozenset[str]) -> None:
        """Have the next epoch's key handed out, by us unless somebody has whose word counts, and begin it."""
        self.step("epoch entry")
        log, shared = await self._handed_out(epoch, gone)
        if not _is_foul(log, epoch, gone):
            _check_key(epoch, log, shared)
        self.step("begin")
        # If somebody else was faster, theirs is completed in the next round.
        await self.client.epoch_begin(str(shared.space), epoch, set_min_key_generation=True, ucan=shared.ucan)

    async def _handed_out(self, epoch: int, gone: frozenset[str]) -> tuple[MemberLog, SharedSpace]:
        """See to it that the log has a key for an epoch, for everybody who is in by now."""
        voided: set[str] = set()
        more = True

        def next_entry(log: MemberLog, shared: SharedSpace) -> Entry | None:
            nonlocal more
            more = False
            former, now_s = log.epochs.get(epoch), time.time()
            if former is not None and former.proof in voided:
                return None  # it stands nonetheless, and will be passed through
            if former is not None and epoch > log.epoch and log.is_spent(former, now_s):
                voided.add(former.proof)
                more = True
                return removed_by(self.person, shared, log, [ucan_cid(former.proof)])
            entry = self._key_entry(epoch, shared, log, _recipients(log, shared, now_s) - gone)
            more = entry is not None and len(entry.keys) == _room(shared)
            return entry

        for _ in range(KEY_ENTRIES_MAX):
            log, shared = await append_entry(self.client, self.file, self.person, next_entry)
            if not more:
                return log, shared
        raise FolderError("the space has too many members for one go", "run it again")

    def _key_entry(self, epoch: int, shared: SharedSpace, log: MemberLog, dids: set[str]) -> Entry | None:
        """The key of an epoch for these people: a new one, or that of the log for whom it left out."""
        former = log.epochs.get(epoch)
        key = secrets.token_bytes(_KEY_BYTES) if former is None else log.keys.get(epoch)
        if key is None or (former is not None and former.v < PLACED):
            return None
        had = {} if former is None else former.keys
        # We go first: who does not have the key cannot hand it on.
        own = [self.person.did] if self.person.did not in had else []
        others = sorted(did for did in dids - had.keys() - {*own} if _is_p256(did))
        keys = sealed_keys(shared.space, epoch, key, [*own, *others][: _room(shared)])
        entry = entry_by(self.person, shared, EPOCH)
        return msgspec.structs.replace(entry, epoch=epoch, keys=keys, check=key_check(key)) if keys else None

    async def _complete(self, epoch: int, log: MemberLog, shared: SharedSpace, gone: frozenset[str]) -> None:
        """Rewrap what is left of a pending epoch and close it; in vain if somebody else was faster.

        Nothing is rewrapped for an epoch that is followed by another at once.
        """
        foul = _is_foul(log, epoch, gone)
        if not foul:
            _check_key(epoch, log, shared)
            log, shared = await self._handed_out(epoch, gone)
        try:
            if not foul:
                await Rewrapper(self.client, shared, epoch, self.step, self.undecryptable).run()
            self.step("complete")
            await self.client.epoch_complete(str(shared.space), epoch, ucan=shared.ucan)
        except RequestFailed as error:
            # Something was written since it was listed, a file was deleted, or the epoch is over: look again.
            if error.hosted_elsewhere or error.code not in (ErrorCode.CONFLICT, ErrorCode.BAD_REQUEST):
                raise

    def _shared(self) -> SharedSpace:
        shared = self.file.load()
        if shared is None:
            raise FolderError("the folder was unbound from its space meanwhile")
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


def _is_foul(log: MemberLog, epoch: int, gone: frozenset[str]) -> bool:
    """Whether an epoch must be followed by another: its key went to, or came from, somebody who is out.

    One without a key that counts could have been begun by whoever is to be removed.
    """
    entry, out = log.epochs.get(epoch), gone | log.gone
    if entry is None:
        return bool(gone)
    return entry.author in out or bool(out & entry.keys.keys())


def _check_key(epoch: int, log: MemberLog, shared: SharedSpace) -> None:
    if epoch in log.keys or epoch in shared.keys:
        return
    maker = log.epochs[epoch].author if epoch in log.epochs else "whoever began it"
    raise KeyMismatch(
        f"the key of epoch {epoch} was not given to you by {maker}",
        "--remove them, or let another administrator rotate and send you another bundle",
    )


def _recipients(log: MemberLog, shared: SharedSpace, now_s: float) -> set[str]:
    """Who is to have the next key: members by the log, and by tokens made in this folder."""
    members = {did for did, member in log.members.items() if member.expires_at >= now_s}
    noted = (one for one in shared.delegated if not one.revoked and one.cid not in log.revoked)
    return members | {one.did for one in noted if one.expires_at >= now_s}


def _room(shared: SharedSpace) -> int:
    """How many keys fit into an entry of ours beside the proof; at least 60."""
    return (SIGNED_BYTES_MAX - len(shared.ucan)) // _SEALED_KEY_BYTES


def _is_p256(did: str) -> bool:
    """Whether a key can be sealed for it: any text could be let in."""
    try:
        decode_did_key(did)
    except AuthError:
        return False
    return True


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
        FolderError: see `connected` and `Rotator.run`; where only the home of the space rotates, nothing was
            changed.
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
        try:
            await Rotator(client, file, person, grant, output).run(remove)
        except RequestFailed as error:
            if error.hosted_elsewhere:
                file.update(lambda now: msgspec.structs.replace(now or shared, rotation=shared.rotation))
            raise
