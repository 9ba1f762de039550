"""Tokens of issuers with rules of their own: which claims count, derived identities (docs/tokens.md 4.6)."""

import hmac
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import pytest

from less_sync.auth import (
    ExpiredToken,
    Grant,
    Identity,
    InvalidToken,
    TokenCheck,
    TokenPolicy,
    granted_scopes,
    parse_token,
    parse_uuid,
    server_mailbox_id,
    verify_token,
)
from tests.auth.minting import NOW
from tests.auth.ruled import RuledIssuer

KEY = bytes(range(32))
DERIVED: dict[str, Any] = {"derived": True, "audiences": frozenset({"less-sync"}), "client_claim": "azp"}
ANY = TokenPolicy(mailbox_key=KEY)
HEADER = {"alg": "RS256", "kid": "1"}


def identify(issuer: RuledIssuer, token: str | None = None, policy: TokenPolicy = ANY) -> Identity:
    unverified = parse_token(issuer.mint() if token is None else token, issuer.trusted)
    return verify_token(unverified, issuer.public(), policy=policy, now=NOW)


def refusal(issuer: RuledIssuer, token: str, policy: TokenPolicy = ANY) -> TokenCheck:
    with pytest.raises(InvalidToken) as caught:
        identify(issuer, token, policy)
    return caught.value.check


def scopes(issuer: RuledIssuer, **claims: Any) -> frozenset[str]:
    return granted_scopes(identify(issuer, issuer.mint(**claims)).scope)


def test_the_issuer_is_compared_without_slashes_at_its_end_and_kept_as_it_came() -> None:
    issuer = RuledIssuer()
    for iss in (issuer.url, issuer.url + "/"):
        assert identify(issuer, issuer.mint(iss=iss)).issuer == iss


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_a_type_of_tokens_that_say_who_signs_in_is_accepted(typ: str | None) -> None:
    issuer = RuledIssuer()
    assert identify(issuer, issuer.mint(header={"typ": typ})).user_id == "user-1"


@pytest.mark.parametrize("typ", ["", "logout+jwt", "secevent+jwt", "dpop+jwt", "JWT ", "less-sync-did-proof"])
def test_another_type_is_refused(typ: str) -> None:
    issuer = RuledIssuer()
    assert refusal(issuer, issuer.mint(header={"typ": typ})) is TokenCheck.KIND


@pytest.mark.parametrize("events", [{}, {"http://schemas.openid.net/event/backchannel-logout": {}}, None])
def test_a_logout_token_is_refused(events: object) -> None:
    issuer = RuledIssuer()
    assert refusal(issuer, issuer.mint(events=events)) is TokenCheck.EVENTS


@pytest.mark.parametrize("claim", ["sub", "azp", "client_id"])
def test_nul_in_a_name_is_refused(claim: str) -> None:
    # `a NUL b` and `c` would make the same personal space as `a` and `b NUL c`.
    issuer = RuledIssuer(client_claim="azp" if claim != "client_id" else "client_id")
    assert refusal(issuer, issuer.sign(HEADER, issuer.claims(**{claim: "a\0b"}))) is TokenCheck.NUL


def test_the_client_is_the_claim_that_is_configured_or_the_fixed_one() -> None:
    assert identify(RuledIssuer()).client_id == "client-1"
    assert identify(RuledIssuer(client_claim="azp")).client_id == "app-1"
    fixed = RuledIssuer(client_fixed="mine")
    assert identify(fixed, fixed.mint(client_id=7, azp=None)).client_id == "mine"
    claimed = RuledIssuer(client_claim="azp")
    assert refusal(claimed, claimed.mint(azp="")) is TokenCheck.SUBJECT
    assert refusal(claimed, claimed.mint(azp=["app-1"])) is TokenCheck.CLAIM_TYPE
    assert identify(claimed, claimed.mint(client_id=7)).client_id == "app-1"


@pytest.mark.parametrize(
    ("claims", "granted"),
    [
        ({}, {"sync", "files"}),
        ({"scope": "openid"}, set()),
        ({"scope": ""}, set()),
        ({"scope": "SYNC files "}, {"files"}),
        ({"scope": "", "scp": ["sync", "email"]}, {"sync"}),
        ({"scope": "openid", "scp": "sync files"}, {"sync", "files"}),
        ({"scope": "sync", "scp": ["files"]}, {"sync", "files"}),
        ({"scope": "sync", "scp": None}, {"sync"}),
    ],
)
def test_scopes_come_in_scope_or_scp(claims: dict[str, Any], granted: set[str]) -> None:
    assert scopes(RuledIssuer(), **claims) == granted


@pytest.mark.parametrize("claims", [{"scope": ["sync"]}, {"scope": None}, {"scp": 1}, {"scp": ["sync", 1]}])
def test_scopes_of_another_type_are_refused(claims: dict[str, Any]) -> None:
    issuer = RuledIssuer()
    assert refusal(issuer, issuer.mint(**claims)) is TokenCheck.CLAIM_TYPE


def test_scopes_and_audiences_mean_what_the_table_says() -> None:
    renamed = RuledIssuer(sync=Grant(frozenset({"notes", "admin"})), files=Grant())
    assert scopes(renamed, scope="sync files") == frozenset()
    assert scopes(renamed, scope="admin files") == {"sync"}
    by_audience = RuledIssuer(sync=Grant(audiences=frozenset({"app"})), files=Grant(frozenset({"f"})))
    assert scopes(by_audience, scope="sync", aud="app") == {"sync"}
    assert scopes(by_audience, scope="sync", aud="other") == frozenset()
    assert scopes(by_audience, scope="f", aud=["app", "x"]) == {"sync", "files"}


def test_own_audiences_count_before_those_of_all_issuers() -> None:
    policy = TokenPolicy(audiences=frozenset({"general"}))
    plain = RuledIssuer()
    assert refusal(plain, plain.mint(), policy) is TokenCheck.AUDIENCE
    assert identify(plain, plain.mint(aud=["general"]), policy).user_id == "user-1"
    own = RuledIssuer(audiences=frozenset({"own"}))
    assert refusal(own, own.mint(aud="general"), policy) is TokenCheck.AUDIENCE
    assert identify(own, own.mint(aud="own"), policy).user_id == "user-1"


def test_times_are_checked_as_for_every_issuer() -> None:
    issuer = RuledIssuer()
    with pytest.raises(ExpiredToken):
        identify(issuer, issuer.mint(exp=NOW - 1))
    assert refusal(issuer, issuer.mint(nbf=NOW + 61)) is TokenCheck.NOT_YET
    assert refusal(issuer, issuer.mint(exp=None)) is TokenCheck.NO_EXPIRY


def test_claimed_identities_are_read_as_for_every_issuer() -> None:
    issuer = RuledIssuer()
    space = uuid5(uuid5(NAMESPACE_DNS, "betterbase.dev"), f"{issuer.url}\0user-1\0client-1")
    token = issuer.mint(personal_space_id=str(space), did="did:key:z", mailbox_id="box")
    identity = identify(issuer, token, TokenPolicy(personal_space_check="derive"))
    assert (identity.personal_space, identity.did, identity.mailbox) == (space, "did:key:z", "box")
    assert not identity.derived
    foreign = issuer.mint(personal_space_id="00000000-0000-4000-8000-000000000000")
    assert refusal(issuer, foreign, TokenPolicy(personal_space_check="derive")) is TokenCheck.PERSONAL_SPACE


def test_a_derived_identity_is_computed_from_issuer_subject_and_client() -> None:
    issuer = RuledIssuer(**DERIVED)
    identity = identify(issuer, issuer.mint(jti="t"))
    space = uuid5(uuid5(NAMESPACE_DNS, "betterbase.dev"), f"{issuer.url}\0user-1\0app-1")
    box = hmac.new(KEY, f"less-sync-mailbox-v1\0{issuer.url}\0user-1".encode(), "sha256").hexdigest()
    assert identity == Identity(
        issuer=issuer.url,
        user_id="user-1",
        client_id="app-1",
        personal_space_id=str(space),
        did="",
        mailbox_id=box,
        scope="sync files",
        expires_at=NOW + 900,
        token_id="t",
        personal_space=space,
        derived=True,
    )
    assert parse_uuid(identity.personal_space_id) == identity.personal_space


@pytest.mark.parametrize("value", ["00000000-0000-4000-8000-000000000000", "", None, 7, ["x"]])
def test_claims_that_people_can_edit_change_nothing_of_a_derived_identity(value: object) -> None:
    issuer = RuledIssuer(**DERIVED)
    edited = issuer.mint(personal_space_id=value, mailbox_id=value, did=value)
    policy = TokenPolicy(mailbox_key=KEY, personal_space_check="derive")
    assert identify(issuer, edited, policy) == identify(issuer)


def test_a_derived_identity_needs_its_audience() -> None:
    issuer = RuledIssuer(**DERIVED)
    wrong: tuple[object, ...] = ("other", [], None)
    for aud in wrong:
        assert refusal(issuer, issuer.mint(aud=aud)) is TokenCheck.AUDIENCE


def test_a_mailbox_is_no_name_of_the_table_of_limits_and_nobody_elses() -> None:
    box = server_mailbox_id(KEY, "https://a", "b")
    assert box != hmac.new(KEY, b"https://a\0b", "sha256").hexdigest()
    others = [server_mailbox_id(bytes(32), "https://a", "b"), server_mailbox_id(KEY, "https://a", "c")]
    others += [server_mailbox_id(KEY, "https://c", "b"), server_mailbox_id(KEY, "https://a/", "b")]
    assert len({box, *others}) == 5


def test_an_id_token_of_google_is_read_by_its_audience() -> None:
    google = RuledIssuer(
        url="https://accounts.google.com",
        client_claim="azp",
        audiences=frozenset({"123.apps.googleusercontent.com"}),
        sync=Grant(audiences=frozenset({"123.apps.googleusercontent.com"})),
        files=Grant(audiences=frozenset({"123.apps.googleusercontent.com"})),
        derived=True,
    )
    claims = {
        "iss": google.url,
        "azp": "123.apps.googleusercontent.com",
        "aud": "123.apps.googleusercontent.com",
        "sub": "110169484474386276334",
        "email": "alice@example.com",
        "email_verified": True,
        "nonce": "n",
        "iat": NOW,
        "exp": NOW + 3600,
    }
    identity = identify(google, google.sign(HEADER, claims))
    assert (identity.client_id, identity.scope) == ("123.apps.googleusercontent.com", "sync files")
