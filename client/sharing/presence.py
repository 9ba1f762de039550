"""`space presence` and `space send`: who is there now, and one message to them. Nothing of it is stored.

What is shown is sealed for the members: 01 | epoch u32 big-endian | IV 12 | AES-256-GCM of a compact JWS
(`typ` less-sync-presence) by the sender's DID, under HKDF-SHA256 of the epoch's key, info
`less-sync/space/v1/presence`, associated data = space id. The JWS holds {from, at, text}; what is older than
two minutes is not shown, so that nobody can play it again.
"""

import asyncio
import os
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from less_sync.client.folder.crypto import Random
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.shared import Grant, SharedFile, SharedSpace
from less_sync.client.folder.subscribing import subscribed
from less_sync.client.sharing.bundle import sign, unverified, verified
from less_sync.client.sharing.log_access import read_log
from less_sync.client.sharing.person import Person
from less_sync.client.sharing.session import Options, Output, bound, connected, own
from less_sync.sync.client import (
    EventNotice,
    MembershipNotice,
    Notice,
    PresenceLeaveNotice,
    PresenceNotice,
    ResubscribeNotice,
    ResyncNeeded,
    RevokedNotice,
    SubscribeSpace,
    SubscriptionLost,
    SyncClient,
)
from less_sync.sync.protocol.messages import SubscribedSpace

PRESENCE_BYTES_MAX: Final = 1024
EVENT_BYTES_MAX: Final = 4096
HEARTBEAT_S: Final = 25.0
AGE_S_MAX: Final = 120
PEERS_MAX: Final = 1000

_TYP: Final = "less-sync-presence"
_INFO: Final = b"less-sync/space/v1/presence"
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BI")
_IV_BYTES: Final = 12


class Shown(msgspec.Struct, frozen=True):
    """What somebody shows: `at` in Unix seconds by their clock."""

    sender: str = msgspec.field(name="from")
    at: int
    text: str

    def __repr__(self) -> str:
        return "Shown()"


def seal_shown(
    shown: Shown, person: Person, space: UUID, keys: Mapping[int, bytes], *, random: Random = os.urandom
) -> bytes:
    """Sign and encrypt under the newest key."""
    epoch, iv = max(keys), random(_IV_BYTES)
    signed = sign(msgspec.json.encode(shown), person.key, kind=_TYP).encode()
    sealed = AESGCM(_key(keys[epoch])).encrypt(iv, signed, str(space).encode())
    return _HEAD.pack(_VERSION, epoch) + iv + sealed


def open_shown(data: bytes, space: UUID, keys: Mapping[int, bytes], *, now_s: float) -> Shown | None:
    """Decrypt and verify; None for what is not by a member, or too old."""
    body = _HEAD.size + _IV_BYTES
    if len(data) <= body:
        return None
    version, epoch = _HEAD.unpack_from(data)
    if version != _VERSION or epoch not in keys:
        return None
    try:
        cipher = AESGCM(_key(keys[epoch]))
        signed = cipher.decrypt(data[_HEAD.size : body], data[body:], str(space).encode()).decode("ascii")
        shown = msgspec.json.decode(unverified(signed) or b"", type=Shown)
    except (InvalidTag, UnicodeError, msgspec.MsgspecError):
        return None
    fresh = abs(now_s - shown.at) <= AGE_S_MAX
    return shown if fresh and verified(signed, shown.sender, kind=_TYP) is not None else None


def _key(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(key)


@dataclass(slots=True)
class _Room:
    """A space somebody is present in."""

    client: SyncClient
    person: Person
    file: SharedFile
    shared: SharedSpace
    grant: Grant
    output: Output
    names: dict[str, str] = field(default_factory=dict)
    """Who is behind a pseudonym, as far as was shown."""
    to_come: dict[int, bytes] = field(default_factory=dict)
    """The key of an epoch that is about to begin: others may be there already."""
    epoch: int = 1

    async def enter(self) -> SubscribedSpace:
        space = SubscribeSpace(id=str(self.shared.space), since=0, ucan=self.shared.ucan, presence=True)
        entered = await subscribed(self.client, space, self.grant)
        self.epoch = max(1, entered.key_generation)
        if self.epoch not in self.shared.keys:
            await self.learn()
        return entered

    async def learn(self) -> None:
        log, self.shared = await read_log(self.client, self.file, self.person, epoch=self.epoch)
        self.to_come = log.keys

    def sealed(self, text: str, bytes_max: int) -> bytes:
        shown = Shown(self.person.did, int(time.time()), text)
        data = seal_shown(shown, self.person, self.shared.space, self.shared.keys)
        if len(data) > bytes_max:
            raise UsageProblem(f"the text is too long by {len(data) - bytes_max} bytes")
        return data

    def tell(self, event: str, verb: str, peer: str, data: bytes) -> None:
        keys = {**self.to_come, **self.shared.keys}
        shown = open_shown(data, self.shared.space, keys, now_s=time.time())
        who, text = (shown.sender, shown.text) if shown is not None else ("somebody unknown", "")
        if len(self.names) < PEERS_MAX:
            self.names[peer] = who
        line = f"{verb}: {who}{f': {_printable(text)}' if text else ''}"
        self.output.tell(event, line, peer=peer, text=text, **({"did": who} if shown else {}))

    async def take(self, notice: Notice) -> None:
        match notice:
            case PresenceNotice():
                self.tell("presence", "here", notice.peer, notice.data)
            case PresenceLeaveNotice():
                who = self.names.pop(notice.peer, "somebody unknown")
                self.output.tell("left", f"left: {who}", peer=notice.peer)
            case EventNotice():
                self.tell("event", "says", notice.peer, notice.data)
            case RevokedNotice() | SubscriptionLost() | ResubscribeNotice():
                await self.enter()
            case MembershipNotice():
                await self.enter()
                await self.learn()
            case ResyncNeeded():
                self.tell_all(await self.enter())

    def tell_all(self, entered: SubscribedSpace) -> None:
        for peer in entered.peers:
            self.tell("presence", "here", peer.peer, peer.data)


async def presence(options: Options, folder: Path, text: str, output: Output, *, once: bool = False) -> None:
    """Be present with a text and tell who else is, until cancelled; with `once`, only tell.

    Raises:
        AccessLost: the space does not let us in any more.
        FolderError: see `connected`.
    """
    person = options.person()
    file, shared, grant = bound(folder)
    own(grant, person)
    async with connected(options, person, grant=grant) as client:
        room = _Room(client, person, file, shared, grant, output)
        room.sealed(text, PRESENCE_BYTES_MAX)
        room.tell_all(await room.enter())
        if once:
            return
        clock = asyncio.get_running_loop().time
        due_s = 0.0
        while True:
            if clock() >= due_s:
                await room.enter()  # perhaps another epoch has begun
                await client.presence_set(str(shared.space), room.sealed(text, PRESENCE_BYTES_MAX))
                due_s = clock() + HEARTBEAT_S
            try:
                async with asyncio.timeout_at(due_s):
                    notice = await client.next_notice()
            except TimeoutError:
                continue
            if isinstance(notice, ResyncNeeded):
                due_s = 0.0  # the server has forgotten that we are here
            await room.take(notice)


async def send(options: Options, folder: Path, text: str, output: Output) -> None:
    """Send one text to whoever is listening now.

    Raises:
        UsageProblem: too long.
        FolderError: see `connected`.
    """
    person = options.person()
    file, shared, grant = bound(folder)
    own(grant, person)
    async with connected(options, person, grant=grant) as client:
        room = _Room(client, person, file, shared, grant, output)
        await room.enter()
        data = room.sealed(text, EVENT_BYTES_MAX)
        await client.event_send(str(shared.space), data)
        # Requests are answered in order, so this answer says that the message was taken.
        await room.enter()
    output.tell("sent", "sent to whoever is listening")


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
