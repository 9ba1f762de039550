"""Made UCANs are held against the rules of those that check them."""

from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth import (
    AttenuationViolation,
    InvalidUcan,
    Permission,
    UcanError,
    check_chain,
    delegate,
    encode_did_key,
    parse_chain,
    parse_ucan,
)

NOW = 1_800_000_000


def key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


def did(owner: EllipticCurvePrivateKey) -> str:
    return encode_did_key(owner.public_key())


def root_key(owner: EllipticCurvePrivateKey) -> bytes:
    return owner.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def admits(token: str, owner: EllipticCurvePrivateKey, who: str, space: UUID, needed: Permission) -> bool:
    try:
        check_chain(
            parse_chain(token),
            audience=who,
            needed=needed,
            space_id=space,
            root_public_key=root_key(owner),
            revoked=(),
            now=NOW,
        )
    except UcanError:
        return False
    return True


def test_a_root_token_and_a_chain_of_delegations_open_the_space_to_their_audience_alone() -> None:
    space, owner, alice, bob = uuid4(), key(), key(), key()
    to_alice = delegate(
        owner,
        audience=did(alice),
        permission=Permission.ADMIN,
        space_id=space,
        expires_at=NOW + 100,
        nonce=bytes(16),
    )
    to_bob = delegate(
        alice,
        audience=did(bob),
        permission=Permission.WRITE,
        space_id=space,
        expires_at=NOW + 50,
        nonce=bytes(16),
        proof=to_alice,
    )
    assert admits(to_alice, owner, did(alice), space, Permission.ADMIN)
    assert admits(to_bob, owner, did(bob), space, Permission.WRITE)
    assert not admits(to_bob, owner, did(bob), space, Permission.ADMIN)
    assert not admits(to_bob, owner, did(alice), space, Permission.READ)
    assert not admits(to_bob, alice, did(bob), space, Permission.READ)
    assert not admits(to_bob, owner, did(bob), uuid4(), Permission.READ)


def test_a_delegation_never_outlives_its_proof() -> None:
    space, owner, alice = uuid4(), key(), key()
    parent = delegate(
        owner,
        audience=did(alice),
        permission=Permission.WRITE,
        space_id=space,
        expires_at=NOW + 10,
        nonce=bytes(16),
    )
    child = delegate(
        alice,
        audience=did(alice),
        permission=Permission.WRITE,
        space_id=space,
        expires_at=NOW + 1000,
        nonce=bytes(16),
        proof=parent,
    )
    assert parse_ucan(child).expires_at == NOW + 10
    assert admits(child, owner, did(alice), space, Permission.WRITE)


def test_granting_more_than_the_proof_is_signed_but_not_accepted() -> None:
    space, owner, alice = uuid4(), key(), key()
    reader = delegate(
        owner,
        audience=did(alice),
        permission=Permission.READ,
        space_id=space,
        expires_at=NOW + 10,
        nonce=bytes(16),
    )
    writer = delegate(
        alice,
        audience=did(alice),
        permission=Permission.WRITE,
        space_id=space,
        expires_at=NOW + 10,
        nonce=bytes(16),
        proof=reader,
    )
    with pytest.raises(AttenuationViolation):
        check_chain(
            parse_chain(writer),
            audience=did(alice),
            needed=Permission.READ,
            space_id=space,
            root_public_key=root_key(owner),
            revoked=(),
            now=NOW,
        )


def test_a_proof_that_is_no_ucan_is_refused() -> None:
    with pytest.raises(InvalidUcan):
        delegate(
            key(),
            audience="did:key:zsomebody",
            permission=Permission.READ,
            space_id=uuid4(),
            expires_at=NOW,
            nonce=bytes(16),
            proof="no token",
        )
