"""What both languages refuse, each with the name of the check that does."""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import cbor2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from less_sync.auth import encode_did_key
from less_sync.auth.encoding import b64url_encode
from less_sync.auth.es256 import sign_es256
from less_sync.client.folder.crypto import RecordCipher
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.stream import PartCipher, PartPlace, header
from tests.crypto.inputs import (
    CONTENT,
    EPOCH_KEYS,
    EXPIRES_S,
    NOW_S,
    PARTS,
    PATHS,
    PEOPLE,
    PERSONAL,
    SECRET,
    SHARED,
    Stream,
    person,
    plain_bytes,
    plaintexts,
    seal_fixed,
)

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_HEADER: Final = '{"alg":"ES256","typ":"JWT"}'


def refused() -> dict[str, Any]:
    """The whole table."""
    return {
        "key_texts": key_texts(),
        "dids": [{"code": code, "did": did} for code, did in dids()],
        "plaintexts": [{"code": code, "plain": plain.hex()} for code, plain in foreign()],
        "records": list(records()),
        "parts": list(parts()),
        "jws": [{"by": "alice", "typ": "less-sync-vector", "text": text} for text in jws_texts()],
        "jwe": [{"to": "bob", "text": text} for text in jwe_texts()],
        "ucans": list(ucan_texts()),
        "entries": list(entries()),
    }


def key_texts() -> list[str]:
    """Texts that are no key, or a damaged one."""
    line = FolderKey(SECRET).line()
    prefix, digits = line.split(":")
    return [
        "",
        digits,
        f"less-sync-key-2:{digits}",
        line[:-1],
        f"{line}A",
        f"{line}=",
        f"{prefix}:B{digits[1:]}",
        f"{prefix}: {digits}",
        f"{prefix}:{digits[:20]}\n{digits[20:]}",
    ]


def dids() -> Iterator[tuple[str, str]]:
    """DIDs of nobody, each with the first check of docs/tokens.md 5 that refuses it."""
    right = person("alice").did
    point = b"\x02" + bytes(31) + b"\x01"

    def of(data: bytes) -> str:
        number, text = int.from_bytes(data, "big"), ""
        while number:
            number, digit = divmod(number, 58)
            text = _ALPHABET[digit] + text
        return f"did:key:z{text}"

    yield "missing_prefix", ""
    yield "missing_prefix", "did:key:z"
    yield "missing_prefix", right.replace("did:key:z", "did:key:f")
    yield "input_too_long", "did:key:z" + "2" * 257
    yield "base58_decode", f"{right[:-1]}0"
    yield "base58_decode", f"{right} "
    yield "invalid_varint", of(b"\x80" * 11)
    yield "invalid_varint", of(b"\x80\x00" + point)
    yield "wrong_multicodec", of(b"\xed\x01" + bytes(32))
    yield "wrong_multicodec", "did:key:z1" + right.removeprefix("did:key:z")
    yield "wrong_point_length", of(b"\x80\x24" + point[:-1])
    yield "wrong_point_length", of(b"\x80\x24" + point + b"\x00")
    yield "invalid_point", of(b"\x80\x24" + b"\x05" + point[1:])
    yield "invalid_point", of(b"\x80\x24" + b"\x02" + b"\xff" * 32)
    yield "invalid_point", of(b"\x80\x24" + point)


def foreign() -> Iterator[tuple[str, bytes]]:
    """Plaintexts that are authentic, and of another format or kind."""
    told = {name: cbor2.loads(plain_bytes(says)) for name, says in plaintexts().items()}
    file, large, content = told["file"], told["large"], told["content"]
    empty: list[object] = []

    def without(members: dict[str, Any], name: str) -> dict[str, Any]:
        return {one: value for one, value in members.items() if one != name}

    yield "foreign_record", b""
    yield "foreign_record", b"\xff"
    yield "foreign_record", cbor2.dumps(file) + b"\x00"
    yield "foreign_record", cbor2.dumps(file) + bytes(200)
    # One more member than before, and its name is there already.
    yield "foreign_record", bytes((cbor2.dumps(file)[0] + 1,)) + cbor2.dumps(file)[1:] + b"\x61v\x02"
    # Indefinite lengths, and tags that some decoders read through: a bignum, "this is CBOR", a shared value.
    yield "foreign_record", b"\xbf" + cbor2.dumps(file)[1:] + b"\xff"
    yield "foreign_record", cbor2.dumps(file).replace(b"gversion\x01", b"gversion\xc2\x41\x01")
    yield "foreign_record", cbor2.dumps(file).replace(b"gversion\x01", b"gversion\xd9\xd9\xf7\x01")
    yield "foreign_record", b"\xd8\x1c" + cbor2.dumps(file)
    for value in (
        empty,
        without(file, "v"),
        file | {"v": 3},
        file | {"v": True},
        file | {"kind": 1},
        file | {"version": 0},
        file | {"version": 2**53},
        without(file, "path"),
        file | {"path": b"x"},
        file | {"content": "x"},
        file | {"mtime_ns": 2**62 + 1},
        file | {"extra": [[[[1]]]]},
        file | {"extra": [[[[]]]]},
        file | {"extra": 0.5},
        file | {"extra": {1: 1}},
        file | {7: 1},
        told["deleted"] | {"content": b"x"},
        large | {"size": -1},
        large | {"digest": bytes(31)},
        large | {"content": bytes(15)},
        content | {"part_bytes": 1024 * 1024 - 1},
        content | {"parts": []},
        content | {"parts": [PARTS[0].bytes, PARTS[1].bytes]},
        content | {"size": 2**20 + 1, "parts": [PARTS[0].bytes] * 2},
        told["format 1"] | {"mtime_ns": None},
    ):
        yield "foreign_record", cbor2.dumps(value)
    yield "other_kind", cbor2.dumps(file | {"kind": "symlink"})
    yield "other_kind", cbor2.dumps({"v": 2, "kind": "symlink"})


def records() -> Iterator[dict[str, Any]]:
    """Records of the personal space that do not open: altered, moved, of another key, version or epoch."""
    cipher = RecordCipher(FolderKey(SECRET), PERSONAL, random=Stream("refused"))
    elsewhere = RecordCipher(FolderKey(SECRET), SHARED, random=Stream("refused"))
    other_key = RecordCipher(FolderKey(bytes(32)), PERSONAL, random=Stream("refused"))
    record = cipher.record_id(PATHS[0])
    plain = plain_bytes(plaintexts()["file"])
    right = cipher.seal_plain(record, plain, 1)
    blob, dek = right.blob, right.dek
    damaged = blob[:-1] + bytes((blob[-1] ^ 1,))
    for name, one, wrapped in (
        ("altered", damaged, dek),
        ("cut short", blob[:28], dek),
        ("empty", b"", dek),
        ("of version 3", b"\x03" + blob[1:], dek),
        ("wrapped for another epoch", blob, bytes((0, 0, 0, 2)) + dek[4:]),
        ("wrapped key altered", blob, dek[:-1] + bytes((dek[-1] ^ 1,))),
        ("wrapped key cut short", blob, dek[:-8]),
        ("no wrapped key", blob, b""),
        ("another space", elsewhere.seal_plain(record, plain, 1).blob, dek),
        ("another key", *_both(other_key.seal_plain(record, plain, 1))),
        ("another record", *_both(cipher.seal_plain(cipher.record_id(PATHS[1]), plain, 1))),
    ):
        yield {"name": name, "id": str(record), "blob": one.hex(), "dek": wrapped.hex()}


def _both(sealed: Any) -> tuple[bytes, bytes]:
    return sealed.blob, sealed.dek


def parts() -> Iterator[dict[str, Any]]:
    """Part files of 9 bytes that do not open."""
    cipher = RecordCipher(FolderKey(SECRET), PERSONAL, random=Stream("refused part"))
    dek, nonce = cipher.new_dek(epoch=1), Stream("refused nonce")(7)

    def sealed(content: UUID, part: UUID) -> bytes:
        one = PartCipher(cipher.unwrap(dek), nonce, PartPlace(PERSONAL, content, part), 9)
        return header(nonce) + one.seal(0, b"less-sync")

    right = sealed(CONTENT, PARTS[0])
    for name, one in (
        ("altered", right[:-1] + bytes((right[-1] ^ 1,))),
        ("cut short", right[:-1]),
        ("no chunk", right[:8]),
        ("a byte too many", right + b"\x00"),
        ("of version 4", b"\x04" + right[1:]),
        ("another nonce", right[:1] + bytes(7) + right[8:]),
        ("another part", sealed(CONTENT, PARTS[1])),
        ("another content", sealed(PARTS[1], PARTS[0])),
    ):
        yield {"name": name, "part": str(PARTS[0]), "size": 9, "dek": dek.hex(), "sealed": one.hex()}


def signed(header_text: str | bytes, payload: str | bytes, by: str = "alice") -> str:
    """A compact JWS of any header and payload."""
    segments = (one.encode() if isinstance(one, str) else one for one in (header_text, payload))
    signing_input = ".".join(map(b64url_encode, segments))
    return f"{signing_input}.{sign_es256(PEOPLE[by], signing_input)}"


def jws_texts() -> Iterator[str]:
    """Texts that are no JWS of the kind `less-sync-vector` by Alice."""
    typ = '"typ":"less-sync-vector"'
    right = signed(f'{{"alg":"ES256",{typ}}}', "{}")
    head, payload, signature = right.split(".")
    yield from ("", "..", right + ".", f"{right}=", f" {right}", f"{head}.{payload}!.{signature}")
    yield f"{head}.{payload}.{signature[:-1]}"
    yield f"{head}.{b64url_encode(b'[]')}.{signature}"
    yield signed(f'{{"alg":"ES256",{typ}}}', "{}", by="bob")
    for header_text in (
        '{"alg":"ES256","typ":"less-sync-member"}',
        '{"alg":"ES256"}',
        f'{{"alg":"none",{typ}}}',
        f"{{{typ}}}",
        f'{{"alg":"ES256","typ":"other",{typ}}}',
        f'{{"alg":"ES256",{typ},"crit":["b64"],"b64":false}}',
        f'{{"alg":"ES256",{typ},"kid":"x"}}',
        f'\ufeff{{"alg":"ES256",{typ}}}',
        f'[{{"alg":"ES256",{typ}}}]',
    ):
        yield signed(header_text, "{}")


def jwe_texts() -> Iterator[str]:
    """Texts that are no JWE for Bob."""
    right = seal_fixed(person("bob").did, b"less-sync")
    head, _, iv, body, tag = right.split(".")
    yield from ("", "....", seal_fixed(person("alice").did, b"less-sync"))
    yield f"{head}.AAAA.{iv}.{body}.{tag}"
    yield f"{head}..{iv}.{body}.{tag[:-4]}"
    yield f"{head}..{iv[:-4]}.{body}.{tag}"
    yield f"{head}..{iv}.{body}A.{tag}"
    yield f"{head[:-4]}..{iv}.{body}.{tag}"


def entries() -> Iterator[dict[str, Any]]:
    """Rightly signed and sealed entries of a membership log that are read as none, but for the first."""
    told = {
        "v": "2",
        "kind": '"member"',
        "space": f'"{SHARED}"',
        "author": f'"{person("alice").did}"',
        "proof": '""',
        "at": str(NOW_S),
        "epoch": "1",
    }

    def sealed(text: str, typ: str = "less-sync-member") -> str:
        signed_text = signed(f'{{"alg":"ES256","typ":"{typ}"}}', text)
        iv = Stream(text)(12)
        aead = AESGCM(HKDF(SHA256(), 32, None, b"less-sync/space/v1/log").derive(EPOCH_KEYS[1]))
        ciphertext = aead.encrypt(iv, signed_text.encode(), str(SHARED).encode())
        return (b"\x01\x00\x00\x00\x01" + iv + ciphertext).hex()

    def text(others: dict[str, str], more: str = "") -> str:
        members = ",".join(f'"{name}":{value}' for name, value in (told | others).items())
        return f"{{{members}{more}}}"

    yield {"name": "right", "payload": sealed(text({}))}
    yield {"name": "shown, not written", "payload": sealed(text({}), "less-sync-presence")}
    yield {"name": "at twice", "payload": sealed(text({}, f',"at":{NOW_S}'))}
    yield {"name": "a name twice in keys", "payload": sealed(text({"keys": '{"a":"b","a":"b"}'}))}
    for name, value in (
        ("v", "3"),
        ("v", "2.0"),
        ("at", f"{NOW_S}.0"),
        ("at", "17e8"),
        ("at", "-1"),
        ("at", "-0"),
        ("at", str(2**53)),
        ("at", "null"),
        ("epoch", "-1"),
        ("epoch", str(2**53)),
        ("epoch", '"1"'),
        ("proof", "null"),
        ("cids", "null"),
        ("cids", "[1]"),
        ("keys", "[]"),
        ("space", '"5f0c8a52"'),
        ("author", f'"{person("bob").did}"'),
    ):
        yield {"name": f"{name} is {value}", "payload": sealed(text({name: value}))}


def ucan_texts() -> Iterator[dict[str, str]]:
    """Tokens, rightly signed unless their name says otherwise, of which something cannot be read."""
    claims = {
        "aud": f'["{person("bob").did}"]',
        "cmd": '"/space/read"',
        "exp": str(EXPIRES_S),
        "iss": f'"{encode_did_key(PEOPLE["alice"].public_key())}"',
        "nonce": '"AAAA"',
        "prf": "[]",
        "with": f'"space:{SHARED}"',
    }

    def text(others: dict[str, str], more: str = "", head: str = _HEADER) -> str:
        members = ",".join(f'"{name}":{value}' for name, value in (claims | others).items())
        return signed(head, f"{{{members}{more}}}")

    right = text({})
    yield {"name": "a segment more", "text": f"{right}.AAAA"}
    yield {"name": "padding", "text": f"{right}=="}
    yield {"name": "signed by another", "text": text({"iss": f'"{person("bob").did}"'})}
    for name, others in {
        "exp is a float": {"exp": "1800000000.0"},
        "exp has an exponent": {"exp": "18e8"},
        "exp is negative": {"exp": "-1"},
        "exp is beyond 64 bits": {"exp": str(2**64)},
        "exp is a text": {"exp": f'"{NOW_S}"'},
        "exp is true": {"exp": "true"},
        "aud holds a number": {"aud": "[1]"},
        "cmd is null": {"cmd": "null"},
        "prf is a text": {"prf": '"x"'},
        "prf is null": {"prf": "null"},
        "nonce is a lone surrogate": {"nonce": '"\\ud800"'},
        "iss is another kind of key": {"iss": '"did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"'},
    }.items():
        yield {"name": name, "text": text(others)}
    for name, more in {
        "a member twice": f',"exp":{EXPIRES_S}',
        "a member twice, escaped": f',"\\u0065xp":{EXPIRES_S}',
        "a member twice, deep inside": ',"fct":{"a":1,"a":1}',
        "no JSON": ',"fct":NaN',
        "too deep": f',"fct":{"[" * 128}{"]" * 128}',
    }.items():
        yield {"name": name, "text": text({}, more)}
    for name, head in {
        "another algorithm": '{"alg":"RS256","typ":"JWT"}',
        "an extension": '{"alg":"ES256","typ":"JWT","crit":["x"],"x":1}',
        "typ is a number": '{"alg":"ES256","typ":1}',
    }.items():
        yield {"name": name, "text": text({}, head=head)}
