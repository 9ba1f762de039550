"""What the vectors are made from, by Python and by JavaScript. None of it is secret."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from less_sync.auth import decode_did_key, encode_did_key
from less_sync.auth.encoding import b64url_encode
from less_sync.client.sharing.person import Person
from tests.crypto.fixed_key import FixedKey

NOW_S: Final = 1_790_000_000
EXPIRES_S: Final = 1_800_000_000
PERSONAL: Final = UUID("da29e793-3f05-51c3-9f72-63cc953f9c05")
SHARED: Final = UUID("5f0c8a52-6f0e-4c57-9b1e-0d2f6a3b7c11")
SECRET: Final = bytes(range(32))
EPOCH_KEYS: Final = {1: bytes(range(32, 64)), 2: bytes(range(64, 96))}
CONTENT: Final = UUID("0d9b4b1e-7f5e-4a8c-9a51-3f2c7f6a1b2d")
PARTS: Final = (UUID("7c0e2b57-8b0a-4d0e-8f43-5a9d6c1e0f3b"), UUID("1b7f5c3e-2d4a-4f6b-8c9d-0e1f2a3b4c5d"))
PATHS: Final = ("todo.txt", "notes/\u00e4pfel.md", "films/trailer.mp4", "")
PEOPLE: Final = {name: FixedKey.of(name) for name in ("root", "alice", "bob")}
TOKEN: Final = "an.access.token"


class Stream:
    """Bytes that are the same each time, in place of random ones."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(f"{self._label} {self._count}".encode()).digest(size)


def person(name: str) -> Person:
    """One of the people of the vectors."""
    return Person(PEOPLE[name], encode_did_key(PEOPLE[name].public_key()))


def jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """A private key as RFC 7517 has it."""
    numbers = key.private_numbers()
    public = numbers.public_numbers
    parts = {"x": public.x, "y": public.y, "d": numbers.private_value}
    return {"kty": "EC", "crv": "P-256"} | {
        name: b64url_encode(value.to_bytes(32, "big")) for name, value in parts.items()
    }


def seal_fixed(did: str, plaintext: bytes) -> str:
    """`seal_for` with a key and an IV that are the same each time (RFC 7518 4.6, appendix C)."""
    ephemeral = FixedKey.of(f"ephemeral {did}")
    point = {name: value for name, value in jwk(ephemeral).items() if name != "d"}
    members = {"alg": "ECDH-ES", "enc": "A256GCM", "epk": point}
    head = b64url_encode(json.dumps(members, separators=(",", ":")).encode())
    info = (7).to_bytes(4, "big") + b"A256GCM" + bytes(8) + (256).to_bytes(4, "big")
    secret = ephemeral.exchange(ec.ECDH(), decode_did_key(did).key)
    iv = Stream(f"jwe {did}")(12)
    sealed = AESGCM(ConcatKDFHash(SHA256(), 32, info).derive(secret)).encrypt(iv, plaintext, head.encode())
    return ".".join((head, "", *map(b64url_encode, (iv, sealed[:-16], sealed[-16:]))))


def plaintexts() -> dict[str, dict[str, Any]]:
    """What each kind of record says; times as texts, since not every language's JSON holds them."""
    whole = hashlib.sha256(b"less-sync").digest()
    told = {"v": 2, "version": 1, "path": PATHS[0], "mtime_ns": "1790000000123456789"}
    apart = {"size": 9, "digest": whole.hex()}
    parts = {"part_bytes": 1024 * 1024, "parts": [str(PARTS[0])]}
    return {
        "file": told | {"kind": "file", "content": b"milk\n".hex()},
        "empty file": told | {"kind": "file", "version": 2**53 - 1, "mtime_ns": "-1", "content": ""},
        "deleted": told | {"kind": "deleted", "version": 2, "content": ""},
        "large": told | {"kind": "large", "path": PATHS[2], "content": str(CONTENT)} | apart,
        "content": {"v": 2, "kind": "content", "version": 1} | apart | parts,
        "format 1": {"v": 1, "path": PATHS[0], "mtime_ns": "0", "content": b"eggs\n".hex()},
    }


def plain_bytes(says: dict[str, Any]) -> bytes:
    """The CBOR of a plaintext, whose members stand in the order of docs/folder-format.md."""
    order = ("v", "kind", "version", "path", "mtime_ns", "size", "digest", "part_bytes", "parts", "content")
    reads: dict[str, Callable[[Any], object]] = {
        "mtime_ns": int,
        "digest": bytes.fromhex,
        "content": lambda text: bytes.fromhex(text.replace("-", "")),
        "parts": lambda ids: [UUID(one).bytes for one in ids],
    }
    return cbor2.dumps({name: reads.get(name, _same)(says[name]) for name in order if name in says})


def _same(value: object) -> object:
    return value


def inputs() -> dict[str, Any]:
    """What both halves are made from."""
    return {
        "now": NOW_S,
        "expires_at": EXPIRES_S,
        "people": {name: {"did": person(name).did, "jwk": jwk(key)} for name, key in PEOPLE.items()},
        "personal": {"space": str(PERSONAL), "secret": SECRET.hex()},
        "shared": {"space": str(SHARED), "keys": {str(n): key.hex() for n, key in EPOCH_KEYS.items()}},
        "paths": list(PATHS),
        "content": str(CONTENT),
        "parts": [str(part) for part in PARTS],
        "plaintexts": {
            name: {"says": says, "plain": plain_bytes(says).hex()} for name, says in plaintexts().items()
        },
        "token": TOKEN,
    }


def derived() -> dict[str, Any]:
    """Every key that is derived, restated from docs/encryption.md 2.1; clients keep them to themselves."""

    def of(secret: bytes, info: bytes) -> str:
        return HKDF(SHA256(), 32, None, info).derive(secret).hex()

    folder, space = b"less-sync/folder/v1/", b"less-sync/space/v1/"
    by_epoch = {"personal": dict.fromkeys(EPOCH_KEYS, SECRET), "shared": EPOCH_KEYS}
    return {
        "record_id": {name: of(keys[min(keys)], folder + b"record-id") for name, keys in by_epoch.items()},
        "kek": {
            name: {
                str(epoch): of(key, folder + b"kek\x00" + epoch.to_bytes(4, "big"))
                for epoch, key in keys.items()
            }
            for name, keys in by_epoch.items()
        },
        "log": {str(epoch): of(key, space + b"log") for epoch, key in EPOCH_KEYS.items()},
        "presence": {str(epoch): of(key, space + b"presence") for epoch, key in EPOCH_KEYS.items()},
    }
