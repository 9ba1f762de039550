"""A chain in words: what each link grants, and which one refuses."""

from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)

from less_sync.auth import Permission, delegate, encode_did_key, parse_chain, parse_ucan
from less_sync.client.sharing.explain import Evidence, Explanation, explain, space_of

SPACE = UUID("3c36a3a8-6a0c-4d5c-9ab3-6a1f34a40f0e")
NOW_S = 1_800_000_000
ROOT, ALICE, BOB = (generate_private_key(SECP256R1()) for _ in range(3))


def did(key: EllipticCurvePrivateKey) -> str:
    return encode_did_key(key.public_key())


def token(
    issuer: EllipticCurvePrivateKey,
    audience: EllipticCurvePrivateKey,
    permission: Permission,
    proof: str | None = None,
    *,
    life_s: int = 1000,
) -> str:
    return delegate(
        issuer,
        audience=did(audience),
        permission=permission,
        space_id=SPACE,
        expires_at=NOW_S + life_s,
        nonce=bytes(16),
        proof=proof,
    )


ADMIN = token(ROOT, ALICE, Permission.ADMIN)
WRITE = token(ALICE, BOB, Permission.WRITE, ADMIN)
KNOWN = Evidence(True, parse_ucan(ADMIN).issuer_key, frozenset())


def ask(
    text: str, needed: Permission | None = None, evidence: Evidence | None = KNOWN, now_s: float = NOW_S
) -> Explanation:
    return explain(text, space=SPACE, needed=needed, audience=None, evidence=evidence, now_s=now_s)


def test_a_good_chain_is_told_link_by_link() -> None:
    answer = ask(WRITE)
    assert (answer.allowed, answer.unchecked, answer.audience, answer.needed) == (True, (), did(BOB), "write")
    assert [(link.number, link.grants, link.issuer, link.audience) for link in answer.links] == [
        (1, "write", did(ALICE), did(BOB)),
        (2, "admin", did(ROOT), did(ALICE)),
    ]
    words = answer.words()
    assert "link 2: the root key" in words
    assert words.endswith("\nyes")
    assert WRITE not in words


def told(
    reason: str, text: str = WRITE, evidence: Evidence = KNOWN, now_s: float = NOW_S
) -> tuple[object, ...]:
    return text, evidence, now_s, reason


def revoked(position: int) -> Evidence:
    return Evidence(True, KNOWN.root_public_key, frozenset([parse_chain(WRITE).cids[position]]))


@pytest.mark.parametrize(
    ("text", "evidence", "now_s", "reason"),
    [
        told("link 2: is revoked", evidence=revoked(2)),
        told("link 1: is revoked", evidence=revoked(1)),  # by its twin
        told("link 1: has expired", now_s=NOW_S + 1001),
        told(
            "link 2: not issued by the key the space was created with",
            evidence=Evidence(True, bytes(33), frozenset()),
        ),
        told("the space is a personal one", evidence=Evidence(True, None, frozenset())),
        told("there is no such space", evidence=Evidence(False, None, frozenset())),
        told("link 1: the proof was given to somebody else", token(BOB, ALICE, Permission.READ, ADMIN)),
        told("link 1: grants more than its proof", token(BOB, BOB, Permission.ADMIN, WRITE)),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_a_refusal_names_the_link_and_the_reason(
    text: str, evidence: Evidence, now_s: float, reason: str
) -> None:
    answer = ask(text, evidence=evidence, now_s=now_s)
    assert (answer.allowed, answer.reason) == (False, reason)
    assert answer.words().endswith(f"\nno: {reason}")


def test_without_a_database_the_answer_says_what_it_leaves_open() -> None:
    answer = ask(WRITE, evidence=None)
    assert answer.allowed
    assert [link.revoked for link in answer.links] == [None, None]
    assert len(answer.unchecked) == 2
    assert answer.words().endswith("yes, as far as could be checked")
    assert not ask(WRITE, Permission.ADMIN, evidence=None).allowed


def test_a_token_about_another_space_and_one_that_cannot_be_read() -> None:
    other = explain(WRITE, space=UUID(int=7), needed=None, audience=None, evidence=None, now_s=NOW_S)
    assert (other.allowed, other.reason) == (False, "link 1: about another space")
    assert "link 1 is about" in other.words()
    assert space_of(WRITE) == SPACE
    broken = ask(WRITE[:-4])
    assert (broken.allowed, broken.links) == (False, ())
    assert "cannot be read" in broken.words()
