"""Random membership logs, good and hostile entries mixed, and all that this client reads of one as JSON.

Another client reads the same, so that the two can be held against each other.
"""

import hashlib
import json
import os
import time
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from less_sync.auth import (
    AuthError,
    InvalidUcan,
    Permission,
    b64url_decode,
    check_chain,
    delegate,
    parse_chain,
    parse_ucan,
    ucan_cid,
)
from less_sync.client.folder.errors import FolderError
from less_sync.client.folder.shared import LogPlace, SharedSpace
from less_sync.client.sharing.bundle import sign
from less_sync.client.sharing.entries import EPOCH, MEMBER, REMOVED, key_check, next_digest, sealed_keys
from less_sync.client.sharing.log import MemberLog, Reader
from less_sync.client.sharing.person import Person
from less_sync.sync.protocol.messages import MemberEntry
from tests.client.sharing.members import ROOT, ROOT_KEY, chained_payloads, jwk_of, new_person
from tests.client.sharing.odd_texts import odd_json, odd_key, odd_signed, sealed_text, twin

NOW_S: Final = int(time.time())
PEOPLE: Final = [new_person() for _ in range(5)]
"""Keys take time to make, and logs of different spaces do not mind that the same people are in them."""


@dataclass
class Making:
    """One log while it is made."""

    random: Random
    space: UUID = field(default_factory=uuid4)
    keys: dict[int, bytes] = field(default_factory=lambda: {1: os.urandom(32)})
    """Of all epochs that some entry was about; readers know some of them."""
    tokens: list[tuple[Person, str]] = field(default_factory=list)
    """Who holds which UCAN, good or not."""
    readable: list[tuple[Person, str]] = field(default_factory=list)
    """Those of them that can be read at all."""
    good: list[tuple[Person, str]] = field(default_factory=list)
    """Those that let their holders administer the space."""
    payloads: list[bytes] = field(default_factory=list)
    digest: bytes = b""

    def add(self, payload: bytes) -> None:
        self.payloads.append(payload)
        self.digest = next_digest(self.digest, hashlib.sha256(payload).digest())

    def token(self, issuer: Person, audience: Person, proof: str | None = None) -> str:
        """A UCAN, now and then one that is odd."""
        random = self.random
        permission = random.choice([*Permission, Permission.ADMIN, Permission.ADMIN])
        life_s = random.choice([-500, 0, 5_000, 10_000, 20_000, 20_000, 20_000])
        made = delegate(
            issuer.key,
            audience=audience.did,
            permission=permission,
            space_id=self.space,
            expires_at=NOW_S + life_s,
            nonce=os.urandom(16),
            proof=proof,
        )
        if random.random() < 0.15:
            made = self.odd_token(made, issuer)
        self.tokens.append((audience, made))
        with suppress(InvalidUcan):
            parse_ucan(made)
            self.readable.append((audience, made))
        if self.is_good(audience, made):
            self.good.append((audience, made))
        return made

    def is_good(self, holder: Person, token: str) -> bool:
        """Whether a token lets its holder write any entry, as long as nobody revokes it."""
        try:
            check_chain(
                parse_chain(token),
                audience=holder.did,
                needed=Permission.ADMIN,
                space_id=self.space,
                root_public_key=ROOT_KEY,
                revoked=frozenset(),
                now=NOW_S,
            )
        except AuthError:
            return False
        return True

    def odd_token(self, made: str, issuer: Person) -> str:
        """The same with another claim, or another text for it."""
        random = self.random
        body = made.split(".")[1]
        claims = json.loads(b64url_decode(body))
        odd: dict[str, list[Any]] = {
            "exp": [2**60, 2**53, 2**64, None, 1e3, "1"],
            "nbf": [NOW_S + 100, NOW_S, 2**63],
            "aud": [[], "", claims["aud"][0], [*claims["aud"], 1], [*claims["aud"], "x"]],
            "cmd": ["/space/other", "/space/admin"],
            "prf": [claims["prf"] * 2, None, ["x"], "x"],
            "nonce": [""],
            "with": [f"space:{uuid4()}", f"space:{str(self.space).upper()}"],
            "twin": [None],
        }
        name = random.choice(list(odd))
        if name == "twin":
            return twin(made)
        claims[name] = random.choice(odd[name])
        return sign(json.dumps(claims).encode(), issuer.key, kind="JWT")

    def any_token(self) -> tuple[Person, str]:
        return self.random.choice(self.tokens if self.random.random() < 0.25 else self.good)

    def any_proof(self) -> tuple[Person, str]:
        """What another token can be made from."""
        return self.random.choice(self.readable if self.random.random() < 0.3 else self.good)

    def any_text(self) -> str:
        """A CID, or what is none."""
        kind, token = self.random.random(), self.any_token()[1]
        if kind < 0.7:
            return ucan_cid(token)
        return ucan_cid(twin(token)) if kind < 0.9 else self.random.choice(["", "é", "00"])


def entry(making: Making) -> tuple[Person, dict[str, Any]]:
    """The members of an entry that could count, and its author."""
    random = making.random
    author, proof = making.any_token()
    kind = random.choice([MEMBER, MEMBER, REMOVED, EPOCH, EPOCH])
    version = 1 if random.random() < (0.3 if len(making.payloads) < 3 else 0.1) else 2
    at = NOW_S + random.choice([-5_000, 0, 0, 0, 0, 0, 10, 60, 6_000, 15_000])
    made: dict[str, Any] = {"kind": kind, "space": str(making.space), "author": author.did, "proof": proof}
    made |= {"at": at} | ({"v": 2, "after": making.digest.hex()} if version == 2 else {})
    match kind:
        case "member":
            issuer, own = making.any_proof()
            made["ucan"] = making.token(issuer, random.choice(PEOPLE), own)
        case "removed":
            made |= {"cids": [making.any_text() for _ in range(random.randint(0, 2))]}
            made |= {"epoch": random.randint(0, 4)}
        case _:
            made |= keys_of(making)
    return author, made


def keys_of(making: Making) -> dict[str, Any]:
    """Members of an entry about an epoch: perhaps another key than it says, or that of an earlier entry."""
    random, epoch = making.random, making.random.randint(1, 4)
    if epoch not in making.keys or random.random() < 0.3:
        making.keys[epoch] = os.urandom(32)
    key = making.keys[epoch]
    told = key if random.random() < 0.8 else os.urandom(32)
    dids = [one.did for one in random.sample(PEOPLE, 3)]
    sealed = sealed_keys(making.space, epoch, told, dids)
    if random.random() < 0.3:
        sealed[dids[0]] = odd_key(random, making.space, epoch, key, dids[0])
    return {"epoch": epoch, "keys": sealed, "check": key_check(key)}


def sealed(making: Making, signed: str) -> bytes:
    """The payload of a row, under a key that readers may or may not have."""
    random = making.random
    epoch, version = random.choice([1, 1, 1, *making.keys]), random.choice([1] * 30 + [2])
    return sealed_text(signed, making.space, epoch, making.keys[epoch], version=version)


@dataclass(frozen=True)
class Log:
    """Rows as a server shows them, to a reader who knows `shared`."""

    shared: SharedSpace
    person: Person
    rows: list[MemberEntry]

    def as_json(self) -> str:
        """What the other client reads it from."""
        rows = [
            (
                row.chain_seq,
                *(b64encode(one).decode() for one in (row.prev_hash, row.entry_hash, row.payload)),
            )
            for row in self.rows
        ]
        jwk = jwk_of(self.person)
        state = json.loads(msgspec.json.encode(self.shared))
        return json.dumps({"state": state, "jwk": jwk, "rows": rows, "version": len(rows), "now": NOW_S})

    def read(self) -> dict[str, Any]:
        """What this client makes of it."""
        try:
            return told(Reader(self.shared, self.person).read(self.rows, len(self.rows)))
        except FolderError as error:
            return {"refused": "log_broken" if "tampered" in str(error) else "log_not_continued"}


def told(log: MemberLog) -> dict[str, Any]:
    """All that was read of a log, as JSON."""
    return {
        "version": log.version,
        "last_hash": log.last_hash.hex(),
        "place": [log.place.entries, log.place.digest.hex()],
        "members": [
            [
                one.did,
                one.permission.name.lower(),
                str(one.expires_at),
                [[token.cid, token.permission.name.lower(), sorted(token.chain)] for token in one.tokens],
            ]
            for one in log.members.values()
        ],
        "gone": sorted(log.gone),
        "revoked": sorted(log.revoked),
        "shown": {did: sorted(cids) for did, cids in log.shown.items()},
        "epochs": {str(epoch): [one.v, one.author, one.check, one.keys] for epoch, one in log.epochs.items()},
        "spent": {str(epoch): log.is_spent(one, NOW_S) for epoch, one in log.epochs.items()},
        "keys": {str(epoch): b64encode(key).decode() for epoch, key in log.keys.items()},
        "begun": log.begun,
        "passed_over": log.passed_over,
    }


def random_log(seed: int, *, entries_max: int = 14) -> Log:
    """The log of one seed: its course is the seed's, its keys and ids are new each time."""
    making = Making(Random(seed))
    random = making.random
    root_token = delegate(
        ROOT.key,
        audience=PEOPLE[0].did,
        permission=Permission.ADMIN,
        space_id=making.space,
        expires_at=NOW_S + 30_000,
        nonce=os.urandom(16),
    )
    making.tokens.append((PEOPLE[0], root_token))
    making.readable.append((PEOPLE[0], root_token))
    making.good.append((PEOPLE[0], root_token))
    for _ in range(6):
        issuer, own = making.any_proof()
        making.token(issuer, random.choice(PEOPLE), own)
    places = [LogPlace()]
    for number in range(1, random.randint(1, entries_max) + 1):
        making.add(random_payload(making))
        places.append(LogPlace(number, making.digest))
    return seen(making, places, root_token)


def random_payload(making: Making) -> bytes:
    random = making.random
    author, made = entry(making)
    payload = json.dumps(made).encode()
    kind = random.random()
    if kind < 0.12:
        payload = odd_json(random, made)
    signed = sign(payload, author.key, kind="less-sync-member")
    if 0.12 <= kind < 0.2:
        signed = odd_signed(random, payload, author)
    if kind > 0.97:
        return random.choice([os.urandom(200), b"", bytes(17), random.choice([b"x", *making.payloads])])
    return sealed(making, signed)


def seen(making: Making, places: list[LogPlace], root_token: str) -> Log:
    """The log as a server shows it to somebody: perhaps changed, or to who has read some before."""
    random = making.random
    person, ucan = random.choice([(PEOPLE[0], root_token), random.choice(making.readable)])
    known = {epoch: key for epoch, key in making.keys.items() if epoch == 1 or random.random() < 0.3}
    place = random.choice(places) if random.random() < 0.3 else LogPlace()
    rows = chained_payloads(*making.payloads)
    match random.randint(0, 24):
        case 0:
            rows = rows[:-1]
        case 1:
            rows[-1] = msgspec.structs.replace(rows[-1], prev_hash=os.urandom(32))
        case 2:
            rows[-1] = msgspec.structs.replace(rows[-1], payload=rows[-1].payload + b"x")
        case 3:
            rows = chained_payloads(*making.payloads[1:])
    return Log(SharedSpace(space=making.space, ucan=ucan, keys=known, log=place), person, rows)
