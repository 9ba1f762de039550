"""What is handed to a person to let them into a space: one line of text, safe to send in the open.

    less-sync-invite-1:<JWS>   compact, ES256, `typ` less-sync-invite, signed by the issuer of the UCAN;
                               its payload is the JSON
    {"ucan": ..., "jwe": ...}  the UCAN, and for its audience alone
    compact JWE, ECDH-ES and A256GCM, to the P-256 key of the audience's DID: the JSON
    {"space": ..., "cid": the UCAN's, "keys": {epoch: base64 of 32 bytes}, "log": how far its author read it,
     "home": the domain of the space's home server, empty where that is not said}

A JWE alone says nothing about its author: the signature does, and the space and CID inside tie the keys to
the UCAN beside them, so that nobody can slip other keys under a genuine UCAN.
"""

import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from joserfc import jwe, jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from less_sync.auth import (
    AuthError,
    MalformedText,
    Permission,
    Ucan,
    UcanError,
    b64url_decode,
    check_chain,
    decode_did_key,
    parse_chain,
    parse_json_object,
    parse_ucan,
)
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.shared import EPOCH_KEYS_MAX, EPOCH_MAX, LogPlace, SharedSpace
from less_sync.client.sharing.domains import is_domain
from less_sync.client.sharing.person import Person

PREFIX: Final = "less-sync-invite-1:"
BUNDLE_CHARS_MAX: Final = 131_072
"""What fits into a mailbox (docs/protocol.md 7.9)."""
SIGNED_BYTES_MAX: Final = 96_000
"""No reader verifies a larger payload."""
SEALED_BYTES_MAX: Final = 49_152
"""No reader opens a larger plaintext."""

_KIND: Final = "less-sync-invite"
_KEY_BYTES: Final = 32
_NUMBER_MAX: Final = 2**53 - 1
"""What every client can count to."""
_JWE_ALGORITHMS: Final = ("ECDH-ES", "A256GCM")
_JWS_ALGORITHMS: Final = ("ES256",)
_BROKEN: Final = (JoseError, msgspec.MsgspecError, ValueError, TypeError, KeyError, UnicodeError)


class NotForUs(UsageProblem):
    """The bundle was made for another DID."""


class _Outer(msgspec.Struct, frozen=True):
    ucan: str
    jwe: str


class _Inner(msgspec.Struct, frozen=True):
    space: UUID
    cid: str
    keys: dict[int, bytes]
    log: LogPlace = LogPlace()
    home: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle."""

    space: UUID
    ucan: str = field(repr=False)
    token: Ucan = field(repr=False)
    keys: Mapping[int, bytes] = field(repr=False)
    log: LogPlace
    """A server that shows a log from before is caught."""
    home: str = ""
    """The domain of the space's home server; empty: the server that is asked, as in older bundles."""


Seal = Callable[[str, bytes], str]
"""Encrypts for the owner of a DID."""


def seal_for(did: str, plaintext: bytes) -> str:
    """Encrypt for the owner of a DID: a compact JWE with ECDH-ES and A256GCM.

    Raises:
        UsageProblem: not a P-256 `did:key`, or more than `SEALED_BYTES_MAX`.
    """
    if len(plaintext) > SEALED_BYTES_MAX:
        raise UsageProblem("this is too large to be sealed", f"{SEALED_BYTES_MAX} bytes are the most")
    header = {"alg": "ECDH-ES", "enc": "A256GCM"}
    return jwe.encrypt_compact(header, plaintext, _public_key(did), algorithms=list(_JWE_ALGORITHMS))


def open_sealed(text: str, person: Person) -> bytes | None:
    """Decrypt what `seal_for` made; None when it is for somebody else, or altered."""
    try:
        opened = jwe.decrypt_compact(text, ECKey.import_key(person.key), algorithms=list(_JWE_ALGORITHMS))
    except _BROKEN:
        return None
    return opened.plaintext


def sign(payload: bytes, key: EllipticCurvePrivateKey, *, kind: str) -> str:
    """A compact JWS with ES256. `kind` (the `typ` of its header) keeps it from passing for anything else.

    Raises:
        UsageProblem: more than `SIGNED_BYTES_MAX`.
    """
    if len(payload) > SIGNED_BYTES_MAX:
        raise UsageProblem("this is too large to be signed", f"{SIGNED_BYTES_MAX} bytes are the most")
    header = {"alg": "ES256", "typ": kind}
    return jws.serialize_compact(header, payload, ECKey.import_key(key), algorithms=list(_JWS_ALGORITHMS))


def verified(text: str, did: str, *, kind: str) -> bytes | None:
    """The payload of a JWS of this kind that the owner of `did` signed; None for any other text.

    Strict, so that all clients agree (docs/encryption.md 5.1): base64url as it is written, and no header but
    the one `sign` makes.
    """
    try:
        header, payload, _ = _segments(text)
        if parse_json_object(header) != {"alg": "ES256", "typ": kind}:
            return None
        key = ECKey.import_key(decode_did_key(did).key)
        jws.deserialize_compact(text, key, algorithms=list(_JWS_ALGORITHMS))
    except (*_BROKEN, AuthError):
        return None
    return payload


def unverified(text: str) -> bytes | None:
    """The payload of a JWS whose signer is named inside; None when it is none."""
    try:
        return _segments(text)[1]
    except (ValueError, MalformedText):
        return None


def _segments(text: str) -> tuple[bytes, bytes, bytes]:
    header, payload, signature = map(b64url_decode, text.split("."))
    return header, payload, signature


def make_bundle(ucan: str, shared: SharedSpace, author: Person, *, seal: Seal = seal_for) -> str:
    """Bundle a UCAN the author has just issued with what the author knows of its space, for its audience.

    Args:
        seal: another one than `seal_for` is for test vectors alone.

    Raises:
        UsageProblem: the audience is no P-256 `did:key`.
    """
    token = parse_ucan(ucan)
    assert token.issuer == author.did, "only the issuer of a UCAN can bundle it"
    assert token.resource == f"space:{shared.space}", "a UCAN goes with the keys of its own space"
    inner = _Inner(shared.space, token.cid, shared.keys, shared.log, shared.home)
    outer = _Outer(ucan, seal(token.audience or "", msgspec.json.encode(inner)))
    return PREFIX + sign(msgspec.json.encode(outer), author.key, kind=_KIND)


def is_bundle(text: str) -> bool:
    """Whether a text looks like a bundle rather than a bare UCAN."""
    return text.strip().startswith(PREFIX)


def bundled_ucan(text: str) -> str:
    """The UCAN of a bundle, for whomever it is.

    Raises:
        UsageProblem: not a bundle, altered, or not signed by the issuer of its UCAN.
    """
    return _outer(text).ucan


def open_bundle(text: str, person: Person) -> Bundle:
    """Open a bundle that was made for us.

    Raises:
        NotForUs: it was made for another DID.
        UsageProblem: not a bundle, altered, expired, or its parts do not belong together.
    """
    outer = _outer(text)
    token = parse_ucan(outer.ucan)
    if token.audience != person.did:
        raise NotForUs("this bundle was made for another DID", "`less-sync key did` prints yours")
    plaintext = open_sealed(outer.jwe, person)
    try:
        inner = _inner(plaintext or b"")
        if token.resource != f"space:{inner.space}" or inner.cid != token.cid:
            raise ValueError
    except (*_BROKEN, MalformedText) as error:
        raise _damaged() from error
    _check_usable(outer.ucan, person, inner.space)
    return Bundle(inner.space, outer.ucan, token, inner.keys, inner.log, inner.home)


def _inner(plaintext: bytes) -> _Inner:
    """What is sealed in a bundle, in the one spelling that all clients read (docs/encryption.md 1.2)."""
    members = parse_json_object(plaintext)
    inner = msgspec.convert(members, _Inner, str_keys=True)
    keys, log = inner.keys, inner.log
    sound = 0 < len(keys) <= EPOCH_KEYS_MAX and 0 < min(keys) <= max(keys) <= EPOCH_MAX
    spelled = {str(epoch): b64encode(key).decode() for epoch, key in keys.items()} == members["keys"]
    read = 0 <= log.entries <= _NUMBER_MAX and len(log.digest) == (_KEY_BYTES if log.entries else 0)
    named = not inner.home or is_domain(inner.home)
    if not (sound and spelled and read and named) or any(len(key) != _KEY_BYTES for key in keys.values()):
        raise ValueError
    return inner


def _check_usable(ucan: str, person: Person, space: UUID) -> None:
    """What can be known without the server: the whole chain, but for its root key and revocations."""
    try:
        chain = parse_chain(ucan)
        check_chain(
            chain,
            audience=person.did,
            needed=Permission.READ,
            space_id=space,
            root_public_key=chain.links[-1].issuer_key,
            revoked=frozenset(),
            now=time.time(),
        )
    except UcanError as error:
        raise UsageProblem(
            f"the bundle cannot be used: link {error.depth + 1}: {error.reason}", "ask for another one"
        ) from error


def _outer(text: str) -> _Outer:
    text = text.strip()
    if not is_bundle(text) or len(text) > BUNDLE_CHARS_MAX:
        raise UsageProblem("this is no bundle", f"its one line starts with {PREFIX}")
    signed = text.removeprefix(PREFIX)
    try:
        outer = msgspec.convert(parse_json_object(unverified(signed) or b""), _Outer)
        if verified(signed, parse_ucan(outer.ucan).issuer, kind=_KIND) is None:
            raise ValueError
    except (*_BROKEN, AuthError, MalformedText) as error:
        raise _damaged() from error
    return outer


def _damaged() -> UsageProblem:
    return UsageProblem("the bundle is damaged", "copy the whole line again")


def _public_key(did: str) -> ECKey:
    try:
        return ECKey.import_key(decode_did_key(did).key)
    except AuthError as error:
        raise UsageProblem(
            "not the did:key of a P-256 key", "`less-sync key did` prints one's own"
        ) from error
