"""Python and JavaScript judge the same random mutants of signed and sealed texts, and agree on each."""

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from less_sync.auth import AuthError, decode_did_key, parse_ucan
from less_sync.client.folder.plaintext import ForeignRecord, PlainContent, decode
from less_sync.client.sharing.bundle import open_sealed, verified
from tests.crypto.half import code_of
from tests.crypto.inputs import EXPIRES_S, PEOPLE, jwk, person, plain_bytes, plaintexts, seal_fixed
from tests.crypto.refused import signed
from tests.node import NODE, environment

READER: Final = Path(__file__).with_name("crypto_mutants.js")
TEXT: Final = b'0123456789",:{}[]\\ue.-+ \n\ttrufalsn\x00\x1f\x7f'
BYTES: Final = bytes(range(256))
JWT: Final = b'{"alg":"ES256","typ":"JWT"}'
KIND: Final = "less-sync-vector"
LEFT_ALONE: Final = {"foreign_record", "other_kind"}
ALICE: Final = person("alice")


def mutant(rng: random.Random, data: bytes, alphabet: bytes) -> bytes:
    """Change, leave out, add or repeat a few bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at, other = rng.randrange(len(changed)), rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[at] = rng.choice(alphabet)
            case 1 if len(changed) > 1:
                del changed[at]
            case 2:
                changed.insert(at, rng.choice(alphabet))
            case _:
                changed[at:at] = changed[other : other + rng.randrange(12)]
    return bytes(changed)


def ucans(rng: random.Random) -> Iterator[str]:
    claims = {"aud": [ALICE.did], "cmd": "/space/read", "exp": EXPIRES_S, "nbf": 5, "iss": ALICE.did}
    more = {"nonce": "AA", "prf": ["x"], "with": "space:x", "fct": [{"a": [1, None, True, "\u00e4"]}]}
    payload = json.dumps(claims | more).encode()
    for _ in range(600):
        spoilt = rng.random() < 0.2
        header = mutant(rng, JWT, TEXT) if spoilt else JWT
        text = signed(header, payload if spoilt else mutant(rng, payload, TEXT))
        yield mutant(rng, text.encode(), TEXT).decode() if rng.random() < 0.15 else text


def asked(rng: random.Random) -> dict[str, Any]:
    """All mutants of a seed."""
    header = f'{{"alg":"ES256","typ":"{KIND}"}}'.encode()
    sealed = seal_fixed(ALICE.did, b"less-sync").encode()
    plain = [plain_bytes(says) for says in plaintexts().values()]
    return {
        "jwk": jwk(PEOPLE["alice"]),
        "ucans": list(ucans(rng)),
        "dids": [ALICE.did, *(mutant(rng, ALICE.did.encode(), TEXT).decode() for _ in range(600))],
        "jws": [signed(header, "{}"), *(signed(mutant(rng, header, TEXT), "{}") for _ in range(300))],
        "jwe": [sealed.decode(), *(mutant(rng, sealed, TEXT).decode() for _ in range(200))],
        "plaintexts": [mutant(rng, rng.choice(plain), BYTES).hex() for _ in range(1500)],
    }


def answer(read: Callable[[], object]) -> object:
    """What a reader finds, or the code of what it refuses with."""
    try:
        return read()
    except (AuthError, ForeignRecord) as error:
        return code_of(error)


def read_ucan(text: str) -> object:
    found = parse_ucan(text)
    times = [None if time is None else str(time) for time in (found.expires_at, found.not_before)]
    names = [found.cid, found.twin_cid, found.issuer, found.audience, found.command, found.resource]
    return [*names, found.nonce, *times, *found.proofs]


def read_did(did: str) -> str:
    try:
        return decode_did_key(did).compressed.hex()
    except AuthError:
        return "bad_did"  # JavaScript names no check: nobody there does another thing for it


def read_plain(digits: str) -> object:
    found = decode(bytes.fromhex(digits))
    return "content" if isinstance(found, PlainContent) else str(found.kind)


READERS: Final[dict[str, Callable[[str], object]]] = {
    "ucans": read_ucan,
    "dids": read_did,
    "jws": lambda text: verified(text, ALICE.did, kind=KIND) is not None,
    "jwe": lambda text: open_sealed(text, ALICE) is not None,
    "plaintexts": read_plain,
}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_python_and_javascript_agree_on_random_mutants(seed: int) -> None:
    question = asked(random.Random(seed))
    done = subprocess.run(
        [NODE, READER],
        input=json.dumps(question),
        env=environment(),
        text=True,
        check=True,
        capture_output=True,
        timeout=120,
    )
    theirs = json.loads(done.stdout)
    for name, read in READERS.items():
        ours = [answer(partial(read, one)) for one in question[name]]
        told = [pair for pair in zip(question[name], ours, theirs[name], strict=True) if not same(*pair[1:])]
        assert told == [], name
        assert len({str(one) for one in ours}) > 1, f"both verdicts are among those of {name}"


def same(ours: object, theirs: object) -> bool:
    """Whether two verdicts lead to the same: both of `LEFT_ALONE` mean that the record is left alone."""
    return ours == theirs or {str(ours), str(theirs)} <= LEFT_ALONE
