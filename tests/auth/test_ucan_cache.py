"""What verified UCANs cost: nothing twice, and a bounded amount once (docs/tokens.md 7.6)."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from less_sync.auth import (
    CHAIN_LINKS_MAX,
    InvalidUcan,
    Permission,
    Ucan,
    UcanCache,
    UcanError,
    check_chain,
    parse_chain,
    parse_ucan,
)
from tests.auth.minting import NOW, Person, chain_of, twin_of

SPACE = UUID("22222222-2222-2222-2222-222222222222")
PEOPLE = [Person() for _ in range(5)]
CHAIN = chain_of(PEOPLE, SPACE)
COMMANDS = [permission.command for permission in Permission]


class CountingParse:
    """Which texts were read."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> Ucan:
        self.texts.append(text)
        return parse_ucan(text)


def test_cached_token_is_verified_once() -> None:
    cache = UcanCache()
    token = cache.parse(CHAIN[0])
    assert token == parse_ucan(CHAIN[0])
    assert cache.parse(CHAIN[0]) is token
    assert cache.parse("".join(list(CHAIN[0]))) is token
    assert len(cache) == 1
    assert cache.parse(twin_of(CHAIN[0])) is not token
    assert len(cache) == 2


def test_chain_fills_the_cache_link_by_link() -> None:
    cache = UcanCache()
    cold = parse_chain(CHAIN[3], parse=cache.parse)
    warm = parse_chain(CHAIN[3], parse=cache.parse)
    assert len(cache) == 4
    assert all(one is other for one, other in zip(cold.links, warm.links, strict=True))


def test_refused_token_is_not_kept() -> None:
    cache = UcanCache()
    for _ in range(2):
        with pytest.raises(InvalidUcan):
            cache.parse(CHAIN[0][:-4] + "AAAA")
    assert len(cache) == 0


def test_cache_is_bounded_by_entries_and_forgets_the_least_used() -> None:
    cache = UcanCache(entries_max=2)
    first, second = cache.parse(CHAIN[0]), cache.parse(CHAIN[1])
    assert cache.parse(CHAIN[0]) is first
    cache.parse(CHAIN[2])
    assert len(cache) == 2
    assert cache.parse(CHAIN[0]) is first
    assert cache.parse(CHAIN[1]) is not second


def test_cache_is_bounded_by_the_characters_of_embedded_proofs() -> None:
    cache = UcanCache(chars_max=len(CHAIN[2]) + 10)
    cache.parse(CHAIN[3])
    cache.parse(CHAIN[1])
    assert len(cache) == 1
    cache.parse(CHAIN[0])
    assert len(cache) == 2
    small = UcanCache(chars_max=1)
    for text in CHAIN:
        assert small.parse(text) == parse_ucan(text)
    assert len(small) == 0


def test_chain_reads_each_text_once_and_at_most_nine() -> None:
    people = [Person() for _ in range(13)]
    tokens = chain_of(people, SPACE)
    for links, token in enumerate(tokens, start=1):
        parse = CountingParse()
        parse_chain(token, parse=parse)
        assert parse.texts == tokens[:links][::-1][: CHAIN_LINKS_MAX + 1]


def test_bytes_read_of_a_chain_are_a_fixed_multiple_of_its_length() -> None:
    # Base64 in base64: each link is three quarters of what embeds it at most, so all are four times the leaf.
    people = [Person() for _ in range(10)]
    for token in chain_of(people, SPACE):
        parse = CountingParse()
        parse_chain(token, parse=parse)
        assert sum(map(len, parse.texts)) <= 4 * len(token)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=4), st.sampled_from(Permission))
def test_no_chain_grants_more_than_any_of_its_links(commands: list[str], needed: Permission) -> None:
    people = PEOPLE[: len(commands) + 1]
    token = chain_of(people, SPACE, *commands)[-1]
    granted = [Permission.from_command(command) for command in commands]
    honest = granted == sorted(granted, reverse=True)
    try:
        check_chain(
            parse_chain(token),
            audience=people[-1].did,
            needed=needed,
            space_id=SPACE,
            root_public_key=people[0].compressed,
            revoked=frozenset(),
            now=NOW,
        )
    except UcanError:
        assert not honest or min(granted) < needed
    else:
        assert honest
        assert min(granted) >= needed


def _allowed(token: str) -> bool:
    try:
        check_chain(
            parse_chain(token),
            audience=PEOPLE[2].did,
            needed=Permission.READ,
            space_id=SPACE,
            root_public_key=PEOPLE[0].compressed,
            revoked=frozenset(),
            now=NOW,
        )
    except UcanError:
        return False
    return True


def test_no_flip_of_any_bit_of_a_valid_chain_is_accepted() -> None:
    token = CHAIN[1]
    assert _allowed(token)
    for position, character in enumerate(token):
        for bit in range(7):
            assert not _allowed(token[:position] + chr(ord(character) ^ 1 << bit) + token[position + 1 :])


@pytest.mark.parametrize("position", range(0, len(CHAIN[0]), 7))
def test_no_flip_inside_an_embedded_proof_is_accepted(position: int) -> None:
    proof = CHAIN[0]
    flipped = proof[:position] + chr(ord(proof[position]) ^ 1) + proof[position + 1 :]
    assert not _allowed(PEOPLE[1].grant(PEOPLE[2], SPACE, cmd="/space/read", prf=flipped))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.dictionaries(
    st.sampled_from(["iss", "aud", "exp", "nbf", "cmd", "with", "nonce", "prf"]), JSON, max_size=3
)


@given(MEMBERS, st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit"]), JSON, max_size=2))
def test_no_signed_members_raise_anything_but_ucan_errors(
    claims: dict[str, object], header: dict[str, object]
) -> None:
    giver, taker = PEOPLE[0], PEOPLE[2]
    token = giver.sign(giver.claims(taker, SPACE) | claims, header={"alg": "ES256"} | header)
    assert _allowed(token) in (True, False)


@given(st.text(max_size=60) | st.from_regex(r"[\w-]{0,20}\.[\w-]{0,20}\.[\w-]{0,20}"))
def test_no_text_raises_anything_but_ucan_errors(text: str) -> None:
    assert not _allowed(text)
