"""The wire's shape, pinned: names, order, types and defaults of every field, and every code.

A change of what clients and peers see is made here too, on purpose, with a **Wire** line in the changelog.
"""

from hashlib import sha256
from types import NoneType
from typing import Any, get_args, get_origin

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from less_sync.sync.protocol import codes, frames, messages
from less_sync.sync.protocol.codes import Close, CloseCode, ErrorCode

EXPECTED: dict[str, str] = {
    "Empty": "c6c094bc0054f9cb",
    "AuthParams": "7d417cf1011c018f",
    "ChunkedResult": "eebc2b562b2f939c",
    "MemberEntry": "c7a2caafb8a9a3cf",
    "PresenceEntry": "95d90baf921d34c3",
    "PullBegin": "958617ecf7762fda",
    "PullCommit": "ba635e47e98f2eb4",
    "PullFile": "7f2d313c441bfbf7",
    "PullMembership": "cbd2f6e6e7927d39",
    "PullParams": "a9f9f14b2d7a30b1",
    "PullRecord": "6694684d860d6253",
    "PullSpace": "eb2fc99f73981785",
    "PushChange": "e6238ea725710cb5",
    "PushParams": "43eebd9a27c6e222",
    "PushResult": "8d2d8a83c4ba9c36",
    "SpaceCreateParams": "8e8818bb30d780a0",
    "SpaceCreateResult": "9904fcb5af5c27ac",
    "SubscribedSpace": "14667aa02af56f7a",
    "SubscribeError": "24596b17c4f8336c",
    "SubscribeParams": "0f4d4a949493caf8",
    "SubscribeResult": "56ce2bfdf083180b",
    "SubscribeSpace": "ebe933c004bd999e",
    "TokenRefreshParams": "d71214d840247c62",
    "TokenRefreshResult": "00649d7b0333019b",
    "UnsubscribeParams": "0c76d49af8f96af0",
    "EventNotice": "cec4fc535f1cb178",
    "EventSendParams": "4d3a93f04db6cdd5",
    "FileChange": "19775add8fd35baf",
    "FileNotice": "7e0253c98bcc4a0d",
    "MembershipNotice": "74eb34f0b1f20447",
    "PresenceClearParams": "a8817d3ec99169ad",
    "PresenceLeaveNotice": "1eca2e279db3912d",
    "PresenceNotice": "51b38cde2ad7f51c",
    "PresenceSetParams": "9c7f57036cc79892",
    "ResubscribeNotice": "736f39f04949b727",
    "RevokedNotice": "3a85662054aeb054",
    "SyncNotice": "1c4eaad6e8bad231",
    "SyncRecord": "981b1d45f3320ce8",
    "DeksGetParams": "c29213f50ad18835",
    "DeksResult": "8217d65bb98933b7",
    "DeksRewrapParams": "ceb078ade3c12ef2",
    "DeksRewrapResult": "c01598c1c2cc4ab8",
    "EpochBeginParams": "10ff10c174ec1e4d",
    "EpochBegun": "8a7e6e580570a469",
    "EpochCompleteParams": "77afc7b465098760",
    "EpochConflict": "1fe600330089ea7f",
    "FileDek": "c9bbd371dd3d827b",
    "FileDeksResult": "949fe332acad5b2e",
    "Invitation": "e39f99648ba58f1d",
    "InvitationCreateParams": "5b4a82131688ed75",
    "InvitationDeleteParams": "6f346c7da4223686",
    "InvitationGetParams": "bcd22e8d3bad28c7",
    "InvitationListParams": "9913a2d659f54194",
    "InvitationListResult": "d1c3387180a646b0",
    "MembershipAppendParams": "2f09230d80bc9a9e",
    "MembershipAppendResult": "c29bb818cb776225",
    "MembershipListParams": "114bc590eeccab78",
    "MembershipListResult": "f3546845caa6d0b4",
    "MembershipRevokeParams": "97c76023eaf60bc2",
    "RecordDek": "ca49dd09529eeb87",
    "RewrappedDek": "5a719950d67f7f6d",
    "RpcError": "df56f1d1d87bbb48",
    "SessionInfo": "b10f82ca9ce51d13",
    "SessionInfoParams": "1b4154b56003b059",
    "ErrorCode": "936d9fd7e638d37f",
    "CloseCode": "da5bfbbea8483c74",
    "Close": "fc9e34110b37ebe1",
    "frame types": "589b960f93b56356",
}
"""First 16 hex digits of SHA-256 of each description below."""


def structs() -> list[type[Struct]]:
    """Every message with fields, and the error of a response."""
    found = [
        one
        for one in vars(messages).values()
        if isinstance(one, type)
        and issubclass(one, messages.Message)
        and one not in (messages.Message, messages.Params, messages.Result)
    ]
    return [*found, frames.RpcError]


def default(one: Any) -> str:
    if one.default is not NODEFAULT:
        return f" = {one.default!r}"
    return "" if one.default_factory is NODEFAULT else f" = {one.default_factory()!r}"


def shape(kind: type[Struct]) -> str:
    """One line per field: wire name, type with its range, default."""
    lines = [f"{one.encode_name}: {type_name(one.type)}{default(one)}" for one in fields(kind)]
    return "\n".join([kind.__name__, *lines])


def type_name(kind: Any) -> str:
    """The type as the protocol calls it, the same in every version of Python."""
    if kind in (messages.I32, messages.I64):
        return "i32" if kind == messages.I32 else "i64"
    inner = [type_name(one) for one in get_args(kind) if one is not NoneType]
    if get_origin(kind) is list:
        return f"[{inner[0]}]"
    return f"{inner[0]}?" if inner else str(kind.__name__)


def descriptions() -> dict[str, str]:
    described = {kind.__name__: shape(kind) for kind in structs()}
    described["ErrorCode"] = "\n".join(ErrorCode)
    described["CloseCode"] = "\n".join(f"{one:d}" for one in CloseCode)
    closes = [value for value in vars(codes).values() if isinstance(value, Close)]
    described["Close"] = "\n".join(sorted(f"{close.code:d} {close.reason}" for close in closes))
    kinds = (frames.REQUEST, frames.RESPONSE, frames.NOTIFICATION, frames.CHUNK)
    described["frame types"] = f"{kinds} {frames.KEEPALIVE!r}"
    return described


def test_the_shape_of_every_message_is_the_one_that_was_agreed() -> None:
    found = {name: sha256(text.encode()).hexdigest()[:16] for name, text in descriptions().items()}
    assert found == EXPECTED


def test_close_reasons_fit_a_close_frame() -> None:
    closes = [value for value in vars(codes).values() if isinstance(value, Close)]
    assert closes
    assert all(len(close.reason.encode()) <= 123 for close in closes)


def test_no_message_shows_its_fields() -> None:
    for kind in structs():
        assert kind.__repr__ is messages.Message.__repr__
