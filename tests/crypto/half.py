"""All that Python makes of the inputs: the half `python` of the vectors."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec

from less_sync.auth import (
    Permission,
    UcanError,
    check_chain,
    decode_did_key,
    make_did_proof,
    parse_chain,
    parse_ucan,
    ucan_cid,
)
from less_sync.auth.delegation import delegate
from less_sync.client.folder.crypto import RecordCipher, SharedCipher
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.shared import LogPlace, SharedSpace
from less_sync.client.folder.stream import PartCipher, PartPlace, header
from less_sync.client.sharing.bundle import make_bundle, sign
from less_sync.client.sharing.entries import (
    EPOCH,
    MEMBER,
    PLACED,
    REMOVED,
    Entry,
    key_check,
    next_digest,
    seal_entry,
    sealed_keys,
)
from less_sync.client.sharing.presence import Shown, seal_shown
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
    TOKEN,
    Stream,
    person,
    plain_bytes,
    plaintexts,
    seal_fixed,
)


def half() -> dict[str, Any]:
    """All that Python makes of the inputs."""
    key = FolderKey(SECRET)
    ciphers = {
        "personal": RecordCipher(key, PERSONAL, random=Stream("personal")),
        "shared": SharedCipher(
            {epoch: FolderKey(one) for epoch, one in EPOCH_KEYS.items()}, SHARED, random=Stream("shared")
        ),
    }
    tokens = ucans()
    return {
        "key_text": {"text": key.line(), "fingerprint": key.fingerprint},
        "record_ids": {
            name: {path: str(cipher.record_id(path)) for path in PATHS} for name, cipher in ciphers.items()
        },
        "records": [record for name, cipher in ciphers.items() for record in records(name, cipher)],
        "parts": list(parts(ciphers["personal"])),
        "jws": [
            {"by": "alice", "typ": "less-sync-vector", "payload": payload.hex(), "text": text}
            for payload in (b"", b'{"a":1}', bytes(range(256)))
            for text in [sign(payload, PEOPLE["alice"], kind="less-sync-vector")]
        ],
        "jwe": [
            {"to": "bob", "plain": plain.hex(), "text": seal_fixed(person("bob").did, plain)}
            for plain in (b"", b"less-sync")
        ],
        "ucans": tokens,
        "chains": list(chains(tokens)),
        "bundles": [bundle(tokens)],
        "log": list(log(tokens)),
        "presence": presence(),
        "did_proof": {
            "by": "alice",
            "token": TOKEN,
            "exp": EXPIRES_S,
            "text": make_did_proof(PEOPLE["alice"], TOKEN, EXPIRES_S),
        },
        "key_checks": {str(epoch): key_check(one) for epoch, one in EPOCH_KEYS.items()},
    }


def records(space: str, cipher: RecordCipher) -> Iterator[dict[str, Any]]:
    """A record of each kind, sealed; in a shared space under each epoch."""
    for name, says in plaintexts().items():
        for epoch in (1, 2):
            record = CONTENT if says.get("kind") == "content" else cipher.record_id(says["path"])
            # Nothing writes format 1 any more, so its plaintext is sealed as bytes.
            sealed = cipher.seal_plain(record, plain_bytes(says), epoch)
            yield {
                "space": space,
                "name": name,
                "id": str(record),
                "epoch": epoch,
                "key": cipher.unwrap(sealed.dek).hex(),
                "blob": sealed.blob.hex(),
                "dek": sealed.dek.hex(),
            }


def parts(cipher: RecordCipher) -> Iterator[dict[str, Any]]:
    """Part files: an empty one, one of a chunk, and one of two, of which only the hash is kept."""
    for plain, part in ((b"", PARTS[0]), (b"less-sync", PARTS[0]), (bytes(2**20 + 1), PARTS[1])):
        dek, nonce = cipher.new_dek(epoch=1), Stream(f"nonce {len(plain)}")(7)
        one = PartCipher(cipher.unwrap(dek), nonce, PartPlace(PERSONAL, CONTENT, part), len(plain))
        chunks = [plain[at : at + 2**20] for at in range(0, one.chunks * 2**20, 2**20)]
        sealed = header(nonce) + b"".join(one.seal(index, chunk) for index, chunk in enumerate(chunks))
        told = {"part": str(part), "dek": dek.hex(), "nonce": nonce.hex(), "size": len(plain)}
        digest = hashlib.sha256(sealed).hexdigest()
        if len(plain) > 2**20:
            yield told | {"plain": "zeros", "sha256": digest}
        else:
            yield told | {"plain": plain.hex(), "sealed": sealed.hex(), "sha256": digest}


def ucans() -> dict[str, dict[str, Any]]:
    """The creator's token, one made from it, and one made from that."""

    def made(by: str, to: str, permission: Permission, proof: str | None) -> dict[str, Any]:
        text = delegate(
            PEOPLE[by],
            audience=person(to).did,
            permission=permission,
            space_id=SHARED,
            expires_at=EXPIRES_S,
            nonce=Stream(f"ucan {by} {to}")(16),
            proof=proof,
        )
        told = {"by": by, "to": to, "permission": permission.name.lower(), "text": text}
        return told | {"cid": ucan_cid(text), "twin_cid": parse_ucan(text).twin_cid}

    creator = made("root", "alice", Permission.ADMIN, None)
    member = made("alice", "bob", Permission.WRITE, creator["text"])
    return {
        "creator": creator,
        "member": member,
        "back": made("bob", "alice", Permission.READ, member["text"]),
    }


def chains(tokens: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What each question about a chain is answered with."""
    right: dict[str, Any] = {
        "ucan": "member",
        "audience": person("bob").did,
        "needed": "write",
        "space": str(SHARED),
        "root": decode_did_key(person("root").did).compressed.hex(),
        "revoked": [],
        "now": NOW_S,
    }
    cases: dict[str, dict[str, Any]] = {
        "the member writes": {},
        "the creator administers": {"ucan": "creator", "audience": person("alice").did, "needed": "admin"},
        "three links": {"ucan": "back", "audience": person("alice").did, "needed": "read"},
        "in its last second": {"now": EXPIRES_S + 0.9},
        "somebody else": {"audience": person("alice").did},
        "more than granted": {"needed": "admin"},
        "another space": {"space": str(PERSONAL)},
        "after its end": {"now": EXPIRES_S + 1},
        "another root": {"root": decode_did_key(person("bob").did).compressed.hex()},
        "revoked": {"revoked": [tokens["member"]["cid"]]},
        "revoked by its twin": {"revoked": [tokens["member"]["twin_cid"]]},
        "its proof is revoked": {"revoked": [tokens["creator"]["cid"]]},
    }
    for name, other in cases.items():
        question = right | other
        yield {"name": name} | question | {"refused": verdict(tokens[question["ucan"]]["text"], question)}


def verdict(text: str, question: dict[str, Any]) -> dict[str, Any] | None:
    """Which check refuses a chain at which link, counted from 0; None if it grants what is asked."""
    try:
        check_chain(
            parse_chain(text),
            audience=question["audience"],
            needed=Permission[question["needed"].upper()],
            space_id=UUID(question["space"]),
            root_public_key=bytes.fromhex(question["root"]),
            revoked=question["revoked"],
            now=question["now"],
        )
    except UcanError as error:
        return {"code": code_of(error), "link": error.depth}
    return None


def shared_space(ucan: str) -> SharedSpace:
    """What the author of the bundle knows."""
    place = LogPlace(2, next_digest(next_digest(b"", bytes(32)), bytes(range(32))))
    return SharedSpace(space=SHARED, ucan=ucan, keys=EPOCH_KEYS, log=place, home="sync.example:8443")


def bundle(tokens: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What lets Bob in."""
    shared = shared_space(tokens["creator"]["text"])
    text = make_bundle(tokens["member"]["text"], shared, person("alice"), seal=seal_fixed)
    inner = {
        "space": str(SHARED),
        "cid": tokens["member"]["cid"],
        "keys": {str(epoch): key.hex() for epoch, key in EPOCH_KEYS.items()},
        "log": {"entries": shared.log.entries, "digest": shared.log.digest.hex()},
        "home": shared.home,
    }
    return {"to": "bob", "by": "alice", "ucan": tokens["member"]["text"], "inner": inner, "text": text}


def log(tokens: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A membership log: Bob is let in, a key is handed out, Bob is removed."""
    digest, stream = b"", Stream("log")
    creator, keys = tokens["creator"]["text"], {1: EPOCH_KEYS[1]}
    handed = sealed_keys(SHARED, 2, EPOCH_KEYS[2], [person("alice").did, person("bob").did], seal=seal_fixed)
    common = {"v": PLACED, "space": SHARED, "author": person("alice").did, "proof": creator}
    for kind, members in (
        (MEMBER, {"ucan": tokens["member"]["text"]}),
        (EPOCH, {"epoch": 2, "keys": handed, "check": key_check(EPOCH_KEYS[2])}),
        (REMOVED, {"epoch": 2, "cids": (tokens["member"]["cid"],)}),
    ):
        entry = Entry(**common, **members, kind=kind, at=NOW_S, after=digest.hex())
        payload = seal_entry(entry, person("alice"), keys, random=stream)
        digest = next_digest(digest, hashlib.sha256(payload).digest())
        says = json.loads(msgspec.json.encode(entry))
        yield {"epoch": 1, "payload": payload.hex(), "says": says, "digest": digest.hex()}


def presence() -> dict[str, Any]:
    """What Bob shows who is there."""
    shown = Shown(person("bob").did, NOW_S, "at the station")
    data = seal_shown(shown, person("bob"), SHARED, EPOCH_KEYS, random=Stream("presence"))
    return {"by": "bob", "says": json.loads(msgspec.json.encode(shown)), "epoch": 2, "data": data.hex()}


def code_of(error: Exception) -> str:
    """The name of an error as the vectors have it: `InvalidUcan` is `invalid_ucan`."""
    name = type(error).__name__
    return "".join(f"_{one.lower()}" if one.isupper() else one for one in name).lstrip("_")
