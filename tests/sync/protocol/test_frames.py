"""Frames in and out: every row of docs/protocol.md 2.2 and 3.4, both directions, any bytes."""

from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from cbor2 import CBORTag, dumps, undefined
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.protocol.codes import (
    EMPTY_AUTH,
    EMPTY_FRAME,
    EMPTY_TOKEN,
    FIRST_FRAME_NOT_AUTH,
    INVALID_AUTH,
    INVALID_FRAME,
    REQUEST_ID_TOO_LONG,
    Close,
    ErrorCode,
)
from less_sync.sync.protocol.errors import RemoteProtocolError
from less_sync.sync.protocol.frames import (
    AUTH_ITEMS_MAX,
    AUTH_ITEMS_USUAL,
    KEEPALIVE,
    Chunk,
    FrameBounds,
    Notification,
    Request,
    Response,
    RpcError,
    decode_auth,
    decode_frame,
    decode_server_frame,
    encode_chunk,
    encode_decoded,
    encode_error,
    encode_notification,
    encode_pushed,
    encode_request,
    encode_response,
)
from less_sync.sync.protocol.messages import AuthParams, Empty, PushResult
from less_sync.sync.protocol.scanner import DEPTH_MAX, ODD_FRAME_ITEMS_MAX, REFUSED
from tests.sync.protocol.cbor_examples import anything, nested, odd, plain

HEADERS: dict[Any, Any] = {"type": 0, "id": "1", "method": "x"}


def close_of(data: bytes) -> Close:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_frame(data)
    return caught.value.close


def outcome_of(decode: Callable[[bytes], object], data: bytes) -> object:
    """What `decode` returns, or the close it asks for."""
    try:
        return decode(data)
    except RemoteProtocolError as error:
        return error.close


@pytest.mark.parametrize("kind", [1, 3, 4, 99, -1, -(2**31), 2**31 - 1])
def test_frames_of_other_types_are_ignored(kind: int) -> None:
    assert decode_frame(dumps({**HEADERS, "type": kind})) is None


def test_keepalive_is_ignored_and_exactly_one_byte() -> None:
    assert decode_frame(KEEPALIVE) is None
    assert close_of(KEEPALIVE + b"\x00") == INVALID_FRAME
    assert close_of(b"") == EMPTY_FRAME


def test_missing_id_and_method_are_empty_and_missing_params_are_none() -> None:
    assert decode_frame(dumps({"type": 0})) == Request("", "", None)
    assert decode_frame(dumps({"type": 2})) == Notification("", None)
    assert decode_frame(dumps({**HEADERS, "params": {"a": 1}})) == Request("1", "x", {"a": 1})


@pytest.mark.parametrize("key", ["type", "id", "method"])
@pytest.mark.parametrize(
    "odd",
    [None, undefined, True, 1.0, b"1", [], {}, CBORTag(999, "x"), CBORTag(999, 0), CBORTag(64, b"1")],
)
def test_a_header_of_another_type_closes(key: str, odd: object) -> None:
    assert close_of(dumps({**HEADERS, key: odd})) == INVALID_FRAME


@pytest.mark.parametrize("kind", [2**31, -(2**31) - 1, 2**64 - 1, "0"])
def test_a_type_beyond_32_bits_closes(kind: object) -> None:
    assert close_of(dumps({**HEADERS, "type": kind})) == INVALID_FRAME


@pytest.mark.parametrize("key", [1, b"x", None, 1.5, (1, 2), CBORTag(999, "k"), CBORTag(64, b"k")])
def test_a_frame_key_that_is_no_text_closes(key: object) -> None:
    assert close_of(b"\xa4" + dumps(HEADERS)[1:] + dumps(key) + b"\x00") == INVALID_FRAME


@pytest.mark.parametrize(
    "odd",
    [{1: 2}, {b"k": 1}, CBORTag(0, "no date"), CBORTag(2, b"\xff"), CBORTag(28, []), 1.5, undefined, [None]],
)
def test_an_unknown_key_may_hold_anything(odd: object) -> None:
    for place in ({"before": odd, **HEADERS}, {**HEADERS, "after": odd}):
        assert decode_frame(dumps({**place, "params": {}})) == Request("1", "x", {})


def test_odd_params_reach_the_caller_as_something_no_type_accepts() -> None:
    for value in (CBORTag(24, b""), {1: 2}):
        assert decode_frame(dumps({**HEADERS, "params": value})) == Request("1", "x", REFUSED)
    twice = dumps("params") + dumps({})
    assert decode_frame(b"\xa5" + dumps(HEADERS)[1:] + twice + twice) == Request("1", "x", REFUSED)


TAGGED: Any = CBORTag(64, b"blob")


@pytest.mark.parametrize("more", [{}, {"odd": {1: 2}}], ids=["fast", "scanned"])
def test_bytes_may_stand_in_tag_64_in_params_and_the_tag_is_gone(more: dict[Any, Any]) -> None:
    frame = decode_frame(dumps({**HEADERS, **more, "params": {"a": [TAGGED, {"b": TAGGED}], "c": TAGGED}}))
    assert frame == Request("1", "x", {"a": [b"blob", {"b": b"blob"}], "c": b"blob"})
    answer = decode_server_frame(dumps({"type": 1, "id": "1", **more, "result": {"a": TAGGED}}))
    assert answer == Response("1", {"a": b"blob"})


@pytest.mark.parametrize(
    "odd", [CBORTag(64, "text"), CBORTag(64, TAGGED), CBORTag(2, TAGGED), CBORTag(64, 1)]
)
def test_tag_64_around_anything_else_is_a_tag_like_any_other(odd: object) -> None:
    assert decode_frame(dumps({**HEADERS, "params": odd})) == Request("1", "x", REFUSED)
    mixed = {"a": TAGGED, "b": odd}
    assert decode_frame(dumps({**HEADERS, "params": mixed})) == Request(
        "1", "x", {"a": b"blob", "b": REFUSED}
    )


def test_a_frame_in_a_tag_is_none() -> None:
    for tag in (64, 55799):
        assert close_of(dumps(CBORTag(tag, HEADERS))) == INVALID_FRAME
        assert close_of(dumps(CBORTag(tag, dumps(HEADERS)))) == INVALID_FRAME


def test_frames_full_of_tagged_bytes_take_the_fast_decoder() -> None:
    """More of them than the scanner looks at, so only the fast one can have read them."""
    blobs = [CBORTag(64, number.to_bytes(8, "big")) for number in range(ODD_FRAME_ITEMS_MAX)]
    for _ in range(2):  # the second frame may get the memory of the first
        frame = decode_frame(dumps({**HEADERS, "params": blobs}))
        assert isinstance(frame, Request)
        assert frame.params == [tagged.value for tagged in blobs]


def test_bytes_after_the_frame_are_ignored() -> None:
    assert decode_frame(dumps(HEADERS) + b"\xff\xff") == Request("1", "x", None)


def test_nesting_is_accepted_to_the_limit() -> None:
    frame = b"\xa4" + dumps(HEADERS)[1:] + dumps("params")
    assert isinstance(decode_frame(frame + nested(DEPTH_MAX - 1)), Request)
    assert close_of(frame + nested(DEPTH_MAX)) == INVALID_FRAME
    assert isinstance(decode_frame(frame + nested(2), FrameBounds(depth=3)), Request)
    with pytest.raises(RemoteProtocolError):
        decode_frame(frame + nested(3), FrameBounds(depth=3))


@pytest.mark.parametrize("letter", ["i", "é", "😀"])
def test_a_request_id_is_bounded_in_bytes(letter: str) -> None:
    longest = letter * (256 // len(letter.encode()))
    assert decode_frame(dumps({**HEADERS, "id": longest})) == Request(longest, "x", None)
    assert close_of(dumps({**HEADERS, "id": longest + "i"})) == REQUEST_ID_TOO_LONG
    assert decode_frame(dumps({**HEADERS, "type": 1, "id": longest + "i"})) is None


def test_colliding_keys_are_read_without_hashing_them() -> None:
    keys = b"".join(
        b"\x81\x1b" + (factor * (2**61 - 1) % 2**64).to_bytes(8, "big") + b"\x00" for factor in range(2000)
    )
    frame = b"\xa4" + dumps(HEADERS)[1:] + dumps("params") + b"\xbf" + keys + b"\xff"
    assert decode_frame(frame) == Request("1", "x", REFUSED)


@given(anything)
def test_any_message_is_a_frame_nothing_or_a_close(data: bytes) -> None:
    for message in (data, b"\xa4" + dumps(HEADERS)[1:] + dumps("params") + data, b"\xbf" + data + b"\xff"):
        for decode in (decode_frame, decode_server_frame):
            outcome = outcome_of(decode, message)
            if isinstance(outcome, Close):
                assert outcome in (EMPTY_FRAME, INVALID_FRAME, REQUEST_ID_TOO_LONG)
            else:
                assert outcome is None or isinstance(outcome, Request | Response | Chunk | Notification)


# The first message.

AUTH: dict[Any, Any] = {"type": 2, "method": "auth", "params": {"token": "t"}}


@pytest.mark.parametrize(
    ("data", "close"),
    [
        (b"", EMPTY_AUTH),
        (KEEPALIVE, INVALID_AUTH),
        (b"\xff\xff\xff", INVALID_AUTH),
        (b"\xa5", INVALID_AUTH),
        (dumps([]), INVALID_AUTH),
        (dumps({**AUTH, "type": 2.0}), INVALID_AUTH),
        (dumps({**AUTH, "type": True}), INVALID_AUTH),
        (dumps({**AUTH, "type": 2**31}), INVALID_AUTH),
        (dumps({**AUTH, "method": b"auth"}), INVALID_AUTH),
        (dumps({"type": 2, "method": "auth"}), INVALID_AUTH),
        (dumps({"type": 2, "params": {"token": "t"}}), INVALID_AUTH),
        (dumps({"method": "auth", "params": {"token": "t"}}), INVALID_AUTH),
        (dumps({**AUTH, "params": {}}), INVALID_AUTH),
        (dumps({**AUTH, "params": []}), INVALID_AUTH),
        (dumps({**AUTH, "params": {"token": None}}), INVALID_AUTH),
        (dumps({**AUTH, "params": {"token": b"t"}}), INVALID_AUTH),
        (dumps({**AUTH, "params": {"token": CBORTag(999, "t")}}), INVALID_AUTH),
        (dumps({**AUTH, "x": [0] * AUTH_ITEMS_MAX}), INVALID_AUTH),
        (dumps({**AUTH, "type": 0}), FIRST_FRAME_NOT_AUTH),
        (dumps({**AUTH, "method": "hello"}), FIRST_FRAME_NOT_AUTH),
        (dumps({**AUTH, "method": "hello", "params": {"token": ""}}), FIRST_FRAME_NOT_AUTH),
        (dumps({**AUTH, "params": {"token": ""}}), EMPTY_TOKEN),
    ],
)
def test_a_first_message_that_is_no_auth_closes_with_its_reason(data: bytes, close: Close) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_auth(data)
    assert caught.value.close == close
    assert str(caught.value) == f"close 4000: {close.reason}"


def test_an_auth_frame_gives_its_token() -> None:
    token = "t" * 5000
    for extra in ({}, {"id": 7}, {"x": CBORTag(0, {1: 2})}):
        shown = decode_auth(dumps({**AUTH, **extra, "params": {"token": token, "y": 1.5}}) + b"\xff")
        assert shown == AuthParams(token, did_proof="")


def test_an_auth_frame_may_bring_a_did_proof() -> None:
    for proof in ("", "p" * 4096):
        data = dumps({**AUTH, "params": {"token": "t", "did_proof": proof}})
        assert decode_auth(data) == AuthParams("t", proof)
    assert decode_auth(dumps({**AUTH, "params": {"token": "t", "did_proof": None}})) == AuthParams("t", "")
    with pytest.raises(RemoteProtocolError) as caught:
        decode_auth(dumps({**AUTH, "params": {"token": "t", "did_proof": b"p"}}))
    assert caught.value.close == INVALID_AUTH


TEXTS = st.text(max_size=3) | st.sampled_from(["token", "did_proof"])
FIRST_MESSAGES = st.fixed_dictionaries(
    {
        "type": st.just(2) | plain,
        "method": st.just("auth") | plain,
        "params": st.dictionaries(TEXTS, TEXTS | plain) | plain,
    },
    optional={"id": plain, "more": odd},
)


@given(FIRST_MESSAGES)
def test_a_usual_first_message_means_what_the_scanner_says(message: dict[str, Any]) -> None:
    data = dumps(message)
    # What follows the map has no meaning, but so many bytes more leave it to the scanner.
    scanned = data + bytes(AUTH_ITEMS_USUAL + 1)
    assert outcome_of(decode_auth, data) == outcome_of(decode_auth, scanned)


@given(anything)
def test_any_first_message_gives_a_token_or_closes_with_4000(data: bytes) -> None:
    for message in (data, b"\xa3" + dumps({"type": 2, "method": "auth"})[1:] + dumps("params") + data):
        outcome = outcome_of(decode_auth, message)
        if isinstance(outcome, Close):
            assert outcome.code == 4000
        else:
            assert isinstance(outcome, str)
            assert outcome


# What a server sends.


def test_server_frames_are_told_apart() -> None:
    assert decode_server_frame(KEEPALIVE) is None
    assert decode_server_frame(encode_request("1", "x", {})) is None
    assert decode_server_frame(dumps({"type": 9})) is None
    assert decode_server_frame(encode_response("1", PushResult(True, 3))) == Response(
        "1", {"ok": True, "cursor": 3}
    )
    assert decode_server_frame(encode_error("1", ErrorCode.CONFLICT, "m")) == Response(
        "1", error=RpcError("conflict", "m")
    )
    assert decode_server_frame(encode_chunk("1", "n", Empty())) == Chunk("1", "n", {})
    assert decode_server_frame(encode_notification("sync", {"a": b"b"})) == Notification("sync", {"a": b"b"})


@pytest.mark.parametrize(
    "frame",
    [
        {"type": 1, "id": "1"},
        {"type": 1, "id": "1", "error": None},
        {"type": 1, "id": "1", "error": {"message": "m"}},
        {"type": 3, "id": "1", "data": {}},
        {"type": 3, "id": "1", "name": 1, "data": {}},
        {"type": "1"},
    ],
)
def test_a_server_frame_without_an_outcome_or_a_name_is_invalid(frame: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_server_frame(dumps(frame))
    assert caught.value.close == INVALID_FRAME


# Encoders.

ids = st.text(max_size=300)


@given(ids, ids, ids)
def test_frames_are_those_of_a_generic_encoder(request_id: str, one: str, other: str) -> None:
    body = {"b": [one, {"a": 1}], "a": b"x"}
    assert encode_error(request_id, one, other) == dumps(
        {"type": 1, "id": request_id, "error": {"code": one, "message": other}}
    )
    assert encode_response(request_id, body) == dumps({"type": 1, "id": request_id, "result": body})
    assert encode_chunk(request_id, one, body) == dumps(
        {"type": 3, "id": request_id, "name": one, "data": body}
    )
    assert encode_notification(one, body) == dumps({"type": 2, "method": one, "params": body})
    assert encode_request(request_id, one, body) == dumps(
        {"type": 0, "id": request_id, "method": one, "params": body}
    )


@given(ids, st.integers(0, 2**63 - 1) | st.just(0))
def test_push_results_written_by_hand_are_those_of_a_generic_encoder(request_id: str, cursor: int) -> None:
    result = {"ok": True, "cursor": cursor} if cursor else {"ok": True}
    written = encode_pushed(request_id, cursor)
    assert written == dumps({"type": 1, "id": request_id, "result": result})
    assert written == encode_response(request_id, PushResult(True, cursor))


def test_what_came_as_cbor_goes_on_with_all_of_its_fields() -> None:
    came = {"ok": True, "of another version": [1, b"x", None]}
    assert encode_decoded(came) == dumps(came)
    assert encode_request("1", "push", encode_decoded(came)) == encode_request("1", "push", came)


def test_a_repr_shows_no_token_of_params() -> None:
    decoded = decode_frame(dumps({**HEADERS, "params": {"token": "secret"}}))
    assert repr(decoded) == f"Request(id='1', method={HEADERS['method']!r}, params={{token: <6 characters>}})"
    assert cbor2.loads(encode_notification("auth", {"token": "secret"}))["params"] == {"token": "secret"}
