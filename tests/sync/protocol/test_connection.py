"""States of a connection: what each may receive, and what a refusal says."""

from collections.abc import Callable

import pytest
from cbor2 import dumps
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.protocol.codes import (
    AUTH_TIMEOUT,
    EMPTY_AUTH,
    EXPECTED_BINARY,
    EXPECTED_BINARY_AUTH,
    INVALID_FRAME,
    LIFETIME_REACHED,
    REQUEST_ID_TOO_LONG,
)
from less_sync.sync.protocol.connection import TRANSITIONS, Authenticate, Connection, State, Step
from less_sync.sync.protocol.errors import LocalProtocolError, RemoteProtocolError
from less_sync.sync.protocol.frames import (
    KEEPALIVE,
    FrameBounds,
    Notification,
    Request,
    encode_notification,
    encode_request,
)
from tests.sync.protocol.cbor_examples import anything, nested

AUTH = encode_notification("auth", {"token": "secret"})
REQUEST = encode_request("1", "push", {})


def in_state(state: State) -> Connection:
    connection = Connection()
    if state in (State.AUTHENTICATING, State.OPEN):
        connection.receive_binary(AUTH)
    if state is State.OPEN:
        connection.authenticated()
    if state is State.CLOSING:
        connection.close(LIFETIME_REACHED)
    if state is State.CLOSED:
        connection.lost()
    assert connection.state is state
    return connection


def test_a_connection_authenticates_then_receives_requests_and_notifications() -> None:
    connection = Connection()
    event = connection.receive_binary(AUTH)
    assert event == Authenticate("secret")
    assert repr(event) == "Authenticate(token=<6 characters>, did_proof='')"
    connection.authenticated()
    assert connection.receive_binary(REQUEST) == Request("1", "push", {})
    assert connection.receive_binary(encode_notification("x", {})) == Notification("x", {})
    assert connection.receive_binary(KEEPALIVE) is None
    assert connection.receive_binary(AUTH) == Notification("auth", {"token": "secret"})
    assert connection.state is State.OPEN
    assert connection.closed_with is None


def test_a_violation_closes_and_what_follows_is_discarded() -> None:
    for state, data, close in [
        (State.AWAITING_AUTH, b"", EMPTY_AUTH),
        (State.OPEN, b"\xff", INVALID_FRAME),
    ]:
        connection = in_state(state)
        with pytest.raises(RemoteProtocolError) as caught:
            connection.receive_binary(data)
        assert caught.value.close == connection.closed_with == close
        assert connection.state is State.CLOSING
        assert connection.receive_binary(data) is None
        assert connection.receive_binary(REQUEST) is None
        connection.receive_text()


def test_text_closes_before_and_after_authentication() -> None:
    for state, close in [(State.AWAITING_AUTH, EXPECTED_BINARY_AUTH), (State.OPEN, EXPECTED_BINARY)]:
        connection = in_state(state)
        with pytest.raises(RemoteProtocolError) as caught:
            connection.receive_text()
        assert caught.value.close == connection.closed_with == close


def test_the_first_close_stays() -> None:
    connection = Connection()
    connection.close(AUTH_TIMEOUT)
    connection.close(LIFETIME_REACHED)
    assert connection.closed_with == AUTH_TIMEOUT


def test_limits_are_those_of_the_connection() -> None:
    bounds = FrameBounds(request_id_bytes=2, depth=3, items=16, odd_items=14)
    connection = Connection(bounds)
    connection.receive_binary(AUTH)
    connection.authenticated()
    connection.receive_binary(dumps({"type": 0, "id": "12"}))
    connection.receive_binary(b"\xa2\x64type\x00\x61x" + nested(2))
    connection.receive_binary(dumps({"type": 2, "x": [0] * 7}))
    connection.receive_binary(dumps({"type": 2, "x": [{1: 2}]}))
    for frame, close in [
        (dumps({"type": 0, "id": "123"}), REQUEST_ID_TOO_LONG),
        (b"\xa2\x64type\x00\x61x" + nested(3), INVALID_FRAME),
        (dumps({"type": 2, "x": [0] * 8}), INVALID_FRAME),
        (dumps({"type": 2, "x": [{1: 2, 3: 4}]}), INVALID_FRAME),
    ]:
        connection = Connection(bounds)
        connection.receive_binary(AUTH)
        connection.authenticated()
        with pytest.raises(RemoteProtocolError) as caught:
            connection.receive_binary(frame)
        assert caught.value.close == close


@pytest.mark.parametrize("state", State)
def test_every_state_allows_what_its_row_says_and_refuses_the_rest(state: State) -> None:
    allowed = TRANSITIONS[state]
    steps: dict[Step, Callable[[Connection], None]] = {
        Step.AUTH: lambda connection: connection.known(),
        Step.AUTHENTICATED: lambda connection: connection.authenticated(),
        Step.CLOSE: lambda connection: connection.close(LIFETIME_REACHED),
        Step.LOST: lambda connection: connection.lost(),
    }
    for step, act in steps.items():
        connection = in_state(state)
        if step in allowed:
            act(connection)
            assert connection.state is allowed[step]
        else:
            with pytest.raises(LocalProtocolError) as caught:
                act(connection)
            assert connection.state is state
            assert str(caught.value).startswith("expected ")
            assert str(caught.value).endswith(f" in {state.name}, came {step.name}")


@pytest.mark.parametrize("state", [State.AUTHENTICATING, State.CLOSED])
def test_messages_must_wait_while_a_token_is_validated_and_none_come_after_the_end(state: State) -> None:
    connection = in_state(state)
    with pytest.raises(LocalProtocolError, match=f"in {state.name}, came MESSAGE"):
        connection.receive_binary(REQUEST)
    with pytest.raises(LocalProtocolError, match=f"in {state.name}, came MESSAGE"):
        connection.receive_text()
    assert connection.state is state


@given(st.lists(anything | st.just(REQUEST), max_size=8), st.booleans())
def test_any_stream_of_messages_gives_events_until_one_close(
    messages: list[bytes], authenticated: bool
) -> None:
    connection = in_state(State.OPEN if authenticated else State.AWAITING_AUTH)
    closes = 0
    for message in messages:
        if connection.state is State.AUTHENTICATING:
            connection.authenticated()
        try:
            event = connection.receive_binary(message)
        except RemoteProtocolError:
            closes += 1
            continue
        assert closes == 0 or event is None
    assert closes == (connection.state is State.CLOSING)
    assert closes <= 1
