"""Who says what a report says: digests of its files, signed (docs/validation.md 7.5). One key file is kept.

`SHA256SUMS` names every file, so that `sha256sum -c` finds what was changed or lost. A statement in the form
of in-toto names that list and what was decided; it is signed in a DSSE envelope with Ed25519 (RFC 8032).
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey as Ed25519Key
from nacl.signing import VerifyKey

from less_sync.auth import MalformedText, b64url_decode, b64url_encode
from less_sync.client.kept_key import SIGNING_KEY_PREFIX, KeyFileError, kept
from less_sync.validation.canonical import compact
from less_sync.validation.results import Document

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://in-toto.io/attestation/test-result/v0.1"
SUMS: Final = "SHA256SUMS"
KEY_FILE: Final = "validation.key"
"""In the user's configuration folder."""
SEED_BYTES: Final = 32
ENVELOPE_BYTES_MAX: Final = 4 * 1024 * 1024
SIGNATURES_MAX: Final = 16
TRUSTED_BYTES_MAX: Final = 1024 * 1024


class EvidenceFault(Exception):
    """What a run found cannot be kept so that it can be trusted: exit code 4.

    Args:
        code: `disk-full`, `not-writable`, `not-signable`, `report-too-large`: a reason of the decision.
    """

    def __init__(self, code: str, told: str) -> None:
        super().__init__(told)
        self.code = code


class NotSigned(Exception):
    """No trusted key signed this; worded without its content."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key. Its seed is never shown."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        assert len(self.seed) == SEED_BYTES

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return bytes(Ed25519Key(self.seed).verify_key)

    @property
    def keyid(self) -> str:
        """By which the public half is found among trusted ones."""
        return key_id(self.public)

    def text(self) -> str:
        """The line of a key file."""
        return f"{SIGNING_KEY_PREFIX}{b64url_encode(self.seed)}"

    def trusted_line(self, comment: str) -> str:
        """What a reviewer adds to `TRUSTED_KEYS`."""
        return f"{self.keyid} {b64url_encode(self.public)} {comment}".rstrip()

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return Ed25519Key(self.seed).sign(message).signature


def key_id(public: bytes) -> str:
    """SHA-256 of a public key, in hex."""
    return hashlib.sha256(public).hexdigest()


def kept_signing_key(path: Path) -> SigningKey:
    """The key in a file, made with mode 0600 at first use.

    Raises:
        EvidenceFault: `not-signable`, it cannot be made or read, or holds none.
    """
    try:
        content = kept(path, lambda: SigningKey(secrets.token_bytes(SEED_BYTES)).text().encode() + b"\n")
    except KeyFileError as error:
        raise EvidenceFault("not-signable", str(error)) from None
    try:
        return parse_signing_key(content.decode("ascii", errors="replace"))
    except ValueError:
        told = f"{path} does not hold a signing key; remove it to get a new one"
        raise EvidenceFault("not-signable", told) from None


def parse_signing_key(text: str) -> SigningKey:
    """Read a key: the line of a key file, or the 43 characters of base64url alone.

    Raises:
        ValueError: it is none; worded without its text.
    """
    try:
        seed = b64url_decode(text.strip().removeprefix(SIGNING_KEY_PREFIX))
    except (MalformedText, UnicodeEncodeError):
        seed = b""
    if len(seed) != SEED_BYTES:
        raise ValueError("a signing key is 32 bytes in base64url")
    return SigningKey(seed)


def parse_trusted_keys(content: bytes) -> dict[str, bytes]:
    """Public keys by their ids, of a file `TRUSTED_KEYS`: a line `ID KEY COMMENT` each, `#` begins a comment.

    Raises:
        ValueError: a line is none of these, or its id is not that of its key; worded with the line's number.
    """
    if len(content) > TRUSTED_BYTES_MAX:
        raise ValueError(f"more than {TRUSTED_BYTES_MAX} bytes")
    keys = {}
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            public = b64url_decode(words[1])
        except (IndexError, MalformedText, UnicodeEncodeError):
            public = b""
        if len(public) != SEED_BYTES:
            raise ValueError(f"line {number} is not an id, a public key and a comment")
        if key_id(public) != words[0]:
            raise ValueError(f"line {number}: the id is not that of the key")
        keys[words[0]] = public
    return keys


def sums(digests: Mapping[str, str]) -> bytes:
    """`SHA256SUMS`: digests in hex by relative path, sorted by the bytes of the paths."""
    ordered = sorted(digests.items(), key=lambda one: one[0].encode())
    return "".join(f"{digest}  {path}\n" for path, digest in ordered).encode()


def statement(document: Document, *, sums_sha256: str, sums_path: str, manifest_sha256: str) -> bytes:
    """What is signed.

    Args:
        sums_path: where the list of digests is, as a reader of the repository finds it.
    """
    image = document.subject.candidate.image.removeprefix("sha256:")
    subject: list[dict[str, Any]] = [{"name": sums_path, "digest": {"sha256": sums_sha256}}]
    if image:
        subject.append({"name": "candidate", "digest": {"sha256": image}})
    rows = document.checks
    warned = [one.id for one in rows if not one.required and one.status != "passed"]
    passed = [one.id for one in rows if one.status == "passed"]
    failed = [one.id for one in rows if one.required and one.status != "passed"]
    go = "WARNED" if warned else "PASSED"
    return compact(
        {
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "result": go if document.decision == "GO" else "FAILED",
                "configuration": [{"name": "manifest.toml", "digest": {"sha256": manifest_sha256}}],
                "passedTests": passed,
                "warnedTests": warned,
                "failedTests": failed,
                "lessSync": {
                    "decision": document.decision,
                    "kind": document.kind,
                    "stage": document.stage,
                    "mode": document.mode,
                    "stableDigest": document.stable_digest,
                    "startedAt": document.run.started_at,
                    "finishedAt": document.run.finished_at,
                },
            },
        }
    )


class _Subject(msgspec.Struct):
    name: str


class _Statement(msgspec.Struct):
    subject: list[_Subject]


def subject_name(payload: bytes) -> str:
    """Where a statement says that the list of digests is. Raises NotSigned: it is no statement."""
    try:
        subjects = msgspec.json.decode(payload, type=_Statement).subject
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        subjects = []
    if not subjects:
        raise NotSigned("what was signed is no statement")
    return subjects[0].name


def pre_authentication(payload: bytes) -> bytes:
    """What a signature is made over, so that no other protocol's text can be taken for it (DSSE v1)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def envelope(payload: bytes, key: SigningKey) -> bytes:
    """`attestation.dsse.json`."""
    signature = base64.b64encode(key.sign(pre_authentication(payload))).decode()
    body = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key.keyid, "sig": signature}],
    }
    return compact(body) + b"\n"


class _Signature(msgspec.Struct):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct):
    payload: str
    payloadType: str
    signatures: list[_Signature]


def signed_payload(content: bytes, trusted: Mapping[str, bytes]) -> tuple[bytes, str]:
    """The payload of an envelope, and the id of the trusted key that signed it.

    Raises:
        NotSigned: it is no envelope of this type, or none of its signatures is by a trusted key.
    """
    if len(content) > ENVELOPE_BYTES_MAX:
        raise NotSigned("the attestation is too large")
    try:
        read = msgspec.json.decode(content, type=_Envelope)
        payload = base64.b64decode(read.payload, validate=True)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, binascii.Error, ValueError):
        raise NotSigned("the attestation is no DSSE envelope") from None
    if read.payloadType != PAYLOAD_TYPE:
        raise NotSigned("the attestation is of another type")
    message = pre_authentication(payload)
    for one in read.signatures[:SIGNATURES_MAX]:
        public = trusted.get(one.keyid)
        if public is not None and _verified(public, message, one.sig):
            return payload, one.keyid
    if any(one.keyid in trusted for one in read.signatures[:SIGNATURES_MAX]):
        raise NotSigned("the signature is not over this content")
    raise NotSigned("it is not signed by a trusted key")


def _verified(public: bytes, message: bytes, signature: str) -> bool:
    try:
        VerifyKey(public).verify(message, base64.b64decode(signature, validate=True))
    except (BadSignatureError, binascii.Error, ValueError):
        return False
    return True
