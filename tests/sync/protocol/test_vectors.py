"""The recorded exchanges of tests/vectors/wire.json, as far as frames and params alone decide the answer."""

import json
from pathlib import Path
from typing import Any

import cbor2
import pytest

from less_sync.sync.protocol.codes import EXPECTED_BINARY, EXPECTED_BINARY_AUTH, Close, CloseCode
from less_sync.sync.protocol.connection import Authenticate, Connection
from less_sync.sync.protocol.errors import ParamsError, RemoteProtocolError
from less_sync.sync.protocol.frames import Notification, Request, encode_error, encode_notification
from less_sync.sync.protocol.messages import (
    DeksGetParams,
    DeksRewrapParams,
    EpochBeginParams,
    EpochCompleteParams,
    InvitationCreateParams,
    InvitationDeleteParams,
    InvitationGetParams,
    InvitationListParams,
    MembershipAppendParams,
    MembershipListParams,
    MembershipRevokeParams,
    Params,
    PullParams,
    PushParams,
    SpaceCreateParams,
    SubscribeParams,
    TokenRefreshParams,
    decode_params,
)

METHODS: dict[str, tuple[type[Params], str]] = {
    "subscribe": (SubscribeParams, "invalid subscribe params"),
    "push": (PushParams, "invalid push params"),
    "pull": (PullParams, "invalid pull params"),
    "token.refresh": (TokenRefreshParams, "invalid token refresh params"),
    "space.create": (SpaceCreateParams, "invalid space create params"),
    "membership.append": (MembershipAppendParams, "invalid membership append params"),
    "membership.list": (MembershipListParams, "invalid membership list params"),
    "membership.revoke": (MembershipRevokeParams, "invalid membership revoke params"),
    "invitation.create": (InvitationCreateParams, "invalid invitation create params"),
    "invitation.list": (InvitationListParams, "invalid invitation list params"),
    "invitation.get": (InvitationGetParams, "invalid invitation get params"),
    "invitation.delete": (InvitationDeleteParams, "invalid invitation delete params"),
    "epoch.begin": (EpochBeginParams, "invalid epoch begin params"),
    "epoch.complete": (EpochCompleteParams, "invalid epoch complete params"),
    "deks.get": (DeksGetParams, "invalid deks get params"),
    "deks.rewrap": (DeksRewrapParams, "invalid deks rewrap params"),
    "file.deks.get": (DeksGetParams, "invalid file deks get params"),
    "deks.getFiles": (DeksGetParams, "invalid file deks get params"),
    "file.deks.rewrap": (DeksRewrapParams, "invalid file deks rewrap params"),
    "deks.rewrapFiles": (DeksRewrapParams, "invalid file deks rewrap params"),
}
VALIDATED_LATER = {"invalid auth token", "expired auth token", "untrusted auth issuer", "sync scope required"}

SCENARIOS = [
    scenario
    for scenario in json.loads((Path(__file__).parents[2] / "vectors" / "wire.json").read_text())["scenarios"]
    if scenario["name"].startswith(("frame/", "params/", "handshake/"))
    # The socket bounds messages before they come here; the others never send a frame.
    and scenario["name"] not in {"frame/oversize", "handshake/no-subprotocol", "handshake/timeout"}
]


def payload(send: Any) -> bytes:
    if isinstance(send, str):
        return bytes.fromhex(send)
    return b"".join(
        bytes.fromhex(piece) if isinstance(piece, str) else bytes.fromhex(piece["repeat"]) * piece["times"]
        for piece in send
    )


def feed(connection: Connection, step: dict[str, Any]) -> Request | Notification | None:
    if "send_text" in step:
        connection.receive_text()
        return None
    data = payload(step["send"]) if "send" in step else encode_notification("auth", {"token": "a.b.c"})
    event = connection.receive_binary(data)
    if not isinstance(event, Authenticate):
        return event
    connection.authenticated()
    return None


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_decoding_gives_what_the_recorded_exchange_expects(scenario: dict[str, Any]) -> None:
    connections: dict[str, Connection] = {}
    waiting: list[Request] = []
    closed: Close | None = None
    checked = 0
    for step in scenario["steps"]:
        if "connect" in step:
            connections[step["connect"]] = Connection()
            checked += "send" not in str(scenario["steps"])
        elif step.keys() & {"send", "send_text", "send_token"}:
            try:
                event = feed(connections[step["on"]], step)
            except RemoteProtocolError as error:
                closed = error.close
                continue
            if isinstance(event, Request):
                waiting.append(event)
        elif "expect_close" in step:
            expected = step["expect_close"]
            code, reason = expected["code"], expected.get("reason")
            checked += 1
            if closed is None:
                assert reason in VALIDATED_LATER or code in (CloseCode.TRY_AGAIN_LATER, 4003)
            else:
                assert (closed.code, closed.reason) == (code, reason)
        elif "expect" in step:
            check_answer(waiting.pop(0), bytes.fromhex(step["expect"]))
            checked += 1
    assert not waiting
    assert checked


def check_answer(request: Request, expected: bytes) -> None:
    answer = cbor2.loads(expected)
    if answer.get("error", {}).get("code") == "method_not_found":
        assert expected == encode_error(
            request.id, "method_not_found", f"unknown method: {request.method[:128]}"
        )
    elif request.method in METHODS:
        kind, message = METHODS[request.method]
        if answer.get("error", {}).get("code") == "invalid_params":
            with pytest.raises(ParamsError) as caught:
                decode_params(kind, request.params)
            assert expected == encode_error(request.id, "invalid_params", message)
            # Ours goes on with what is wrong (docs/protocol.md 3.5).
            assert caught.value.detail
        else:
            decode_params(kind, request.params)
    else:
        raise AssertionError(request.method)


@pytest.mark.parametrize("authenticated", [False, True])
def test_text_closes_whatever_is_in_it(authenticated: bool) -> None:
    connection = Connection()
    if authenticated:
        feed(connection, {"send_token": {}})
    with pytest.raises(RemoteProtocolError) as caught:
        feed(connection, {"send_text": "hello"})
    assert caught.value.close == (EXPECTED_BINARY if authenticated else EXPECTED_BINARY_AUTH)
