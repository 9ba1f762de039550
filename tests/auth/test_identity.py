"""Personal space ids and the identity's own rules (docs/tokens.md 2.1 and 2.3)."""

from uuid import NAMESPACE_DNS, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import PERSONAL_SPACE_ROOTS, Identity, derive_mailbox_id, personal_space_id
from tests.auth.vectors import auth_vectors

SPACE_ID = auth_vectors()["space_id"]
BRANDS = sorted(PERSONAL_SPACE_ROOTS)


@pytest.mark.parametrize("brand", BRANDS)
def test_namespace_is_the_version_5_uuid_of_the_brands_name(brand: str) -> None:
    vector = SPACE_ID["namespaces"][brand]
    root = PERSONAL_SPACE_ROOTS[brand]
    assert root == uuid5(NAMESPACE_DNS, vector["dns_name"])
    assert str(root) == vector["uuid"]
    assert root.version == 5


@pytest.mark.parametrize("brand", BRANDS)
@pytest.mark.parametrize("case", SPACE_ID["personal"], ids=lambda case: f"{case['issuer']} {case['user_id']}")
def test_personal_id_matches_the_vector(case: dict[str, str], brand: str) -> None:
    derived = personal_space_id(
        PERSONAL_SPACE_ROOTS[brand], case["issuer"], case["user_id"], case["client_id"]
    )
    assert str(derived) == case[brand]
    assert derived.version == 5


def test_personal_id_changes_with_each_input() -> None:
    less, betterbase = PERSONAL_SPACE_ROOTS["less"], PERSONAL_SPACE_ROOTS["betterbase"]
    base = personal_space_id(less, "i", "u", "c")
    assert base == personal_space_id(less, "i", "u", "c")
    others = {
        personal_space_id(betterbase, "i", "u", "c"),
        personal_space_id(less, "I", "u", "c"),
        personal_space_id(less, "i", "U", "c"),
        personal_space_id(less, "i", "u", "C"),
    }
    assert len(others | {base}) == 5


@given(
    st.text(alphabet="ab", max_size=4), st.text(alphabet="ab", max_size=4), st.text(alphabet="ab", max_size=4)
)
def test_separator_keeps_boundaries_apart(issuer: str, user: str, client: str) -> None:
    root = PERSONAL_SPACE_ROOTS["less"]
    shifted = personal_space_id(root, issuer + "x", user, client)
    assert shifted != personal_space_id(root, issuer, "x" + user, client)


def test_mailbox_falls_back_to_the_client() -> None:
    assert Identity(issuer="i", user_id="u", client_id="c").mailbox == "c"
    assert Identity(issuer="i", user_id="u", client_id="c", mailbox_id="m").mailbox == "m"


def test_identity_shows_nothing_of_itself() -> None:
    identity = Identity(
        issuer="secret-i", user_id="secret-u", client_id="secret-c", did="secret-d", mailbox_id="secret-m"
    )
    assert repr(identity) == "Identity()"


@pytest.mark.parametrize(
    "case", auth_vectors()["mailbox_id"], ids=lambda case: f"{case['brand']} {case['user_id']}"
)
def test_mailbox_id_matches_the_vector(case: dict[str, str]) -> None:
    key = bytes.fromhex(case["encryption_key_hex"])
    mailbox = derive_mailbox_id(case["brand"], key, issuer=case["issuer"], user_id=case["user_id"])
    assert mailbox == case["mailbox_id"]
