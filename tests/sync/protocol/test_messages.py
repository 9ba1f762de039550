"""Params and results: what is accepted, what is refused, what is left out."""

import re
from typing import Any

import pytest
from cbor2 import CBORSimpleValue, dumps, loads, undefined
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from less_sync.sync.protocol import frames, messages
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import encode_value
from less_sync.sync.protocol.messages import (
    EPOCH_CONFLICT,
    SHOWN_TEXT,
    AuthParams,
    ChunkedResult,
    DeksGetParams,
    DeksResult,
    DeksRewrapParams,
    DeksRewrapResult,
    Empty,
    EpochBeginParams,
    EpochBegun,
    EpochCompleteParams,
    EpochConflict,
    EventSendParams,
    FileDek,
    FileDeksResult,
    Invitation,
    InvitationCreateParams,
    InvitationDeleteParams,
    InvitationGetParams,
    InvitationListParams,
    InvitationListResult,
    MemberEntry,
    MembershipAppendParams,
    MembershipAppendResult,
    MembershipListParams,
    MembershipListResult,
    MembershipRevokeParams,
    Message,
    Params,
    PresenceClearParams,
    PresenceEntry,
    PresenceSetParams,
    PullParams,
    PullRecord,
    PullSpace,
    PushChange,
    PushParams,
    PushResult,
    RecordDek,
    ResubscribeNotice,
    RewrappedDek,
    SpaceCreateParams,
    SubscribedSpace,
    SubscribeError,
    SubscribeParams,
    SubscribeResult,
    SubscribeSpace,
    TokenRefreshParams,
    TokenRefreshResult,
    UnsubscribeParams,
    decode_params,
    shown,
)
from less_sync.sync.protocol.scanner import REFUSED

VALID: list[tuple[type[Params], dict[Any, Any]]] = [
    (AuthParams, {"token": "t"}),
    (SubscribeParams, {"spaces": [{"id": "a", "since": 0}]}),
    (UnsubscribeParams, {"spaces": ["a"]}),
    (PushParams, {"space": "s", "changes": [{"id": "r", "expected_cursor": 0}]}),
    (PullParams, {"spaces": [{"id": "a", "since": 0}]}),
    (TokenRefreshParams, {"token": "t"}),
    (SpaceCreateParams, {"id": "s", "root_public_key": b"\2"}),
    (
        MembershipAppendParams,
        {"space": "s", "expected_version": 0, "entry_hash": b"h", "payload": b"p"},
    ),
    (MembershipListParams, {"space": "s"}),
    (MembershipRevokeParams, {"space": "s", "ucan_cid": "c"}),
    (InvitationCreateParams, {"mailbox_id": "m", "payload": "p"}),
    (InvitationListParams, {}),
    (InvitationGetParams, {"id": "i"}),
    (InvitationDeleteParams, {"id": "i"}),
    (EpochBeginParams, {"space": "s", "epoch": 2}),
    (EpochCompleteParams, {"space": "s", "epoch": 2}),
    (DeksGetParams, {"space": "s"}),
    (DeksRewrapParams, {"space": "s", "deks": [{"id": "r", "dek": b"d"}]}),
    (PresenceSetParams, {"space": "s", "data": b"d"}),
    (PresenceClearParams, {"space": "s"}),
    (EventSendParams, {"space": "s", "data": b"d"}),
]
LIST_ITEM = {SubscribeParams: "spaces", PushParams: "changes", PullParams: "spaces", DeksRewrapParams: "deks"}
OPTIONAL: list[tuple[type[Params], dict[str, object]]] = [
    (MembershipAppendParams, {"ucan": "u", "prev_hash": b"h"}),
    (MembershipListParams, {"ucan": "u", "since_seq": -1}),
    (MembershipRevokeParams, {"ucan": "u"}),
    (InvitationCreateParams, {"server": "example.com"}),
    (InvitationListParams, {"limit": 7, "after": "i"}),
    (EpochBeginParams, {"ucan": "u", "set_min_key_generation": True}),
    (EpochCompleteParams, {"ucan": "u"}),
    (DeksGetParams, {"ucan": "u", "since": 2**63 - 1}),
    (DeksRewrapParams, {"ucan": "u"}),
]
NO_FIELD_TAKES: tuple[object, ...] = (
    REFUSED,
    1.0,
    float("nan"),
    True,
    undefined,
    None,
    {},
    [],
    ["x"],
    object(),
)
ODD_VALUES: tuple[object, ...] = (REFUSED, undefined, 1.5, {b"x": 1}, [[]])
OF_EACH_TYPE = ("text", b"bytes", 7)


def maps(kind: type[Params], value: dict[Any, Any]) -> list[dict[Any, Any]]:
    """The maps of known keys within `value`: itself and the items of its list."""
    return [value, *(value[LIST_ITEM[kind]] if kind in LIST_ITEM else [])]


def fresh(value: dict[Any, Any]) -> dict[Any, Any]:
    copy = loads(dumps(value))
    assert isinstance(copy, dict)
    return copy


@pytest.mark.parametrize(("kind", "value"), VALID)
def test_a_required_key_missing_null_undefined_or_of_another_type_is_refused(
    kind: type[Params], value: dict[Any, Any]
) -> None:
    decode_params(kind, value)
    for place in range(len(maps(kind, value))):
        for key, right in maps(kind, value)[place].items():
            for wrong in (*NO_FIELD_TAKES, *(one for one in OF_EACH_TYPE if type(one) is not type(right))):
                if type(wrong) is type(right) is list and not wrong:
                    continue
                if wrong == ["x"] and kind is UnsubscribeParams:
                    continue
                changed = fresh(value)
                maps(kind, changed)[place][key] = wrong
                with pytest.raises(ParamsError):
                    decode_params(kind, changed)
            changed = fresh(value)
            del maps(kind, changed)[place][key]
            with pytest.raises(ParamsError):
                decode_params(kind, changed)


@pytest.mark.parametrize(("kind", "value"), VALID)
def test_unknown_text_keys_are_ignored_and_other_keys_of_known_maps_refused(
    kind: type[Params], value: dict[Any, Any]
) -> None:
    for place in range(len(maps(kind, value))):
        changed = fresh(value)
        for odd in ODD_VALUES:
            maps(kind, changed)[place]["unknown"] = odd
            assert decode_params(kind, changed) == decode_params(kind, value)
        maps(kind, changed)[place][b"unknown"] = 1
        with pytest.raises(ParamsError):
            decode_params(kind, changed)


@pytest.mark.parametrize("kind", [kind for kind, _ in VALID])
@pytest.mark.parametrize("params", [None, undefined, [], 7, "x", b"", REFUSED, ["a", 0]])
def test_params_that_are_no_map_are_refused(kind: type[Params], params: object) -> None:
    with pytest.raises(ParamsError):
        decode_params(kind, params)


@pytest.mark.parametrize("absent", [None, undefined])
def test_null_and_undefined_count_as_absent_in_every_optional_field(absent: object) -> None:
    assert decode_params(
        SubscribeParams,
        {"spaces": [{"id": "a", "since": 1, "ucan": absent, "token": absent, "presence": absent}]},
    ) == SubscribeParams([SubscribeSpace("a", 1)])
    assert decode_params(
        PullParams, {"spaces": [{"id": "a", "since": 1, "ucan": absent}, {"id": "b", "since": 2}]}
    ) == PullParams([PullSpace("a", 1), PullSpace("b", 2)])
    assert decode_params(
        PushParams,
        {
            "space": "s",
            "ucan": absent,
            "changes": [{"id": "r", "expected_cursor": 0, "blob": absent, "dek": absent}],
        },
    ) == PushParams(space="s", changes=[PushChange(id="r", expected_cursor=0)])
    assert decode_params(
        MembershipRevokeParams, {"space": "s", "ucan_cid": "c", "ucan": absent}
    ) == MembershipRevokeParams("s", "c")


@pytest.mark.parametrize(("kind", "optional"), OPTIONAL)
def test_each_optional_field_may_be_absent_null_or_undefined_but_of_no_other_type(
    kind: type[Params], optional: dict[str, object]
) -> None:
    required = dict(VALID)[kind]
    plain = decode_params(kind, required)
    assert {
        name: getattr(decode_params(kind, {**required, **optional}), name) for name in optional
    } == optional
    for key, right in optional.items():
        for absent in (None, undefined):
            assert decode_params(kind, {**required, key: absent}) == plain
        for wrong in (one for one in (*NO_FIELD_TAKES, *OF_EACH_TYPE) if type(one) is not type(right)):
            if wrong is not None and wrong is not undefined:
                with pytest.raises(ParamsError):
                    decode_params(kind, {**required, key: wrong})


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (MembershipAppendParams, "expected_version"),
        (MembershipListParams, "since_seq"),
        (InvitationListParams, "limit"),
        (EpochBeginParams, "epoch"),
        (EpochCompleteParams, "epoch"),
    ],
)
def test_versions_epochs_and_counts_are_32_bit_integers(kind: type[Params], field: str) -> None:
    required = dict(VALID)[kind]
    for edge in (-(2**31), 2**31 - 1):
        assert getattr(decode_params(kind, {**required, field: edge}), field) == edge
    for beyond in (-(2**31) - 1, 2**31, 2**64):
        with pytest.raises(ParamsError):
            decode_params(kind, {**required, field: beyond})


def test_optional_fields_keep_what_was_sent() -> None:
    decoded = decode_params(
        SubscribeParams,
        {"spaces": [{"id": "a", "since": -5, "ucan": "u", "token": "t", "presence": True}]},
    )
    assert decoded.spaces == [SubscribeSpace("a", -5, "u", "t", True)]


def test_an_optional_field_of_another_type_is_refused() -> None:
    for key, wrong in [("ucan", b"u"), ("token", 1), ("presence", 1), ("presence", "true")]:
        with pytest.raises(ParamsError):
            decode_params(SubscribeParams, {"spaces": [{"id": "a", "since": 0, key: wrong}]})
    for key, odd in [("blob", "YQ=="), ("blob", [1]), ("dek", 0), ("dek", REFUSED)]:
        with pytest.raises(ParamsError):
            decode_params(
                PushParams, {"space": "s", "changes": [{"id": "r", "expected_cursor": 0, key: odd}]}
            )


CHANGE: dict[Any, Any] = {"id": "r", "expected_cursor": 0}


@pytest.mark.parametrize(
    ("params", "detail"),
    [
        ({}, "space: missing"),
        ([], "expected map, got array"),
        (None, "expected map, got null"),
        (undefined, "expected map, got undefined"),
        (REFUSED, "expected map, got a tag, or a map with odd or repeated keys"),
        ({1: 2}, "a key that is no text"),
        ({"space": b"s", "changes": []}, "space: expected text, got bytes"),
        ({"space": "s", "changes": {}}, "changes: expected array, got map"),
        ({"space": "s", "changes": [CHANGE, 7]}, "changes[1]: expected map, got integer"),
        ({"space": "s", "changes": [CHANGE, {"id": "r"}]}, "changes[1].expected_cursor: missing"),
        ({"space": "s", "changes": [{b"id": 1}]}, "changes[0]: a key that is no text"),
        ({"space": "s", "changes": [CHANGE | {"blob": "YQ=="}]}, "changes[0].blob: expected bytes, got text"),
        (
            {"space": "s", "changes": [CHANGE | {"dek": None, "blob": REFUSED}]},
            "changes[0].blob: expected bytes, got a tag, or a map with odd or repeated keys",
        ),
        (
            {"space": "s", "changes": [CHANGE | {"dek": CBORSimpleValue(99)}]},
            "changes[0].dek: expected bytes, got another kind of value",
        ),
        (
            {"space": "s", "changes": [CHANGE | {"expected_cursor": True}]},
            "changes[0].expected_cursor: expected integer, got boolean",
        ),
        (
            {"space": "s", "changes": [CHANGE | {"expected_cursor": 2**70}]},
            "changes[0].expected_cursor: expected integer <= 9223372036854775807",
        ),
        (
            {"space": "s", "changes": [CHANGE | {"expected_cursor": 1.0}]},
            "changes[0].expected_cursor: expected integer, got float",
        ),
    ],
)
def test_a_refusal_names_the_field_and_what_was_expected_there(params: object, detail: str) -> None:
    with pytest.raises(ParamsError) as caught:
        decode_params(PushParams, params)
    assert caught.value.detail == detail


def test_params_that_were_refused_when_they_had_to_wait_are_refused_in_the_same_words() -> None:
    with pytest.raises(ParamsError) as caught:
        decode_params(PushParams, ParamsError("space: missing"))
    assert caught.value.detail == "space: missing"


@given(st.integers())
def test_cursors_are_64_bit_integers(since: int) -> None:
    params = {"spaces": [{"id": "a", "since": since}]}
    if -(2**63) <= since < 2**63:
        assert decode_params(PullParams, params).spaces[0].since == since
    else:
        with pytest.raises(ParamsError):
            decode_params(PullParams, params)


@pytest.mark.parametrize("edge", [-(2**63) - 1, -(2**63), 2**63 - 1, 2**63, 2**64, -(2**70)])
def test_the_edges_of_64_bits_are_exact(edge: int) -> None:
    test_cursors_are_64_bit_integers.hypothesis.inner_test(edge)  # type: ignore[attr-defined]  # Hypothesis adds it


def test_an_empty_blob_stays_an_empty_blob() -> None:
    for blob in (b"", bytes(range(256)), None):
        params = {"space": "s", "changes": [{"id": "r", "expected_cursor": 2**63 - 1, "blob": blob}]}
        change = decode_params(PushParams, params).changes[0]
        assert (change.blob, change.dek, change.expected_cursor) == (blob, None, 2**63 - 1)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Empty(), {}),
        (ChunkedResult(0), {"_chunks": 0}),
        (PushResult(True), {"ok": True}),
        (PushResult(True, 77), {"ok": True, "cursor": 77}),
        (PushResult(False, error="conflict"), {"ok": False, "error": "conflict"}),
        (TokenRefreshResult(True), {"ok": True}),
        (SubscribeResult([]), {"spaces": []}),
        (MembershipAppendResult(1, 2), {"chain_seq": 1, "metadata_version": 2}),
        (
            MembershipListResult(
                [
                    MemberEntry(chain_seq=1, entry_hash=b"h", payload=b"p"),
                    MemberEntry(chain_seq=2, prev_hash=b"h", entry_hash=b"i", payload=b"q"),
                ],
                2,
            ),
            {
                "entries": [
                    {"chain_seq": 1, "entry_hash": b"h", "payload": b"p"},
                    {"chain_seq": 2, "prev_hash": b"h", "entry_hash": b"i", "payload": b"q"},
                ],
                "metadata_version": 2,
            },
        ),
        (
            InvitationListResult([Invitation("forwarded", "p", "", "")]),
            {"invitations": [{"id": "forwarded", "payload": "p", "created_at": "", "expires_at": ""}]},
        ),
        (EpochBegun(2), {"epoch": 2}),
        (EpochConflict(EPOCH_CONFLICT, 1), {"error": "epoch_conflict", "current_epoch": 1}),
        (
            EpochConflict(EPOCH_CONFLICT, 2, 2),
            {"error": "epoch_conflict", "current_epoch": 2, "rewrap_epoch": 2},
        ),
        (DeksResult(chunks=2), {"_chunks": 2}),
        (DeksResult(deks=[], chunks=0), {"deks": [], "_chunks": 0}),
        (
            DeksResult(deks=[RecordDek("r", b"d", 3)], chunks=1),
            {"deks": [{"id": "r", "dek": b"d", "seq": 3}], "_chunks": 1},
        ),
        (
            FileDeksResult(deks=[FileDek("f", b"", 0)], chunks=1),
            {"deks": [{"id": "f", "dek": b"", "cursor": 0}], "_chunks": 1},
        ),
        (DeksRewrapResult(True, 0), {"ok": True, "count": 0}),
        (
            SubscribeResult(
                [SubscribedSpace("a", 0, 1), SubscribedSpace("b", 2, 3, 0, "t", [PresenceEntry("p", b"")])],
                [SubscribeError("c", "forbidden")],
            ),
            {
                "spaces": [
                    {"id": "a", "cursor": 0, "key_generation": 1},
                    {
                        "id": "b",
                        "cursor": 2,
                        "key_generation": 3,
                        "rewrap_epoch": 0,
                        "token": "t",
                        "peers": [{"peer": "p", "data": b""}],
                    },
                ],
                "errors": [{"space": "c", "error": "forbidden"}],
            },
        ),
    ],
)
def test_results_leave_out_what_has_its_default_and_keep_the_declared_order(
    result: messages.Result, expected: dict[str, Any]
) -> None:
    assert encode_value(result) == dumps(expected)


def test_requests_we_write_keep_the_declared_order() -> None:
    params = PushParams(
        space="s", ucan="u", changes=[PushChange(id="r", blob=b"", expected_cursor=1, dek=b"d")]
    )
    assert encode_value(params) == dumps(
        {"space": "s", "ucan": "u", "changes": [{"id": "r", "blob": b"", "expected_cursor": 1, "dek": b"d"}]}
    )
    append = MembershipAppendParams(
        space="s", ucan="u", expected_version=1, prev_hash=b"h", entry_hash=b"i", payload=b"p"
    )
    assert encode_value(append) == dumps(
        {
            "space": "s",
            "ucan": "u",
            "expected_version": 1,
            "prev_hash": b"h",
            "entry_hash": b"i",
            "payload": b"p",
        }
    )
    rewrap = DeksRewrapParams(space="s", deks=[RewrappedDek("r", b"d")])
    assert encode_value(rewrap) == dumps({"space": "s", "deks": [{"id": "r", "dek": b"d"}]})


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (AuthParams("secret"), "AuthParams(token=<6 characters>, did_proof='')"),
        (
            PushParams(space="s", ucan="u", changes=[]),
            "PushParams(space='s', ucan=<1 characters>, changes=[])",
        ),
        (
            PullRecord(space="s", id="r", blob=b"secret", cursor=7, dek=b"key"),
            "PullRecord(space='s', id='r', blob=<6 bytes>, cursor=7, dek=<3 bytes>, deleted=False)",
        ),
        (
            SubscribeResult([], [SubscribeError("s", "forbidden")]),
            "SubscribeResult(spaces=[], errors=[SubscribeError(space='s', error='forbidden')])",
        ),
        (
            ResubscribeNotice(["a", "b", "c", "d", "e"]),
            "ResubscribeNotice(spaces=['a', 'b', 'c', ... 2 more])",
        ),
        (SubscribeError("x" * 65, "e"), "SubscribeError(space=<65 characters>, error='e')"),
    ],
)
def test_a_repr_shows_what_a_message_holds_and_secrets_by_their_size(message: Message, text: str) -> None:
    assert repr(message) == text


def test_a_repr_shows_no_text_but_of_fields_that_were_decided_upon() -> None:
    exported = [*vars(messages).values(), *vars(frames).values()]
    kinds = [kind for kind in exported if isinstance(kind, type) and issubclass(kind, Message)]
    text = {one.name for kind in kinds for one in fields(kind) if one.type in (str, list[str])}
    assert text - SHOWN_TEXT == {
        "token",
        "ucan",
        "ucan_cid",
        "payload",
        "mailbox_id",
        "server",
        "home_server",
        "message",
        "after",
        "did",
        "did_proof",
        "mailbox",
        "scopes",
    }
    assert SHOWN_TEXT - text == set()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"id": "r", "payload": "p", "dek": b"1234"}, "{id: 'r', payload: <1 characters>, dek: <4 bytes>}"),
        ({"a b": 1, 7: 1.5, b"k": None}, "{<3 characters>: 1, 7: 1.5, <1 bytes>: None}"),
        (
            {str(n): n for n in range(9)},
            "{" + ", ".join(f"<1 characters>: {n}" for n in range(8)) + ", ... 1 more}",
        ),
        ([[[["deep"], {"a": 1}, [], {}]]], "[[[<1 entries>, <1 entries>, [], ... 1 more]]]"),
        (object(), "<object>"),
        ("", "''"),
    ],
)
def test_a_value_without_a_type_is_told_in_few_words(value: object, text: str) -> None:
    assert shown(value) == text


any_scalar = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from([undefined, REFUSED])
)
any_key = st.text(max_size=3) | st.binary(max_size=3)
known_key = st.sampled_from(
    ["id", "since", "ucan", "spaces", "space", "changes", "blob", "dek", "expected_cursor", "token"]
)
shaped = st.recursive(
    any_scalar,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(known_key, inner, max_size=5)
        | st.dictionaries(any_key, inner, max_size=2)
    ),
    max_leaves=12,
)


FAULT = re.compile(
    r"([a-z_]+(\[\d+\])?(\.[a-z_]+)?: )?"
    r"(missing|a key that is no text|expected [a-z]+( [<>]= -?\d+)?(, got [a-z, ]+)?)"
)
"""Names of our fields, places and kinds: nothing of what was sent, and no long text."""


@given(st.sampled_from([kind for kind, _ in VALID]), shaped)
def test_any_value_is_decoded_or_refused_and_raises_nothing_else(kind: type[Params], value: object) -> None:
    fault = None
    try:
        decoded = decode_params(kind, value)
    except ParamsError as error:
        fault = error.detail
    else:
        assert decode_params(kind, loads(encode_value(decoded))) == decoded
    assert fault is None or FAULT.fullmatch(fault), fault


def test_lists_longer_than_is_served_are_cut_to_one_more_before_they_are_looked_at() -> None:
    space = {"id": "a", "since": 0}
    kept: list[object] = [PullSpace("a", 0)] * 3
    for count, served in [(0, 0), (2, 2), (3, 3), (4, 3), (5000, 3)]:
        raw = {"spaces": [space] * count}
        assert decode_params(PullParams, raw, entries_max=2).spaces == kept[:served]
        assert len(raw["spaces"]) == count
        assert (
            decode_params(UnsubscribeParams, {"spaces": ["a"] * count}, entries_max=2).spaces
            == ["a"] * served
        )
    assert decode_params(PullParams, {"spaces": [space] * 3 + [None]}, entries_max=2).spaces == kept
    with pytest.raises(ParamsError):
        decode_params(PullParams, {"spaces": [space, space, None]}, entries_max=2)
    odd: object
    for odd in (None, [], {"spaces": None}, {"spaces": {}}, {"x": [space] * 5}):
        with pytest.raises(ParamsError):
            decode_params(PullParams, odd, entries_max=2)


@pytest.mark.parametrize(
    ("params", "unknown"),
    [
        ({"space": "s", "changes": []}, False),
        ({"space": "s", "changes": [{"id": "r", "expected_cursor": 0}, {"id": "q"}]}, False),
        ({"space": "s", "changes": [], "epoch": 1}, True),
        ({"space": "s", "changes": [{"id": "r"}, {"id": "q", "epoch": 1}]}, True),
        ({"space": "s", "changes": ["no map"]}, False),
        ({"space": "s", "changes": {"id": "r", "epoch": 1}}, False),
        ({"space": "s"}, False),
        (["no map"], False),
    ],
)
def test_members_unknown_here_are_found_at_the_top_and_in_lists(params: object, unknown: bool) -> None:
    assert messages.has_unknown(params, messages.PushParams) is unknown
