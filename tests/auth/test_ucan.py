"""UCANs, one by one and in chains (docs/tokens.md 7)."""

from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from less_sync.auth import (
    CHAIN_LINKS_MAX,
    UCAN_CHARS_MAX,
    AttenuationViolation,
    ChainTooDeep,
    IdentityMismatch,
    InvalidUcan,
    Permission,
    ResourceMismatch,
    RootMismatch,
    Ucan,
    UcanCache,
    UcanChain,
    UcanError,
    UcanExpired,
    UcanRevoked,
    b64url_decode,
    b64url_encode,
    check_chain,
    parse_chain,
    parse_ucan,
    ucan_cid,
)
from less_sync.auth import errors as auth_errors
from tests.auth.minting import NOW, Person, chain_of, twin_of, without
from tests.auth.vectors import auth_vectors, names

UCAN = auth_vectors()["ucan"]
SPACE = UUID("11111111-1111-1111-1111-111111111111")
OTHER_SPACE = UUID("22222222-2222-2222-2222-222222222222")
OWNER, ALICE, BOB = Person(), Person(), Person()
ROOT_TOKEN = OWNER.grant(ALICE, SPACE, cmd="/space/admin")
LEAF = ALICE.grant(BOB, SPACE, prf=ROOT_TOKEN)


def allow(
    chain: UcanChain | str,
    *,
    audience: str = BOB.did,
    needed: Permission = Permission.WRITE,
    space: UUID = SPACE,
    root: bytes = OWNER.compressed,
    revoked: frozenset[str] = frozenset(),
    now: float = NOW,
) -> None:
    check_chain(
        parse_chain(chain) if isinstance(chain, str) else chain,
        audience=audience,
        needed=needed,
        space_id=space,
        root_public_key=root,
        revoked=revoked,
        now=now,
    )


def refused(kind: type[UcanError], chain: UcanChain | str, *, depth: int = 0, **options: Any) -> None:
    with pytest.raises(UcanError) as caught:
        allow(chain, **options)
    assert type(caught.value) is kind
    assert caught.value.depth == depth
    assert caught.value.reason


@pytest.mark.parametrize("case", UCAN["chains"], ids=names(UCAN["chains"]))
def test_chain_of_the_vectors_is_judged_as_stated(case: dict[str, Any]) -> None:
    def judge() -> None:
        check_chain(
            parse_chain(case["token"], parse=cache.parse),
            audience=case["expected_audience"],
            needed=Permission[case["required_permission"].upper()],
            space_id=UUID(case["space_id"]),
            root_public_key=bytes.fromhex(case["root_public_key_hex"]),
            revoked=frozenset(case["revoked_cids"]),
            now=case["now"],
        )

    cache = UcanCache()
    for _ in ("cold", "warm"):
        if case["expect"] == "ok":
            judge()
            continue
        with pytest.raises(UcanError) as caught:
            judge()
        kind = case["expect"]["error"]
        assert type(caught.value) is getattr(auth_errors, kind)
        assert str(caught.value) == UCAN["errors"][kind]


@pytest.mark.parametrize("case", UCAN["cid"], ids=lambda case: case["cid"])
def test_cid_of_the_vectors_is_the_hash_of_the_text(case: dict[str, str]) -> None:
    assert ucan_cid(case["token"]) == case["cid"]


@pytest.mark.parametrize("case", UCAN["s_twin"], ids=lambda _: "twin")
def test_twin_of_the_vectors_names_the_same_token(case: dict[str, str]) -> None:
    token, twin = parse_ucan(case["token"]), parse_ucan(case["twin"])
    assert twin_of(case["token"]) == case["twin"]
    assert token.cids == twin.cids[::-1]
    assert token.cid == ucan_cid(case["token"])
    assert token.twin_cid == ucan_cid(case["twin"])


def test_every_error_of_the_vectors_has_its_text() -> None:
    # Who cannot read revocations has no chain to check here: storage says so before.
    own = {kind: text for kind, text in UCAN["errors"].items() if kind != "RevocationCheckFailed"}
    for kind, text in own.items():
        assert str(getattr(auth_errors, kind)()) == text


def test_token_parses_to_what_it_says() -> None:
    token = parse_ucan(LEAF)
    assert (token.issuer, token.issuer_key, token.audience) == (ALICE.did, ALICE.compressed, BOB.did)
    assert (token.command, token.resource, token.nonce) == ("/space/write", f"space:{SPACE}", True)
    assert (token.expires_at, token.not_before, token.proofs) == (NOW + 3600, None, (ROOT_TOKEN,))


def test_chain_lists_both_names_of_each_link() -> None:
    chain = parse_chain(LEAF)
    assert chain.cids == tuple(map(ucan_cid, (LEAF, twin_of(LEAF), ROOT_TOKEN, twin_of(ROOT_TOKEN))))
    assert chain.leaf == parse_ucan(LEAF)


def test_delegation_from_the_owner_is_accepted() -> None:
    allow(ROOT_TOKEN, audience=ALICE.did, needed=Permission.ADMIN)
    allow(LEAF)
    allow(LEAF, needed=Permission.READ)


def test_eight_links_pass_and_the_ninth_does_not() -> None:
    people = [Person() for _ in range(11)]
    tokens = chain_of(people, SPACE)
    root = people[0].compressed
    for links in (1, 3, 8):
        chain = parse_chain(tokens[links - 1])
        assert len(chain.cids) == 2 * links
        allow(chain, audience=people[links].did, root=root, needed=Permission.ADMIN)
    for links in (9, 10):
        chain = parse_chain(tokens[links - 1])
        assert len(chain.links) == CHAIN_LINKS_MAX + 1
        assert len(chain.cids) == 2 * CHAIN_LINKS_MAX
        refused(ChainTooDeep, chain, audience=people[links].did, root=root, depth=8)


def test_proof_of_the_eighth_link_is_still_matched() -> None:
    people = [Person() for _ in range(9)]
    stranger = OWNER.grant(ALICE, SPACE, cmd="/space/admin")
    tokens = [stranger]
    for giver, taker in pairwise(people):
        tokens.append(giver.grant(taker, SPACE, cmd="/space/admin", prf=tokens[-1]))
    refused(IdentityMismatch, tokens[8], audience=people[8].did, depth=7)


@pytest.mark.parametrize(
    ("proof", "leaf"),
    [("/space/read", "/space/write"), ("/space/write", "/space/admin"), ("/space/read", "/space/admin")],
)
def test_link_that_grants_more_than_its_proof_is_refused(proof: str, leaf: str) -> None:
    tokens = chain_of([OWNER, ALICE, BOB], SPACE, proof, leaf)
    refused(AttenuationViolation, tokens[-1], needed=Permission.READ)


def test_link_that_grants_less_than_is_needed_is_refused() -> None:
    refused(AttenuationViolation, LEAF, needed=Permission.ADMIN)
    tokens = chain_of([OWNER, ALICE, BOB], SPACE, "/space/read", "/space/read")
    refused(AttenuationViolation, tokens[-1])


def test_audience_is_the_first_named() -> None:
    audience: Any
    for audience in (BOB.did, [BOB.did], [BOB.did, ALICE.did]):
        allow(OWNER.grant(BOB, SPACE, aud=audience))
    for audience in ([ALICE.did, BOB.did], [], None, "", BOB.did + " "):
        refused(IdentityMismatch, OWNER.grant(BOB, SPACE, aud=audience))
    refused(IdentityMismatch, LEAF, audience=ALICE.did)
    refused(IdentityMismatch, LEAF, audience="")


def test_proof_given_to_somebody_else_is_no_proof() -> None:
    audience: Any
    for audience in (BOB.did, None, []):
        stolen = OWNER.grant(BOB, SPACE, cmd="/space/admin", aud=audience)
        refused(IdentityMismatch, ALICE.grant(BOB, SPACE, prf=stolen))


@pytest.mark.parametrize(
    "resource",
    [
        "",
        str(SPACE),
        f"space:{SPACE}/",
        "space:*",
        f"SPACE:{SPACE}",
        f"space:{OTHER_SPACE}",
        f"space:{SPACE.hex}",
    ],
)
def test_link_about_something_else_is_refused(resource: str) -> None:
    refused(ResourceMismatch, OWNER.grant(BOB, SPACE, **{"with": resource}))
    proof = OWNER.grant(ALICE, SPACE, **{"with": resource})
    refused(ResourceMismatch, ALICE.grant(BOB, SPACE, prf=proof), depth=1)


def test_resource_is_compared_with_the_lower_case_id() -> None:
    space = UUID("ABCDEFAB-0000-4000-8000-ABCDEFABCDEF")
    allow(OWNER.grant(BOB, space), space=space)
    refused(ResourceMismatch, OWNER.grant(BOB, space, **{"with": f"space:{str(space).upper()}"}), space=space)


def test_token_is_good_from_nbf_through_the_whole_second_of_exp() -> None:
    token = OWNER.grant(BOB, SPACE, nbf=NOW, exp=NOW)
    allow(token, now=NOW)
    allow(token, now=NOW + 0.999)
    refused(UcanExpired, token, now=NOW + 1)
    refused(InvalidUcan, token, now=NOW - 0.001)
    allow(OWNER.grant(BOB, SPACE, exp=2**64 - 1, nbf=None))


def test_expiry_must_be_there_in_every_link() -> None:
    refused(InvalidUcan, OWNER.grant(BOB, SPACE, exp=None))
    endless = OWNER.grant(ALICE, SPACE, exp=None)
    refused(InvalidUcan, ALICE.grant(BOB, SPACE, prf=endless), depth=1)
    # The leaf's own fault is found first, so that both ends of the comparison may be open.
    refused(InvalidUcan, ALICE.grant(BOB, SPACE, prf=ROOT_TOKEN, exp=None))


def test_link_does_not_outlive_its_proof() -> None:
    allow(ALICE.grant(BOB, SPACE, prf=ROOT_TOKEN, exp=NOW + 3600))
    refused(AttenuationViolation, ALICE.grant(BOB, SPACE, prf=ROOT_TOKEN, exp=NOW + 3601))


def test_expired_proof_ends_the_chain() -> None:
    old = OWNER.grant(ALICE, SPACE, cmd="/space/admin", exp=NOW - 1)
    refused(UcanExpired, ALICE.grant(BOB, SPACE, prf=old, exp=NOW - 1))
    refused(AttenuationViolation, ALICE.grant(BOB, SPACE, prf=old))


@pytest.mark.parametrize("command", ["", "/space/*", "/space/write/", "/SPACE/WRITE"])
def test_unknown_command_is_invalid_anywhere(command: str) -> None:
    refused(InvalidUcan, OWNER.grant(BOB, SPACE, cmd=command))
    proof = OWNER.grant(ALICE, SPACE, cmd=command)
    refused(InvalidUcan, ALICE.grant(BOB, SPACE, prf=proof), depth=1)


def test_nonce_must_not_be_empty() -> None:
    for claims in (OWNER.claims(BOB, SPACE, nonce=""), without(OWNER.claims(BOB, SPACE), "nonce")):
        refused(InvalidUcan, OWNER.sign(claims))


def test_chain_must_begin_at_the_root_key() -> None:
    refused(RootMismatch, LEAF, root=ALICE.compressed, depth=1)
    refused(RootMismatch, ALICE.grant(BOB, SPACE))
    for root in (b"", OWNER.compressed[1:], OWNER.compressed + b"\0", b"\x02" * 33):
        refused(RootMismatch, LEAF, root=root, depth=1)


@pytest.mark.parametrize(
    "proofs", [[""], ["x.y.z"], [ucan_cid(ROOT_TOKEN)], [ROOT_TOKEN + "A"], [ROOT_TOKEN[:-1]]]
)
def test_proof_that_cannot_be_read_is_invalid(proofs: list[str]) -> None:
    refused(InvalidUcan, ALICE.sign(ALICE.claims(BOB, SPACE, prf=proofs)))


def test_more_than_one_proof_is_invalid_and_none_is_read() -> None:
    parsed: list[str] = []

    def parse(text: str) -> Ucan:
        parsed.append(text)
        return parse_ucan(text)

    two = ALICE.sign(ALICE.claims(BOB, SPACE, prf=[ROOT_TOKEN, ROOT_TOKEN]))
    refused(InvalidUcan, parse_chain(two, parse=parse))
    assert parsed == [two]


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("present_twin", [False, True])
@pytest.mark.parametrize("revoke_twin", [False, True])
def test_revoked_link_ends_the_chain_under_both_its_names(
    victim: int, present_twin: bool, revoke_twin: bool
) -> None:
    proof = twin_of(ROOT_TOKEN) if present_twin else ROOT_TOKEN
    leaf = ALICE.grant(BOB, SPACE, prf=proof)
    leaf = twin_of(leaf) if present_twin else leaf
    target = (leaf, proof)[victim]
    revoked = ucan_cid(twin_of(target) if revoke_twin else target)
    allow(leaf)
    refused(UcanRevoked, leaf, revoked=frozenset([revoked]), depth=victim)
    allow(leaf, revoked=frozenset([revoked.upper(), ucan_cid("another")]))


@pytest.mark.parametrize(
    "claim",
    [{name: value} for name in ("iss", "cmd", "with", "nonce") for value in (None, 1, ["x"], "\ud800")],
    ids=repr,
)
def test_string_claim_of_another_type_is_invalid(claim: dict[str, object]) -> None:
    refused(InvalidUcan, OWNER.sign(OWNER.claims(BOB, SPACE) | claim))


@pytest.mark.parametrize(
    "claim",
    [
        {"aud": 1},
        {"aud": [BOB.did, 1]},
        {"aud": {}},
        {"exp": "1"},
        {"exp": 1.0},
        {"exp": True},
        {"exp": -1},
        {"exp": 2**64},
        {"nbf": "1"},
        {"nbf": False},
        {"prf": None},
        {"prf": "x"},
        {"prf": {}},
        {"prf": [1]},
        {"prf": [ROOT_TOKEN, None]},
    ],
    ids=lambda claim: repr(claim).replace(BOB.did, "bob")[:40],
)
def test_other_claim_of_another_type_is_invalid(claim: dict[str, object]) -> None:
    refused(InvalidUcan, OWNER.sign(OWNER.claims(BOB, SPACE) | claim))


def test_issuer_must_be_a_p256_did_key() -> None:
    for issuer in (
        "",
        "did:web:example.com",
        BOB.did[:-1],
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
    ):
        refused(InvalidUcan, OWNER.sign(OWNER.claims(BOB, SPACE, iss=issuer)))
    refused(InvalidUcan, OWNER.sign(OWNER.claims(BOB, SPACE, iss=ALICE.did)))
    refused(InvalidUcan, OWNER.sign(without(OWNER.claims(BOB, SPACE), "iss")))


WRONG_TEXTS: list[object] = [1, [], "\ud800"]


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "es256"},
        {"alg": "ES256", "crit": []},
        *({"alg": "ES256", name: value} for name in ("typ", "kid") for value in WRONG_TEXTS),
    ],
    ids=repr,
)
def test_header_that_is_not_plain_es256_is_invalid(header: dict[str, object]) -> None:
    refused(InvalidUcan, OWNER.sign(OWNER.claims(BOB, SPACE), header=header))


@pytest.mark.parametrize(
    "header", [{"alg": "ES256"}, {"alg": "ES256", "typ": None, "kid": "k", "x": 1}], ids=repr
)
def test_type_and_key_id_of_the_header_do_not_matter(header: dict[str, object]) -> None:
    allow(OWNER.sign(OWNER.claims(BOB, SPACE), header=header))


@pytest.mark.parametrize("segment", [0, 1, 2])
@pytest.mark.parametrize("spoil", ["{}=", "{}\n", " {}", "{}!", "A{}", ""])
def test_no_segment_has_a_second_text(segment: int, spoil: str) -> None:
    segments = LEAF.split(".")
    segments[segment] = spoil.format(segments[segment])
    refused(InvalidUcan, ".".join(segments))


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b", "a.b.c.d", "\ud800.\ud800.\ud800", "\u00e9.\u00e9.\u00e9"]
)
def test_text_that_is_no_token_is_invalid(text: str) -> None:
    for parse in (parse_ucan, UcanCache().parse):
        with pytest.raises(InvalidUcan):
            parse(text)


def test_longest_token_passes_and_one_character_more_does_not() -> None:
    filler = UCAN_CHARS_MAX * 3 // 4 - 600
    token = OWNER.grant(BOB, SPACE, x="y" * filler)
    while len(token) < UCAN_CHARS_MAX:
        filler += 1
        token = OWNER.grant(BOB, SPACE, x="y" * filler)
    assert len(token) == UCAN_CHARS_MAX
    allow(token)
    longer = OWNER.grant(BOB, SPACE, x="y" * (filler + 1))
    for parse in (parse_ucan, UcanCache().parse):
        with pytest.raises(InvalidUcan):
            parse(longer)


def test_signature_of_any_other_shape_is_invalid() -> None:
    head, _, segment = ROOT_TOKEN.rpartition(".")
    raw = b64url_decode(segment)
    for wrong in (
        b"",
        raw[:63],
        raw + b"\0",
        bytes(64),
        raw[:32] + bytes(32),
        bytes(32) + raw[32:],
        raw[::-1],
    ):
        refused(InvalidUcan, f"{head}.{b64url_encode(wrong)}", audience=ALICE.did)


def test_reprs_show_nothing_of_the_token() -> None:
    chain = parse_chain(LEAF)
    shown = repr(chain)
    for secret in (LEAF, ROOT_TOKEN, ALICE.did, BOB.did, str(SPACE), chain.leaf.cid):
        assert secret not in shown
