"""Strict base64url, JSON, UUID text and scopes (docs/tokens.md 1.1, 1.2, 1.3 and 2.2)."""

import json
import string
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import (
    MalformedText,
    b64url_decode,
    b64url_encode,
    granted_scopes,
    parse_json_object,
    parse_uuid,
)
from less_sync.auth.encoding import JSON_DEPTH_MAX, int_member, split_white_space, text_member, texts_member
from tests.auth.vectors import auth_vectors

BASE64URL = auth_vectors()["base64url_no_pad"]
UUID_TEXT = auth_vectors()["uuid_text"]


@pytest.mark.parametrize("case", BASE64URL["accept"], ids=lambda case: case["text"])
def test_base64url_of_the_vectors_decodes_and_encodes(case: dict[str, str]) -> None:
    assert b64url_decode(case["text"]).hex() == case["bytes_hex"]
    assert b64url_encode(bytes.fromhex(case["bytes_hex"])) == case["text"]


@pytest.mark.parametrize("case", BASE64URL["reject"], ids=lambda case: case["why"])
def test_base64url_with_a_second_reading_is_refused(case: dict[str, str]) -> None:
    with pytest.raises(MalformedText):
        b64url_decode(case["text"])


@pytest.mark.parametrize("text", ["AA\u00e9", "\ud800", "=", "====", "AA=", "\uff21\uff21"])
def test_base64url_beyond_ascii_or_of_padding_alone_is_refused(text: str) -> None:
    with pytest.raises(MalformedText):
        b64url_decode(text)


@given(st.text(alphabet="ABQgw-_+/=\n z9", max_size=12))
def test_base64url_is_decided_by_alphabet_length_and_unused_bits(text: str) -> None:
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    # What the last character must be a multiple of; a remainder of one character is never right.
    step = {0: 1, 1: 64, 2: 16, 3: 4}[len(text) % 4]
    inside = set(text) <= set(alphabet)
    if not text or (inside and len(text) % 4 != 1 and alphabet.index(text[-1]) % step == 0):
        assert b64url_encode(b64url_decode(text)) == text
    else:
        with pytest.raises(MalformedText):
            b64url_decode(text)


@given(st.binary(max_size=200))
def test_base64url_round_trips(data: bytes) -> None:
    assert b64url_decode(b64url_encode(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"1",
        b"null",
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"a":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32-be"),
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":1}x',
        b'{"a":1',
        b"{'a':1}",
        b'{"a":01}',
    ],
)
def test_json_that_is_not_one_strict_object_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedText):
        parse_json_object(data)


def test_json_may_nest_to_the_limit_and_not_beyond() -> None:
    inner = JSON_DEPTH_MAX - 1
    deepest = b'{"a":' + b"[" * inner + b"]" * inner + b"}"
    assert set(parse_json_object(deepest)) == {"a"}
    with pytest.raises(MalformedText):
        parse_json_object(b'{"a":' + b"[" * (inner + 1) + b"]" * (inner + 1) + b"}")


def test_json_nested_beyond_the_decoders_own_recursion_is_refused() -> None:
    with pytest.raises(MalformedText):
        parse_json_object(b'{"a":' * 100_000)


def test_json_brackets_inside_strings_and_siblings_are_no_nesting() -> None:
    document = {"a": '[{"' * 200 + "\\", "b": [[] for _ in range(300)]}
    assert parse_json_object(json.dumps(document).encode()) == document


def test_json_string_that_never_ends_among_many_brackets_is_refused() -> None:
    with pytest.raises(MalformedText):
        parse_json_object(b'{"a":"' + b"[" * 200 + b"\\")


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("18446744073709551615", 2**64 - 1), ("1767225600", 1_767_225_600)]
)
def test_integer_members_hold_64_bits(text: str, value: int) -> None:
    assert int_member(parse_json_object(f'{{"n":{text}}}'.encode()), "n") == value


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551616",
        "-1",
        "-0",
        "1.0",
        "1e3",
        "true",
        "false",
        '"1"',
        "[]",
        "{}",
        "9" * 5000,
        "-" + "9" * 5000,
    ],
)
def test_other_numbers_are_no_integer_members(text: str) -> None:
    members = parse_json_object(f'{{"n":{text}}}'.encode())
    with pytest.raises(MalformedText):
        int_member(members, "n")


def test_integer_member_may_be_absent_or_null() -> None:
    assert int_member({}, "n") is None
    assert int_member({"n": None}, "n") is None


def test_string_member_may_be_absent_but_not_null() -> None:
    assert text_member({}, "s") == ""
    assert text_member({"s": "gr\u00fcn"}, "s") == "gr\u00fcn"
    for value in (None, 1, ["x"], "\ud800"):
        with pytest.raises(MalformedText):
            text_member({"s": value}, "s")


def test_string_or_array_member_reads_as_a_list() -> None:
    assert texts_member({}, "s") == texts_member({"s": None}, "s") == texts_member({"s": []}, "s") == []
    assert texts_member({"s": "a"}, "s") == ["a"]
    assert texts_member({"s": ["a", "b"]}, "s") == ["a", "b"]
    for value in (1, True, {"a": 1}, ["a", 1], ["a", None], ["\udfff"]):
        with pytest.raises(MalformedText):
            texts_member({"s": value}, "s")


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_malformed_text(data: bytes) -> None:
    with suppress(MalformedText):
        assert isinstance(parse_json_object(data), dict)


@pytest.mark.parametrize("case", UUID_TEXT["accept"], ids=lambda case: case["text"])
def test_uuid_spellings_of_the_vectors_are_read(case: dict[str, str]) -> None:
    assert parse_uuid(case["text"]) == UUID(case["uuid"])


@pytest.mark.parametrize("text", UUID_TEXT["reject"])
def test_other_uuid_spellings_are_refused(text: str) -> None:
    assert parse_uuid(text) is None


@given(st.uuids())
def test_every_uuid_is_read_in_all_four_spellings(value: UUID) -> None:
    for text in (str(value), value.hex, f"{{{value}}}", value.urn, str(value).upper()):
        assert parse_uuid(text) == value


@given(st.text(max_size=50))
def test_no_text_makes_the_uuid_reader_raise(text: str) -> None:
    assert parse_uuid(text) is None or len(text) in (32, 36, 38, 45)


@pytest.mark.parametrize("case", auth_vectors()["jwt"]["scope"], ids=lambda case: repr(case["scope"]))
def test_scopes_of_the_vectors_are_granted_as_stated(case: dict[str, object]) -> None:
    assert (case["required"] in granted_scopes(str(case["scope"]))) is case["granted"]


def test_white_space_is_that_of_unicode() -> None:
    white = "".join(chr(c) for c in range(0x11000) if chr(c).isspace() and not 0x1C <= c <= 0x1F)
    assert len(white) == 25
    assert split_white_space(f"a{white}b") == ["a", "b"]
    assert split_white_space("a\x1c\x1d\x1e\x1f\u200bb\ufeff") == ["a\x1c\x1d\x1e\x1f\u200bb\ufeff"]
