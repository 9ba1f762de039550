"""Texts of a membership log with one thing odd about each: JSON, signatures, sealed keys."""

import json
import os
import struct
from base64 import b64encode
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from less_sync.auth import b64url_decode, b64url_encode
from less_sync.client.sharing.bundle import seal_for, sign
from less_sync.client.sharing.person import Person
from tests.client.sharing.members import new_person

ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
STRANGER: Final = new_person()

ODD_NUMBERS: Final = (
    "1.0", "1e2", "-0", "-1", "null", "true", '"1"', "9007199254740991", "9007199254740992",
    "18446744073709551616", "123456789012345678901234567890", "[]",
)  # fmt: skip
ODD_TEXTS: Final = ('"\\ud800"', '""', "null", "1", '"\\u0000"', "[]", "{}", '"é"')


def twin(text: str) -> str:
    """The other signature that verifies."""
    signed, _, segment = text.rpartition(".")
    signature = b64url_decode(segment)
    other = ORDER - int.from_bytes(signature[32:], "big")
    return f"{signed}.{b64url_encode(signature[:32] + other.to_bytes(32, 'big'))}"


def odd_key(random: Random, space: UUID, epoch: int, key: bytes, did: str) -> str:
    """A key sealed for somebody, with one thing odd about it; some are as good as any."""
    text = b64encode(key).decode()
    members = {"space": str(space), "epoch": epoch, "key": text}
    plain = random.choice(
        [
            json.dumps(members | {"space": space.hex.upper()}), json.dumps(members | {"epoch": epoch + 1}),
            json.dumps(members | {"key": f"{text[:-2]}{chr(ord(text[-2]) + 1)}="}), json.dumps(members)[:-1],
            json.dumps(members | {"key": text[:-4]}), json.dumps(members | {"key": f" {text}"}),
            json.dumps(members | {"epoch": float(epoch)}), "[]", json.dumps(members | {"more": 1}),
        ]
    )  # fmt: skip
    sealed = seal_for(did, plain.encode())
    header, *others = sealed.split(".")
    told = json.loads(b64url_decode(header))
    match random.randint(0, 5):
        case 0:
            told["apu"] = "AAAA"
        case 1:
            told["epk"]["x"] = 7
        case 2:
            others.append("")
        case 3:
            others[1] = f"{others[1]}="
        case _:
            return sealed
    return ".".join((b64url_encode(json.dumps(told).encode()), *others))


def odd_json(random: Random, made: dict[str, Any]) -> bytes:
    """The same JSON with one thing odd about it."""
    name = random.choice(list(made))
    parts = {one: json.dumps(value) for one, value in made.items()}
    match random.randint(0, 7):
        case 0:
            parts[name] = random.choice(ODD_NUMBERS)
        case 1:
            parts[name] = random.choice(ODD_TEXTS)
        case 2:
            del parts[name]
        case 3:
            parts["space"] = json.dumps(random.choice([UUID(made["space"]).hex, made["space"].upper()]))
        case 4:
            parts["more"] = random.choice(
                [*ODD_NUMBERS, *ODD_TEXTS, "[" * 127 + "]" * 127, "[" * 128 + "]" * 128]
            )
        case 5:
            parts["at"] = random.choice(ODD_NUMBERS)
        case 6:
            parts["after"] = json.dumps(os.urandom(32).hex())
        case _:
            return doubled(parts, name)
    return ("{" + ",".join(f'"{one}":{value}' for one, value in parts.items()) + "}").encode()


def doubled(parts: Mapping[str, str], name: str) -> bytes:
    members = [f'"{one}":{value}' for one, value in (*parts.items(), (name, parts[name]))]
    return ("\ufeff" * (len(name) % 2) + " {" + ", ".join(members) + "}\n").encode()


def odd_signed(random: Random, payload: bytes, author: Person) -> str:
    """A JWS with one thing odd about it; some are as good as any."""
    signed = sign(payload, author.key, kind="less-sync-member")
    head, body, tail = signed.split(".")
    others: list[Callable[[], str]] = [
        lambda: twin(signed),
        lambda: sign(payload, author.key, kind="less-sync-presence"),
        lambda: sign(payload, STRANGER.key, kind="less-sync-member"),
        lambda: f"{head}.{body}.{tail}=",
        lambda: f"{head}.{body}.{tail[:-1]}{chr(ord(tail[-1]) ^ 1)}",
        lambda: f"{head}.{body}\n.{tail}",
        lambda: f"{head}.{body}.{b64url_encode(bytes(64))}",
        lambda: f"{head}.{body}.{tail}.",
        lambda: headed(payload, author, {"alg": "ES256", "typ": "less-sync-member", "kid": "1"}),
        lambda: headed(payload, author, {"typ": "less-sync-member", "alg": "ES256"}),
        lambda: headed(payload, author, {"alg": "ES256"}),
    ]
    return random.choice(others)()


def headed(payload: bytes, author: Person, header: Mapping[str, object]) -> str:
    """A JWS with a header of any kind."""
    text = f"{b64url_encode(json.dumps(header).encode())}.{b64url_encode(payload)}"
    r, s = decode_dss_signature(author.key.sign(text.encode(), ECDSA(SHA256())))
    return f"{text}.{b64url_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def sealed_text(signed: str, space: UUID, epoch: int, key: bytes, *, version: int = 1) -> bytes:
    """Any text, sealed as an entry is."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"less-sync/space/v1/log").derive(key)
    iv = os.urandom(12)
    body = AESGCM(derived).encrypt(iv, signed.encode(), str(space).encode())
    return struct.pack(">BI", version, epoch) + iv + body
