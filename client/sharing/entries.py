"""One entry of a membership log as its author signs it, and how it is sealed for the members alone.

The server orders the entries and checks their hashes; what is in them it cannot read:

    payload   01 | epoch u32 big-endian | IV 12 | AES-256-GCM ciphertext and tag, associated data = space id
    key       HKDF-SHA256 of the epoch's space key, info `less-sync/space/v1/log`
    plaintext compact JWS, ES256, `typ` less-sync-member, signed by the author's DID: the JSON of an `Entry`

All of it is read in exactly one way, as tokens are (docs/tokens.md 1): all clients come to the same end.
"""

import hashlib
import os
import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from less_sync.auth import MalformedText, b64url_decode, parse_json_object
from less_sync.client.folder.crypto import Random
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.sharing.bundle import Seal, open_sealed, seal_for, sign, unverified, verified
from less_sync.client.sharing.person import Person

MEMBER: Final = "member"
REMOVED: Final = "removed"
EPOCH: Final = "epoch"
PLACED: Final = 2
"""`v` of entries that say which log they were made on top of. Those of version 1 do not."""

_TYP: Final = "less-sync-member"
_INFO: Final = b"less-sync/space/v1/log"
_CHECK: Final = b"less-sync/space/v1/key\0"
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BI")
_IV_BYTES: Final = 12
_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 16
_NUMBER_MAX: Final = 2**53 - 1
"""What every client can count to."""

T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an author signs. Which of the last fields are set depends on `kind`."""

    v: int = 1
    """Version 1 has neither `after` nor `check`, and left itself out: a missing `v` means it."""
    kind: str
    space: UUID
    author: str
    proof: str
    """The author's own UCAN."""
    at: int
    """Unix seconds, by the author's clock."""
    after: str = ""
    """Hex digest of the whole log before it (`next_digest`)."""
    ucan: str = ""
    """`member`: the UCAN of who was let in."""
    cids: tuple[str, ...] = ()
    """`removed`: CIDs that were revoked; nobody is a member by a chain through them."""
    epoch: int = 0
    """`epoch`: the epoch whose key this is; `removed`: the one the space was in."""
    keys: dict[str, str] = {}  # msgspec copies it for every instance
    """`epoch`: a JWE of the key for each member's DID."""
    check: str = ""
    """`epoch`: `key_check` of the key, so that nobody is given another one than the rest."""

    def __repr__(self) -> str:
        return f"Entry({self.kind})"


class _SealedKey(msgspec.Struct, frozen=True):
    space: UUID
    epoch: int
    key: str
    """Base64."""


def next_digest(digest: bytes, entry_hash: bytes) -> bytes:
    """The digest of a log with one more entry; that of the empty log is empty."""
    return hashlib.sha256(digest + entry_hash).digest()


def seal_entry(
    entry: Entry, person: Person, keys: Mapping[int, bytes], *, random: Random = os.urandom
) -> bytes:
    """Sign an entry and encrypt it under the newest key, for the members alone."""
    epoch = max(keys)
    signed = sign(msgspec.json.encode(entry), person.key, kind=_TYP)
    iv = random(_IV_BYTES)
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
        entry = _strictly(unverified(signed) or b"", Entry)
    except (InvalidTag, UnicodeError, msgspec.MsgspecError, MalformedText):
        return None
    known = entry.v in (1, PLACED) and max(entry.at, entry.epoch) <= _NUMBER_MAX
    return entry if known and verified(signed, entry.author, kind=_TYP) is not None else None


def _strictly(data: bytes, kind: type[T]) -> T:
    return msgspec.convert(parse_json_object(data), kind)


def sealed_keys(
    space: UUID, epoch: int, key: bytes, dids: Sequence[str], *, seal: Seal = seal_for
) -> dict[str, str]:
    """The key of an epoch for each member, as an `epoch` entry carries it. What is no P-256 DID gets none."""
    text = msgspec.json.encode(_SealedKey(space, epoch, b64encode(key).decode()))
    sealed = {}
    for did in dids:
        with suppress(UsageProblem):
            sealed[did] = seal(did, text)
    return sealed


def key_check(key: bytes) -> str:
    """What an `epoch` entry tells everybody of its key: it proves two keys equal and gives none away."""
    return hashlib.sha256(_CHECK + key).hexdigest()


def opened_key(entry: Entry, person: Person) -> bytes | None:
    """The key that an `epoch` entry has for us; None when there is none, or not the one it says it is."""
    sealed = entry.keys.get(person.did, "")
    try:
        plaintext = open_sealed(sealed, person) if _is_plain(sealed) else None
        found = _strictly(plaintext or b"", _SealedKey)
        key = b64decode(found.key, validate=True)
    except (msgspec.MsgspecError, MalformedText, ValueError):
        return None
    fits = (found.space, found.epoch) == (entry.space, entry.epoch) and len(key) == _KEY_BYTES
    same = entry.v < PLACED or entry.check == key_check(key)
    return key if fits and same and b64encode(key).decode() == found.key else None


def _is_plain(sealed: str) -> bool:
    """Whether a JWE has the form that `seal_for` gives it, rather than another that some clients might open.

    Raises:
        MalformedText: a segment is no base64url, or the header no JSON.
        ValueError: there are not five segments.
    """
    header, wrapped, iv, _, tag = map(b64url_decode, sealed.split("."))
    members = parse_json_object(header)
    point = members.pop("epk", None)
    if members != {"alg": "ECDH-ES", "enc": "A256GCM"} or not isinstance(point, dict):
        return False
    x, y = (b64url_decode(_text(point.pop(name, None))) for name in ("x", "y"))
    lengths = tuple(map(len, (wrapped, iv, tag, x, y)))
    return point == {"kty": "EC", "crv": "P-256"} and lengths == (0, _IV_BYTES, _TAG_BYTES, 32, 32)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MalformedText
    return value


def _log_key(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_INFO).derive(key)
