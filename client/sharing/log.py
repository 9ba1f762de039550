"""The membership log of a shared space as its members keep it: who is in, what was revoked, the epochs' keys.

The server orders the entries and checks their hashes; what is in them it cannot read:

    payload   01 | epoch u32 big-endian | IV 12 | AES-256-GCM ciphertext and tag, associated data = space id
    key       HKDF-SHA256 of the epoch's space key, info `less-sync/space/v1/log`
    plaintext compact JWS, ES256, `typ` less-sync-member, signed by the author's DID: the JSON of an `Entry`

An entry counts if its signature is right and the UCAN its author shows allowed it when it was written:
`member` wants write, `removed` and `epoch` want admin. Of several `epoch` entries for one epoch the first
counts, so
all who read the log agree. An entry that does not count is passed over and counted.
"""

import hashlib
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from less_sync.auth import AuthError, Permission, UcanCache, UcanChain, check_chain, parse_chain
from less_sync.client.folder.errors import FolderError, UsageProblem
from less_sync.client.folder.shared import SharedFile, SharedSpace
from less_sync.client.sharing.bundle import open_sealed, seal_for, sign, unverified, verified
from less_sync.client.sharing.person import Person
from less_sync.sync.client import RequestFailed, SyncClient
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import MemberEntry

MEMBER: Final = "member"
REMOVED: Final = "removed"
EPOCH: Final = "epoch"
APPEND_ATTEMPTS: Final = 8

_TYP: Final = "less-sync-member"
_INFO: Final = b"less-sync/space/v1/log"
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BI")
_IV_BYTES: Final = 12
_KEY_BYTES: Final = 32


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an author signs. Which of the last fields are set depends on `kind`."""

    v: int = _VERSION
    kind: str
    space: UUID
    author: str
    proof: str
    """The author's own UCAN."""
    at: int
    """Unix seconds, by the author's clock."""
    ucan: str = ""
    """`member`: the UCAN of who was let in."""
    cids: tuple[str, ...] = ()
    """`removed`: CIDs that were revoked; nobody is a member by a chain through them."""
    epoch: int = 0
    """`epoch`: the epoch whose key this is."""
    keys: dict[str, str] = {}  # msgspec copies it for every instance
    """`epoch`: a JWE of the key for each member's DID."""

    def __repr__(self) -> str:
        return f"Entry({self.kind})"


class _SealedKey(msgspec.Struct, frozen=True):
    space: UUID
    epoch: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """A UCAN by which somebody is in: `chain` are the CIDs of all its links."""

    cid: str = field(repr=False)
    chain: frozenset[str] = field(repr=False)
    permission: Permission
    expires_at: int


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who was let in, perhaps with several tokens."""

    did: str = field(repr=False)
    tokens: tuple[Token, ...]

    @property
    def permission(self) -> Permission:
        """The most any of their tokens grants."""
        return max(token.permission for token in self.tokens)

    @property
    def expires_at(self) -> int:
        """When the last of their tokens ends, in Unix seconds."""
        return max(token.expires_at for token in self.tokens)

    @property
    def cids(self) -> tuple[str, ...]:
        """What to revoke to remove them."""
        return tuple(token.cid for token in self.tokens)


@dataclass(slots=True)
class MemberLog:
    """What the log says, read from its beginning."""

    version: int = 0
    """What the next append must expect."""
    last_hash: bytes = b""
    members: dict[str, Member] = field(default_factory=dict, repr=False)
    gone: set[str] = field(default_factory=set, repr=False)
    """DIDs whose tokens are all revoked."""
    revoked: set[str] = field(default_factory=set, repr=False)
    epochs: dict[int, Entry] = field(default_factory=dict, repr=False)
    keys: dict[int, bytes] = field(default_factory=dict, repr=False)
    """Keys found in it that are for us."""
    passed_over: int = 0


class Reader:
    """Reads entries in order, learning on the way the keys that open the later ones."""

    def __init__(self, shared: SharedSpace, person: Person) -> None:
        self._space = shared.space
        self._person = person
        self._keys = dict(shared.keys)
        self._cache = UcanCache()
        self._own = parse_chain(shared.ucan, parse=self._cache.parse)
        self._root = self._own.links[-1].issuer_key
        self.log = MemberLog()
        # The creator was let in by the root key itself, before there was a log.
        self._let_in(UcanChain(self._own.links[-1:]))

    def read(self, entries: Sequence[MemberEntry], version: int) -> MemberLog:
        """Take in the whole log.

        Raises:
            FolderError: its hashes do not chain: the server, or somebody on the way, changed it.
        """
        for number, one in enumerate(entries, 1):
            broken = one.chain_seq != number or one.prev_hash != self.log.last_hash
            if broken or hashlib.sha256(one.payload).digest() != one.entry_hash:
                raise FolderError(
                    "the membership log of the space was tampered with: its hashes do not match"
                )
            self.log.last_hash = one.entry_hash
            entry = open_entry(one.payload, self._space, self._keys)
            if entry is None or not self._counts(entry):
                self.log.passed_over += 1
        self.log.version = version
        return self.log

    def _counts(self, entry: Entry) -> bool:
        """Apply an entry if its author was allowed to write it."""
        needed = Permission.WRITE if entry.kind == MEMBER else Permission.ADMIN
        if entry.space != self._space or self._granted(entry.proof, entry.author, needed, entry.at) is None:
            return False
        match entry.kind:
            case "member":
                chain = self._granted(entry.ucan, None, Permission.READ, entry.at)
                if chain is not None:
                    self._let_in(chain)
                return chain is not None
            case "removed":
                self._revoke(entry.cids)
                return True
            case "epoch":
                if entry.epoch > 1:
                    self._epoch(entry)
                return entry.epoch > 1
        return False

    def _epoch(self, entry: Entry) -> None:
        if self.log.epochs.setdefault(entry.epoch, entry) is not entry:
            return
        key = _opened_key(entry, self._person)
        if key is not None:
            self.log.keys[entry.epoch] = key
            self._keys.setdefault(entry.epoch, key)

    def _granted(self, ucan: str, audience: str | None, needed: Permission, at_s: int) -> UcanChain | None:
        try:
            chain = parse_chain(ucan, parse=self._cache.parse)
            check_chain(
                chain,
                audience=audience or chain.leaf.audience or "",
                needed=needed,
                space_id=self._space,
                root_public_key=self._root,
                revoked=frozenset(),  # the server took the entry, so it was not revoked then
                now=at_s,
            )
        except AuthError:
            return None
        return chain

    def _let_in(self, chain: UcanChain) -> None:
        leaf, links = chain.leaf, frozenset(chain.cids)
        if links & self.log.revoked:
            return
        did = leaf.audience or ""
        token = Token(leaf.cid, links, Permission.from_command(leaf.command), leaf.expires_at or 0)
        former = self.log.members.get(did)
        others = () if former is None else tuple(one for one in former.tokens if one.cid != leaf.cid)
        self.log.members[did] = Member(did, (*others, token))
        self.log.gone.discard(did)

    def _revoke(self, cids: Sequence[str]) -> None:
        self.log.revoked |= set(cids)
        for did, member in list(self.log.members.items()):
            left = tuple(token for token in member.tokens if not token.chain & self.log.revoked)
            if left:
                self.log.members[did] = Member(did, left)
            else:
                del self.log.members[did]
                self.log.gone.add(did)


def seal_entry(entry: Entry, person: Person, keys: Mapping[int, bytes]) -> bytes:
    """Sign an entry and encrypt it under the newest key, for the members alone."""
    epoch = max(keys)
    signed = sign(msgspec.json.encode(entry), person.key, kind=_TYP)
    iv = os.urandom(_IV_BYTES)
    space = str(entry.space).encode()
    return (
        _HEAD.pack(_VERSION, epoch) + iv + AESGCM(_log_key(keys[epoch])).encrypt(iv, signed.encode(), space)
    )


def open_entry(payload: bytes, space: UUID, keys: Mapping[int, bytes]) -> Entry | None:
    """Decrypt an entry and verify its signature; None for anything else."""
    body = _HEAD.size + _IV_BYTES
    if len(payload) <= body:
        return None
    version, epoch = _HEAD.unpack_from(payload)
    if version != _VERSION or epoch not in keys:
        return None
    try:
        cipher = AESGCM(_log_key(keys[epoch]))
        signed = cipher.decrypt(payload[_HEAD.size : body], payload[body:], str(space).encode()).decode(
            "ascii"
        )
        entry = msgspec.json.decode(unverified(signed) or b"", type=Entry)
    except (InvalidTag, UnicodeError, msgspec.MsgspecError):
        return None
    genuine = entry.v == _VERSION and verified(signed, entry.author, kind=_TYP) is not None
    return entry if genuine else None


def sealed_keys(space: UUID, epoch: int, key: bytes, dids: Sequence[str]) -> dict[str, str]:
    """The key of an epoch for each member, as an `epoch` entry carries it. What is no P-256 DID gets none."""
    text = msgspec.json.encode(_SealedKey(space, epoch, key))
    sealed = {}
    for did in dids:
        with suppress(UsageProblem):
            sealed[did] = seal_for(did, text)
    return sealed


def _opened_key(entry: Entry, person: Person) -> bytes | None:
    sealed = entry.keys.get(person.did)
    plaintext = None if sealed is None else open_sealed(sealed, person)
    try:
        found = msgspec.json.decode(plaintext or b"", type=_SealedKey)
    except msgspec.MsgspecError:
        return None
    fits = (found.space, found.epoch) == (entry.space, entry.epoch) and len(found.key) == _KEY_BYTES
    return found.key if fits else None


def _log_key(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_INFO).derive(key)


async def read_log(client: SyncClient, file: SharedFile, person: Person) -> tuple[MemberLog, SharedSpace]:
    """Read the log and keep the keys found in it.

    Raises:
        FolderError: the log is broken, or the folder's file is.
        SyncClientError: see `SyncClient.membership_list`.
    """
    shared = _present(file.load())
    listed = await client.membership_list(str(shared.space), ucan=shared.ucan)
    log = Reader(shared, person).read(listed.entries, listed.metadata_version)
    if not log.keys.keys() <= shared.keys.keys():
        shared = file.update(lambda now: _present(now).with_keys(log.keys))
    return log, shared


async def append_entry(
    client: SyncClient,
    file: SharedFile,
    person: Person,
    make: Callable[[MemberLog, SharedSpace], Entry | None],
) -> tuple[MemberLog, SharedSpace]:
    """Append what `make` makes of the log as it is, or nothing if that is None; return what it is then.

    The server takes an entry only on top of the log it was made of, so nothing comes between.

    Raises:
        FolderError: others write all the time, or as `read_log`.
        SyncClientError: see `SyncClient.membership_append`.
    """
    for _ in range(APPEND_ATTEMPTS):
        log, shared = await read_log(client, file, person)
        entry = make(log, shared)
        if entry is None:
            return log, shared
        payload = seal_entry(entry, person, shared.keys)
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
        return await read_log(client, file, person)
    raise FolderError("the membership log changes faster than this command can follow", "run it again")


def entry_by(person: Person, shared: SharedSpace, kind: str) -> Entry:
    """An entry of ours, to be filled in with `msgspec.structs.replace`."""
    return Entry(kind=kind, space=shared.space, author=person.did, proof=shared.ucan, at=int(time.time()))


def _present(shared: SharedSpace | None) -> SharedSpace:
    if shared is None:
        raise FolderError("the folder was unbound from its space meanwhile")
    return shared


def removal_of(cids: Sequence[str], person: Person) -> Callable[[MemberLog, SharedSpace], Entry | None]:
    """For `append_entry`: note that these CIDs were revoked, unless that is known."""

    def removal(log: MemberLog, shared: SharedSpace) -> Entry | None:
        if set(cids) <= log.revoked:
            return None
        return msgspec.structs.replace(entry_by(person, shared, REMOVED), cids=tuple(cids))

    return removal
